"""The coordinator's scenarios: votes, precedence, retries, piggy-backs, marks."""

from __future__ import annotations

import numpy as np
import pytest

from node.core.commit import PROTOCOLS
from node.core.commit.coordinator import ROUNDS_IN_FLIGHT_MAX
from node.core.commit.gathering import ATTEMPTS_MAX
from node.core.machine import Over
from protocol.columns import Flag
from protocol.status import TRANSFERS_MAX, Status
from tests.core.commit.bench import (
    EUR,
    UNDECIDED,
    USD,
    batch,
    decisions,
    prepare_of,
    proposals,
    ready,
    round_id,
    round_of,
    vote,
)

NO_FUNDS = int(Status.insufficient_funds)
NO_ACCOUNT = int(Status.credit_account_not_found)
LINKED = int(Status.linked_event_failed)

# rows of (id, debit group, credit group), chained positions, votes that are not yes, statuses
OUTCOMES: dict[str, tuple[list[tuple[int, int, int]], list[int], dict[int, int], list[int]]] = {
    "all yes": ([(1, 1, 2)], [], {}, [0]),
    "one shard only": ([(1, 2, 2)], [], {}, [0]),
    "one of three is refused": ([(1, 1, 2), (2, 2, 3), (3, 3, 1)], [], {2: NO_FUNDS}, [0, NO_FUNDS, 0]),
    "all refused": ([(1, 1, 2), (2, 2, 3)], [], {1: NO_FUNDS, 2: NO_ACCOUNT}, [NO_FUNDS, NO_ACCOUNT]),
    "a chain falls as one": ([(1, 1, 2), (2, 2, 3)], [0], {2: NO_FUNDS}, [LINKED, NO_FUNDS]),
    "its first failing row names it": ([(1, 1, 2), (2, 2, 3), (3, 3, 1)], [0, 1], {1: 56}, [56, LINKED, LINKED]),
    "rows beside a chain stand": ([(1, 1, 2), (2, 1, 3), (3, 2, 3), (4, 3, 1)], [1], {3: 56}, [0, LINKED, 56, 0]),
    "exists counts as refused here": ([(1, 1, 2)], [], {1: int(Status.exists)}, [int(Status.exists)]),
}  # fmt: skip


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", OUTCOMES)
def test_outcomes(name: str, protocol: str) -> None:
    """What a batch is answered for given votes, however it is made durable."""
    rows, linked, refused, expected = OUTCOMES[name]
    bench = ready(protocol)
    bench.submit(7, *rows, linked=linked)
    bench.round(refused)
    assert bench.answers == {7: expected}
    assert bench.core.in_flight == 0 and not bench.asks


def test_only_the_shards_of_a_round_are_asked() -> None:
    """A round costs what it touches."""
    bench = ready()
    bench.submit(7, (1, 1, 3))
    bench.go_on()
    assert [ask.group for ask in bench.prepares()] == [1, 3]
    assert bench.records == []


def test_the_smaller_reason_of_both_sides_is_answered() -> None:
    """The debit shard and the credit shard refuse the same transfer for different reasons."""
    for first, second in ((NO_FUNDS, NO_ACCOUNT), (NO_ACCOUNT, NO_FUNDS)):
        bench = ready()
        bench.submit(7, (1, 1, 2))
        bench.go_on()
        payer, payee = bench.prepares()
        bench.answer(payer, vote(payer, {1: first}))
        bench.answer(payee, vote(payee, {1: second}))
        bench.record_all()
        assert bench.answers == {7: [min(first, second)]}


def test_currencies_are_compared_between_shards() -> None:
    """Neither shard can see it alone; an account that is missing has no currency to differ in."""
    bench = ready()
    bench.submit(7, (1, 1, 2))
    bench.submit(8, (2, 1, 2))
    bench.go_on()
    payer, payee = bench.prepares()
    bench.answer(payer, vote(payer, currency=EUR))
    bench.answer(payee, vote(payee, {2: NO_ACCOUNT}, currency=USD))
    bench.record_all()
    assert bench.answers == {7: [Status.accounts_must_have_the_same_currency], 8: [NO_ACCOUNT]}


def test_submissions_of_one_drain_share_a_round() -> None:
    """Each ticket gets its own rows back."""
    bench = ready()
    for ticket in range(5):
        bench.submit(ticket, (10 * ticket + 1, 1, 2), (10 * ticket + 2, 2, 3))
    bench.go_on()
    assert len(dict.fromkeys(map(round_id, bench.prepares()))) == 1
    bench.vote_all({31: NO_FUNDS})
    bench.record_all()
    assert bench.answers == {0: [0, 0], 1: [0, 0], 2: [0, 0], 3: [NO_FUNDS, 0], 4: [0, 0]}


def test_a_round_is_no_larger_than_a_request() -> None:
    """Whole batches only; the rest goes into the next round at once."""
    bench = ready()
    size = TRANSFERS_MAX // 2 + 1
    for ticket in range(2):
        bench.submit(ticket, *((ticket * size + row + 1, 1, 2) for row in range(size)))
    bench.go_on()
    assert len(dict.fromkeys(map(round_id, bench.prepares()))) == 2


def test_rounds_overlap_up_to_a_limit() -> None:
    """While some are in flight the next one gathers; they may end in any order."""
    bench = ready()
    for ticket in range(ROUNDS_IN_FLIGHT_MAX + 2):
        bench.submit(ticket, (ticket + 1, 1, 2))
        bench.go_on()
    rounds = list(dict.fromkeys(map(round_id, bench.prepares())))
    assert len(rounds) == ROUNDS_IN_FLIGHT_MAX == bench.core.in_flight
    last = [ask for ask in bench.prepares() if round_id(ask) == rounds[-1]]
    for ask in last:
        bench.answer(ask, vote(ask))
    bench.record_all()
    assert list(bench.answers) == [ROUNDS_IN_FLIGHT_MAX - 1]
    bench.go_on()
    gathered = [ask for ask in bench.prepares() if round_id(ask) not in rounds]
    assert prepare_of(gathered[0]).count == 2, "the two that waited share the next round"


def test_a_decision_rides_with_the_next_prepare() -> None:
    """One call a shard for both; elsewhere the decision waits for a PREPARE, or for somebody who hurries it."""
    bench = ready()
    bench.submit(1, (1, 1, 2))
    bench.go_on()
    (first, *_) = bench.prepares()
    bench.vote_all()
    bench.go_on()
    assert not bench.asks and bench.answers == {1: [0]}
    bench.submit(2, (2, 2, 3))
    bench.go_on()
    assert [(ask.group, list(decisions(ask))) for ask in bench.asks] == [(2, [round_id(first)]), (3, [])]
    bench.tick()
    assert [(ask.group, list(decisions(ask))) for ask in bench.decides()] == [(1, [round_id(first)])]


def test_a_decision_is_hurried_only_to_those_who_wait_for_it() -> None:
    """A reader in one shard costs no call to the others, and one where nothing is due costs none at all."""
    bench = ready()
    bench.submit(1, (1, 1, 2))
    bench.go_on()
    bench.core.hurry(1)
    bench.go_on()
    assert len(bench.asks) == 2, "nothing is decided yet"
    bench.vote_all()
    for group in (3, 1):
        bench.core.hurry(group)
        bench.go_on()
    assert [(ask.group, list(decisions(ask).values())) for ask in bench.decides()] == [(1, [[0]])]
    bench.core.hurry(1)
    bench.go_on()
    assert len(bench.asks) == 1, "it is under way"


def test_what_is_over_is_told_with_every_call() -> None:
    """It rises only when a round is carried out everywhere."""
    bench = ready()
    bench.submit(1, (1, 1, 2))
    bench.go_on()
    first = round_id(bench.prepares()[0])
    bench.vote_all()
    bench.submit(2, (2, 2, 3))
    bench.go_on()
    bench.tick()
    assert [round_of(ask).over for ask in bench.asks] == [Over(first, first)] * 3
    bench.decide_all()
    bench.vote_all()
    bench.tick()
    assert [round_of(ask).over for ask in bench.asks] == [Over(first + 1, first + 1)] * 2
    bench.decide_all()
    bench.submit(3, (3, 1, 3))
    bench.go_on()
    assert [round_of(ask).over for ask in bench.asks] == [Over(first + 2, first + 2)] * 2


def test_undecided_rows_are_tried_again_and_never_answered() -> None:
    """Only the rows in question; the batch is answered when the last one is."""
    bench = ready()
    bench.submit(7, (1, 1, 2), (2, 1, 2))
    bench.round({2: UNDECIDED})
    assert bench.answers == {}
    bench.go_on()
    assert [prepare_of(ask).count for ask in bench.prepares()] == [1, 1]
    bench.round({2: NO_FUNDS})
    assert bench.answers == {7: [0, NO_FUNDS]}


def test_a_chain_is_tried_again_as_a_whole() -> None:
    """One undecided row keeps all its transaction waiting."""
    bench = ready()
    bench.submit(7, (1, 1, 2), (2, 2, 3), (3, 3, 1), linked=[0])
    bench.round({2: UNDECIDED})
    bench.go_on()
    assert sum(ask.group == 2 for ask in bench.prepares()) == 1
    assert prepare_of(bench.prepares()[0]).count == 1
    bench.round()
    assert bench.answers == {7: [0, 0, 0]}


def test_a_refused_chain_waits_for_its_waiting_rows() -> None:
    """Their shards have not said yet what they know of them; then it is refused as a whole."""
    bench = ready()
    bench.submit(7, (1, 1, 2), (2, 2, 3), linked=[0])
    bench.round({1: NO_FUNDS, 2: UNDECIDED})
    assert bench.answers == {}
    bench.round({1: NO_FUNDS})
    assert bench.answers == {7: [NO_FUNDS, LINKED]}
    bench.submit(8, (1, 1, 2), (2, 2, 3), linked=[0])
    bench.round({1: UNDECIDED, 2: NO_FUNDS})
    assert 8 not in bench.answers
    bench.round({1: 0, 2: NO_FUNDS})
    assert bench.answers[8] == [LINKED, NO_FUNDS]


def test_a_round_with_nothing_to_say_is_not_recorded() -> None:
    """All rows wait: that follows from the votes, and is still told to the shards."""
    bench = ready()
    bench.submit(7, (1, 1, 2))
    bench.go_on()
    bench.vote_all({1: UNDECIDED})
    assert not bench.records
    bench.tick()
    told = [status for ask in bench.asks for row in decisions(ask).values() for status in row]
    assert told and set(told) == {UNDECIDED}


def test_trying_again_ends() -> None:
    """After many rounds the transient status is handed out, for the shell to say `busy`."""
    bench = ready()
    bench.submit(7, (1, 1, 2))
    for _ in range(ATTEMPTS_MAX):
        bench.round({1: UNDECIDED})
    assert bench.answers == {7: [UNDECIDED]}


def test_a_transaction_that_waits_again_lets_the_rounds_in_flight_end_first() -> None:
    """Two that hold each other's funds would go on holding them for ever, each in a round that overlaps the other's."""
    bench = ready()
    bench.submit(1, (1, 1, 2))
    bench.round({1: UNDECIDED})
    bench.go_on()
    first = bench.prepares()
    bench.submit(2, (2, 1, 2), commit="3pc")
    bench.go_on()
    others = [ask for ask in bench.prepares() if ask not in first]
    for ask in first:
        bench.answer(ask, vote(ask, {1: UNDECIDED}))
    bench.submit(3, (3, 1, 2))
    bench.go_on()
    fresh = [ask for ask in bench.prepares() if ask not in others]
    assert [prepare_of(ask).count for ask in fresh] == [1, 1], "new work does not wait"
    for ask in others:
        bench.answer(ask, vote(ask, {2: NO_FUNDS}))
    bench.go_on()
    assert bench.prepares() == fresh
    for ask in bench.precommits():
        bench.answer(ask, ["decided"])
    bench.go_on()
    assert [ask.group for ask in bench.prepares() if ask not in fresh] == [1, 2]


def test_an_open_chain_at_the_end_is_refused_at_once() -> None:
    """The rest of the batch goes its way."""
    bench = ready()
    bench.submit(7, (1, 1, 2), (2, 1, 2), (3, 2, 3), linked=[1, 2])
    bench.round()
    assert bench.answers == {7: [0, LINKED, Status.linked_event_chain_open]}
    bench.submit(8, (4, 1, 2), linked=[0])
    assert bench.answers[8] == [Status.linked_event_chain_open]


def test_several_rounds_keep_their_rows_apart() -> None:
    """Statuses come back in the order of the batch whatever order its pieces ended in."""
    bench = ready()
    count = 50
    bench.submit(7, *((row + 1, row % 3 + 1, (row + 1) % 3 + 1) for row in range(count)))
    waiting = {row + 1: UNDECIDED for row in range(0, count, 2)}
    bench.round(waiting)
    bench.round({row + 1: NO_FUNDS for row in range(0, count, 4)})
    assert bench.answers[7] == [NO_FUNDS if row % 4 == 0 else 0 for row in range(count)]


def test_the_shape_of_a_leg() -> None:
    """A group sees its own rows with its own sides, under the round's transaction numbers."""
    bench = ready()
    bench.submit(7, (1, 1, 2), (2, 2, 3), (3, 2, 2), linked=[0])
    bench.go_on()
    asked = next(ask for ask in bench.prepares() if ask.group == 2)
    ((_, (name, columns, numbers, sides, round_rows)),) = prepare_of(asked).commands
    assert name == "legs" and columns[0] == batch((1, 1, 2), (2, 2, 3), (3, 2, 2))[0].ids
    assert np.frombuffer(numbers, "<i4").tolist() == [0, 0, 1] and list(sides) == [2, 1, 3]
    assert np.frombuffer(round_rows, "<i4").tolist() == [0, 1, 2]
    assert np.frombuffer(columns[4], "<u2").tolist() == [Flag.linked, 0, 0]


# -- 3pc ----------------------------------------------------------------------------------------------------------


def test_nothing_is_answered_before_a_majority_holds_the_decision() -> None:
    """Two of three participants; with two participants that is both."""
    for rows, needed in (([(1, 1, 2), (2, 2, 3)], 2), ([(1, 1, 2)], 2), ([(1, 2, 2)], 1)):
        bench = ready("3pc")
        bench.submit(7, *rows)
        bench.go_on()
        bench.vote_all()
        bench.go_on()
        asks = bench.precommits()
        assert not bench.records and len(asks) == len(dict.fromkeys(group for row in rows for group in row[1:]))
        assert [list(proposals(ask).values()) for ask in asks] == [[[0] * len(rows)]] * len(asks)
        for ask in asks[:needed]:
            bench.tick()
            assert not bench.answers and not bench.decides()
            bench.answer(ask, ["decided"])
        assert bench.answers == {7: [0] * len(rows)}


def test_a_majority_counts_each_participant_once() -> None:
    """The call was repeated and both answers came."""
    bench = ready("3pc")
    bench.submit(7, (1, 1, 2))
    bench.go_on()
    bench.vote_all()
    bench.go_on()
    first, second = bench.precommits()
    bench.answer(first, ["decided"])
    bench.take(bench.core.asked(first, ["decided"]))
    assert not bench.answers
    bench.answer(second, ["decided"])
    assert bench.answers == {7: [0]}


def test_a_precommit_rides_with_the_next_prepare() -> None:
    """And one whose round is decided by then is not sent any more."""
    bench = ready("3pc")
    bench.submit(1, (1, 1, 2))
    bench.go_on()
    (first, *_) = bench.prepares()
    bench.vote_all()
    bench.submit(2, (2, 2, 3))
    bench.go_on()
    told = [(ask.group, list(proposals(ask))) for ask in bench.asks]
    assert told == [(2, [round_id(first)]), (3, []), (1, [round_id(first)])]


def test_a_round_of_3pc_with_nothing_to_say_is_not_precommitted() -> None:
    """Presumed abort here as well: it is told at once."""
    bench = ready("3pc")
    bench.submit(7, (1, 1, 2))
    bench.go_on()
    bench.vote_all({1: UNDECIDED})
    bench.tick()
    assert not bench.precommits()
    assert [list(decisions(ask).values()) for ask in bench.prepares()] == [[[UNDECIDED]]] * 2


def test_a_batch_names_its_protocol() -> None:
    """Those of one protocol share a round; a batch without a wish goes with the cluster's own."""
    bench = ready("2pc")
    for ticket, commit in enumerate(["", "3pc", "2pc", "3pc"]):
        bench.submit(ticket, (ticket + 1, 1, 2), commit=commit)
    bench.go_on()
    assert [(prepare_of(ask).protocol, prepare_of(ask).count) for ask in bench.prepares()] == [("2pc", 2)] * 2 + [
        ("3pc", 2)
    ] * 2
    bench.vote_all()
    assert list(bench.answers) == [0, 2]
    bench.go_on()
    assert len(bench.precommits()) == 2
    bench.round()
    assert bench.answers == {ticket: [0] for ticket in range(4)}
