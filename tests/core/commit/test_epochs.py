"""One coordinator ends, the next one finishes its rounds: every crash point."""

from __future__ import annotations

import numpy as np
import pytest

from node.core.commit import Decisions
from node.core.commit.decisions import DecisionRecord
from node.core.machine import ROUND_BITS, At, Change, Over, pack_decision
from protocol.status import Status
from tests.core.commit.bench import (
    GROUPS,
    RETRY,
    Bench,
    batch,
    decisions,
    held,
    open_round,
    ready,
    round_id,
    round_of,
    vote,
)

AT = At(1, 1, 1)
NO_FUNDS = int(Status.insufficient_funds)


def test_before_any_vote_the_next_coordinator_aborts() -> None:
    """Every participant is told, also one that does not hold the round: tickets of the old one are of unknown outcome."""
    old = ready()
    old.submit(7, (1, 1, 2))
    old.go_on()
    number = round_id(old.prepares()[0])
    assert old.core.resign() == [7]
    new = Bench(epoch=2)
    new.accept(opened={1: [open_round(number)]})
    new.go_on()
    assert [(ask.group, decisions(ask)) for ask in new.asks] == [(1, {number: [RETRY]}), (2, {number: [RETRY]})]
    assert all(ask.request.epoch == 2 for ask in new.asks)


def test_a_paused_coordinator_ends_its_rounds_and_begins_none() -> None:
    """Its leadership is about to move: what waits here goes to the next one."""
    bench = ready()
    bench.submit(1, (1, 1, 2))
    bench.go_on()
    bench.core.rounds_max = 0
    bench.submit(2, (2, 1, 2))
    bench.vote_all()
    assert bench.answers == {1: [0]} and bench.core.in_flight == 0
    bench.go_on()
    assert not bench.prepares() and bench.core.resign() == [2]


def test_after_the_votes_the_next_coordinator_decides_the_same() -> None:
    """The client was told already. Until the last participant is heard, nobody else is told anything."""
    old = ready()
    old.submit(7, (1, 1, 2), (2, 2, 1))
    old.go_on()
    number = round_id(old.prepares()[0])
    opened = {ask.group: [held(ask, vote(ask, {2: NO_FUNDS}))] for ask in old.prepares()}
    old.vote_all({2: NO_FUNDS})
    assert old.answers == {7: [0, NO_FUNDS]} and old.core.resign() == []
    new = Bench(epoch=2)
    new.accept(1, 3, opened=opened)
    new.tick()
    assert not new.decides() and not new.prepares()
    new.accept(2, opened=opened)
    new.go_on()
    assert [(ask.group, decisions(ask)) for ask in new.asks] == [(group, {number: [0, NO_FUNDS]}) for group in (1, 2)]


def test_a_decision_without_all_votes_is_lost_with_its_record() -> None:
    """Nobody had heard of it. The vote that it lacked has come since, so that the round commits after all."""
    old = ready()
    old.submit(7, (1, 1, 2))
    old.go_on()
    payer, payee = old.prepares()
    opened = {ask.group: [held(ask, vote(ask))] for ask in (payer, payee)}
    old.answer(payer, vote(payer))
    old.abandon(round_id(payer))
    assert len(old.records) == 1 and old.core.resign() == [7]
    new = Bench(epoch=2)
    new.accept(opened=opened)
    new.go_on()
    assert [decisions(ask) for ask in new.decides()] == [{round_id(payer): [0]}] * 2


def test_a_recorded_commit_is_carried_out_by_the_next_coordinator() -> None:
    """No shard had heard of it: both do."""
    old = ready()
    old.submit(7, (1, 1, 2), (2, 1, 2))
    old.go_on()
    (payer, payee), number = old.prepares(), round_id(old.prepares()[0])
    old.answer(payer, vote(payer, {2: NO_FUNDS}))
    old.abandon(number)
    record = old.records[0]
    new = Bench(epoch=2, records={record.round_id: DecisionRecord(record.groups, record.decision)})
    new.accept(opened={payer.group: [held(payer, vote(payer, {2: NO_FUNDS}))], payee.group: [held(payee, vote(payee))]})
    new.go_on()
    expected = {number: [RETRY, NO_FUNDS]}
    assert [(ask.group, decisions(ask)) for ask in new.asks] == [(1, expected), (2, expected)]


def test_records_of_an_earlier_epoch_are_told_before_anybody_has_answered() -> None:
    """They stand whatever the shards hold; once all have carried them out, the record is forgotten."""
    old = ready()
    old.submit(7, (1, 1, 2))
    old.go_on()
    old.vote_all()
    old.linger()
    record = old.records[0]
    new = Bench(epoch=2, records={record.round_id: DecisionRecord(record.groups, record.decision)})
    new.go_on()
    assert [(ask.group, decisions(ask)) for ask in new.decides()] == [
        (1, {record.round_id: [0]}),
        (2, {record.round_id: [0]}),
    ]
    new.accept(opened={2: [open_round(record.round_id)]})
    new.submit(8, (9, 1, 3))
    new.decide_all()
    new.go_on()
    new.vote_all()
    new.linger()
    assert new.records[0].forgotten == (record.round_id,)


def test_a_shard_that_ends_several_rounds_is_told_all_of_them() -> None:
    """Some with a record, some with all votes, some with neither."""
    decision = pack_decision(np.array([0, 56], np.uint8))
    new = Bench(epoch=2, records={11: DecisionRecord((1,), decision)})
    new.accept(opened={1: [open_round(10, 1, [1, 2]), open_round(11, 2, [1]), open_round(12, 3, [1])]})
    new.go_on()
    assert decisions(new.asks[0]) == {10: [RETRY], 11: [0, 56], 12: [0] * 3}


def test_nothing_of_an_earlier_epoch_is_over_before_all_groups_have_answered() -> None:
    """The last one may hold a round that the others have carried out; of the own epoch all is known."""
    bench = Bench(epoch=2)
    first_own = 2 << ROUND_BITS | 1
    bench.accept(1, 2)
    bench.submit(1, (1, 1, 2))
    bench.go_on()
    assert [round_of(ask).over for ask in bench.prepares()] == [Over(0, first_own)] * 2
    bench.vote_all()
    bench.record_all()
    bench.tick()
    bench.decide_all()
    bench.accept(3, opened={3: [open_round(10, 1, (1, 3))]})
    bench.go_on()
    assert [round_of(ask).over for ask in bench.decides()] == [Over(10, first_own + 1)] * 2
    bench.decide_all()
    bench.submit(2, (2, 1, 2))
    bench.go_on()
    assert [round_of(ask).over for ask in bench.prepares()] == [Over(first_own + 1, first_own + 1)] * 2


def test_new_work_starts_only_where_the_epoch_is_accepted() -> None:
    """Pieces for other shards wait; those behind them that can go do."""
    bench = Bench(epoch=2)
    bench.submit(1, (1, 1, 2))
    bench.submit(2, (2, 2, 3))
    bench.go_on()
    assert not bench.prepares()
    bench.accept(2, 3)
    bench.go_on()
    assert [ask.group for ask in bench.prepares()] == [2, 3]
    bench.accept(1)
    bench.go_on()
    assert [ask.group for ask in bench.prepares()] == [2, 3, 1, 2]


def test_answers_of_an_earlier_epoch_mean_nothing() -> None:
    """A late vote must not count for a round of the new epoch."""
    bench = ready()
    bench.submit(7, (1, 1, 2))
    bench.go_on()
    late = bench.prepares()
    bench.core.resign()
    bench.take(bench.core.lead(2, GROUPS, {}))
    for ask in late:
        assert bench.core.asked(ask, vote(ask)) == []
    assert bench.core.in_flight == 0 and not bench.records


@pytest.mark.parametrize("step", ["epoch", "prepare", "decide"])
def test_a_higher_epoch_anywhere_ends_this_one(step: str) -> None:
    """The coordinator stops at once: nothing more leaves it."""
    bench = Bench() if step == "epoch" else ready()
    if step != "epoch":
        bench.submit(7, (1, 1, 2))
        bench.go_on()
    if step == "decide":
        bench.vote_all()
        bench.record_all()
        bench.tick()
    bench.answer(bench.asks[0], ["stale_epoch", 9])
    assert not bench.core.active
    bench.go_on()
    for ask in list(bench.asks):
        assert bench.core.asked(ask, ["epoch", [], []]) == []
    assert bench.core.go_on() == []


def test_a_call_is_repeated_only_while_its_answer_can_matter() -> None:
    """Calls to a group that is down for long must not pile up: votes that were given up, decisions told by another call."""
    bench = Bench(protocol="3pc")
    (first, *_) = bench.asks
    assert bench.core.wants(first)
    bench.accept()
    assert not bench.core.wants(first)
    bench.submit(1, (1, 1, 2))
    bench.go_on()
    prepares = bench.prepares()
    assert all(bench.core.wants(ask) for ask in prepares)
    bench.vote_all()
    assert not any(bench.core.wants(ask) for ask in prepares)
    bench.go_on()
    precommits = bench.precommits()
    assert all(bench.core.wants(ask) for ask in precommits)
    for ask in precommits:
        bench.answer(ask, ["decided"])
    assert not any(bench.core.wants(ask) for ask in precommits)
    bench.tick()
    one, other = bench.decides()
    bench.answer(one, ["decided"])
    assert bench.core.wants(other) and not bench.core.wants(one)
    bench.answer(other, ["decided"])
    assert not bench.core.wants(other)


def test_resigning_names_every_ticket_without_an_answer() -> None:
    """Gathered, voting and being recorded; not those that were answered."""
    bench = ready()
    bench.submit(1, (1, 1, 2))
    bench.round()
    bench.submit(2, (2, 1, 2))
    bench.go_on()
    payer, payee = bench.prepares()
    bench.answer(payer, vote(payer, {2: NO_FUNDS}))
    bench.abandon(round_id(payer))
    bench.answer(payee, vote(payee))
    bench.submit(3, (3, 1, 2))
    bench.go_on()
    bench.submit(4, (4, 1, 2))
    assert sorted(bench.core.resign()) == [2, 3, 4]
    assert bench.answers == {1: [0]} and bench.core.go_on() == []


def test_round_ids_rise_with_the_epoch() -> None:
    """A shard can tell by the number alone which round is older."""
    first, second = ready(), Bench(epoch=2)
    second.accept()
    for bench in (first, second):
        bench.submit(1, (1, 1, 2))
        bench.go_on()
    low, high = round_id(first.prepares()[0]), round_id(second.prepares()[0])
    assert (low >> ROUND_BITS, high >> ROUND_BITS) == (1, 2) and low < high


def test_a_repeated_answer_to_the_epoch_is_harmless() -> None:
    """The call was repeated because its first answer was lost, and then both came."""
    bench = Bench(epoch=2)
    first = next(ask for ask in bench.asks if ask.group == 1)
    bench.take(bench.core.asked(first, ["epoch", [open_round(10)], []]))
    bench.go_on()
    bench.decide_all()
    bench.take(bench.core.asked(first, ["epoch", [], []]))
    bench.accept(2, 3)
    bench.submit(1, (1, 1, 2))
    bench.go_on()
    own = round_id(bench.prepares()[0])
    bench.take(bench.core.asked(first, ["epoch", [open_round(own)], []]))
    bench.tick()
    assert not bench.decides(), "a round of its own is not aborted"


# -- group 0's memory ---------------------------------------------------------------------------------------------


def record(decisions: Decisions, number: int, statuses: bytes = b"x", forgotten: tuple[int, ...] = ()) -> list[object]:
    return decisions.apply(["record", list(forgotten), number, [1, 2], statuses], AT)


def opened(decisions: Decisions) -> list[int]:
    answer = decisions.query(["open"], {})
    return [row[0] for row in answer.body]  # type: ignore[union-attr]  # never needs stored rows


def test_a_record_is_written_once() -> None:
    """One decision a round, whatever comes later under its number."""
    part = Decisions()
    record(part, 5, b"first")
    record(part, 5, b"second")
    assert part.records == {5: DecisionRecord((1, 2), b"first")}
    record(part, 6, forgotten=(5,))
    part.apply(["forget", [6, 99]], AT)
    assert opened(part) == []


def test_a_record_of_an_ended_epoch_is_refused() -> None:
    """The next coordinator has presumed abort by then: a record that is late must not turn it into a commit."""
    part = Decisions()
    record(part, 1 << ROUND_BITS | 1)
    (begun,) = [part.apply(["begin", 3, 1], AT)]
    assert begun == ["begun", [[1 << ROUND_BITS | 1, [1, 2], b"x"]]]
    assert record(part, 2 << ROUND_BITS | 1) == ["stale_epoch", 3]
    assert record(part, 3 << ROUND_BITS | 1) == ["recorded"]
    assert opened(part) == [1 << ROUND_BITS | 1, 3 << ROUND_BITS | 1]
    assert part.apply(["begin", 2, 1], AT) == ["stale_epoch", 3]


def test_decisions_survive_a_checkpoint() -> None:
    """Records, forgotten ones and the epoch."""
    part = Decisions()
    part.apply(["begin", 3, 1], AT)
    for number in (3 << ROUND_BITS | 1, 3 << ROUND_BITS | 2):
        record(part, number)
    store: dict[int, bytes] = {}
    save(part.changes(), store)
    part.apply(["forget", [3 << ROUND_BITS | 1]], AT)
    save(part.changes(), store)
    other = Decisions()
    other.restore(lambda table: sorted(store.items()))
    assert other.digest(0) == part.digest(0)
    assert opened(other) == [3 << ROUND_BITS | 2]
    assert record(other, 2 << ROUND_BITS | 1) == ["stale_epoch", 3]
    other.apply(["forget", [3 << ROUND_BITS | 2]], AT)
    assert other.records == {} and batch((1, 1, 2))[0]


def save(changes: list[Change], store: dict[int, bytes]) -> None:
    for change in changes:
        if change.value is None:
            store.pop(change.key, None)
        else:
            store[change.key] = change.value
