"""What a new coordinator makes of an orphan: the rules of 2pc and of 3pc, and that the new epoch acts on them."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from node.core.commit.phases import Event
from node.core.commit.recovery import Attempt, Orphan, Outcome, Poll, abort_all, find_in_participants, find_in_votes
from node.core.machine import EpochRequest, Votes
from tests.core.commit.bench import RETRY, Bench, decisions, open_round, packed, proposals

ROUND, OTHER = 7, 8
COMMIT, HALF, ABORT = packed(0, 0), packed(0, 56), abort_all(2)


def prepared() -> Poll:
    """The round is open there, without an attempt."""
    return Poll({ROUND: Attempt(0, b"")}, {})


def holding(epoch: int, decision: bytes) -> Poll:
    """The last PRECOMMIT there."""
    return Poll({ROUND: Attempt(epoch, decision)}, {})


def done(decision: bytes) -> Poll:
    """Carried out there."""
    return Poll({}, {ROUND: decision})


NOTHING = Poll({}, {})  # the PREPARE never came
UNRELATED = Poll({OTHER: Attempt(9, COMMIT)}, {OTHER: COMMIT})


@dataclass(frozen=True, slots=True)
class Case:
    """Polls by group, and what is found; None: wait."""

    polls: dict[int, Poll]
    found: Outcome | None
    groups: tuple[int, ...] = (1, 2, 3)


def again(decision: bytes) -> Outcome:
    """The attempt is made again in the new epoch."""
    return Outcome(Event.majority_found, decision)


CASES: dict[str, Case] = {
    "carried out anywhere is the decision": Case({3: done(COMMIT)}, Outcome(Event.decision_found, COMMIT)),
    "also where others are only prepared": Case({1: prepared(), 2: prepared(), 3: done(ABORT)}, Outcome(Event.decision_found, ABORT)),
    "also against a later attempt": Case({1: holding(5, HALF), 3: done(COMMIT)}, Outcome(Event.decision_found, COMMIT)),
    "nobody heard": Case({}, None),
    "a minority heard": Case({1: holding(4, COMMIT)}, None),
    "half is no majority": Case({1: holding(4, COMMIT), 2: prepared()}, None, (1, 2, 3, 4)),
    "one of two is no majority": Case({1: holding(4, COMMIT)}, None, (1, 2)),
    "both of two are": Case({1: holding(4, COMMIT), 2: prepared()}, again(COMMIT), (1, 2)),
    "one of one is": Case({1: holding(4, COMMIT)}, again(COMMIT), (1,)),
    "a stranger is no participant": Case({1: prepared(), 4: prepared(), 5: done(COMMIT)}, None),
    "no attempt in a majority: abort": Case({1: prepared(), 2: prepared()}, again(ABORT)),
    "not even prepared: abort": Case({1: prepared(), 2: NOTHING}, again(ABORT)),
    "other rounds say nothing of it": Case({1: prepared(), 2: UNRELATED}, again(ABORT)),
    "one attempt in a majority": Case({1: prepared(), 2: holding(4, COMMIT)}, again(COMMIT)),
    "the highest attempt": Case({1: holding(4, COMMIT), 2: holding(6, ABORT), 3: holding(5, HALF)}, again(ABORT)),
    "the highest attempt commits": Case({1: holding(6, COMMIT), 2: holding(5, ABORT)}, again(COMMIT)),
    "an attempt held where nothing was prepared": Case({1: NOTHING, 3: holding(2, HALF)}, again(HALF)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_3pc_is_recovered_from_its_participants(name: str) -> None:
    """The decision rule with majorities as quorums; group 0's records are of no account."""
    case = CASES[name]
    orphan = Orphan(ROUND, case.groups, 2)
    assert find_in_participants(orphan, case.polls, {}) == case.found
    assert find_in_participants(orphan, case.polls, {ROUND: HALF}) == case.found


def test_whoever_decided_is_found_by_every_majority() -> None:
    """Whichever two of three have held the deciding attempt and whichever two are heard: the decision is tried again."""
    pairs = ((1, 2), (1, 3), (2, 3))
    for held in pairs:
        for heard in pairs:
            polls = {group: holding(4, COMMIT) if group in held else holding(3, ABORT) for group in heard}
            assert find_in_participants(Orphan(ROUND, (1, 2, 3), 2), polls, {}) == again(COMMIT)


def voted(*statuses: int) -> Poll:
    """The round is open there, with these votes."""
    *_, layout, _ = open_round(ROUND, len(statuses))
    ledger = bytes(2 * len(statuses)) + bytes(statuses)
    return Poll({ROUND: Attempt(0, b"", layout, Votes(bytes(statuses), {"ledger": ledger}))}, {})


YES, NO = voted(0, 0), voted(0, 56)

VOTED: dict[str, Case] = {
    "nobody heard": Case({}, None),
    "one is missing": Case({1: YES, 2: YES}, None),
    "a missing one is waited for whatever the others say": Case({1: NO, 2: NO}, None),
    "all yes": Case({1: YES, 2: YES, 3: YES}, Outcome(Event.votes_found, COMMIT)),
    "one refuses": Case({1: YES, 2: NO, 3: YES}, Outcome(Event.votes_found, HALF)),
    "one has finished": Case({2: done(HALF)}, Outcome(Event.decision_found, HALF)),
    "one has finished what the others would not decide": Case({1: YES, 2: YES, 3: done(HALF)}, Outcome(Event.decision_found, HALF)),
    "one has finished where another never prepared": Case({1: NOTHING, 3: done(HALF)}, Outcome(Event.decision_found, HALF)),
    "one never prepared": Case({1: YES, 3: NOTHING}, Outcome(Event.no_decision_exists, ABORT)),
    "all others have voted": Case({1: YES, 2: NOTHING, 3: YES}, Outcome(Event.no_decision_exists, ABORT)),
    "other rounds say nothing of it": Case({1: UNRELATED}, Outcome(Event.no_decision_exists, ABORT)),
    "a stranger is no participant": Case({1: YES, 2: YES, 4: YES, 5: done(COMMIT), 6: NOTHING}, None),
}  # fmt: skip


@pytest.mark.parametrize("name", VOTED)
def test_2pc_is_recovered_from_the_votes_of_all(name: str) -> None:
    """A record counts before them; that of another round is nothing."""
    case = VOTED[name]
    orphan = Orphan(ROUND, case.groups, 2)
    assert find_in_votes(orphan, case.polls, {}) == case.found
    assert find_in_votes(orphan, case.polls, {OTHER: HALF}) == case.found
    for record in (HALF, ABORT):
        if not any(poll.finished for poll in case.polls.values()):
            assert find_in_votes(orphan, case.polls, {ROUND: record}) == Outcome(Event.decision_found, record)


# -- the new epoch acts on it -------------------------------------------------------------------------------------


def test_an_orphan_waits_for_a_majority_and_is_precommitted_again() -> None:
    """Nothing is told before; then the attempt is made in the new epoch, and a majority of it decides without any tick."""
    bench = Bench(epoch=5, protocol="3pc")
    row = open_round(ROUND, 2, (1, 2, 3), "3pc", 4, COMMIT)
    bench.accept(1, opened={1: [row]})
    bench.tick()
    assert [type(ask.request) for ask in bench.asks] == [EpochRequest] * 2
    bench.accept(2, opened={2: [open_round(ROUND, 2, (1, 2, 3), "3pc")]})
    bench.go_on()
    asks = bench.precommits()
    assert [(ask.group, ask.request.epoch, proposals(ask)) for ask in asks] == [
        (g, 5, {ROUND: [0, 0]}) for g in (1, 2, 3)
    ]
    bench.answer(asks[0], ["decided"])
    bench.go_on()
    assert not bench.decides()
    bench.answer(asks[1], ["decided"])
    bench.go_on()
    assert [(ask.group, decisions(ask)) for ask in bench.decides()] == [(g, {ROUND: [0, 0]}) for g in (1, 2, 3)]
    assert not bench.answers, "its clients were those of another coordinator"
    bench.answer(asks[2], ["decided"])
    bench.decide_all()
    assert not bench.core.rounds


def test_an_abort_is_tried_before_it_is_told() -> None:
    """Another coordinator may come while it is on its way: only a majority makes it a decision."""
    bench = Bench(epoch=5)
    bench.accept(1, 2, opened={1: [open_round(ROUND, 2, (1, 2), "3pc")]})
    bench.go_on()
    assert not bench.decides()
    for ask in bench.precommits():
        assert proposals(ask) == {ROUND: [RETRY, RETRY]}
        bench.answer(ask, ["decided"])
    bench.go_on()
    assert [decisions(ask) for ask in bench.decides()] == [{ROUND: [RETRY, RETRY]}] * 2


def test_a_finished_participant_ends_the_waiting() -> None:
    """It alone is enough, and everybody is told its decision."""
    bench = Bench(epoch=5)
    bench.accept(1, opened={1: [open_round(ROUND, 2, (1, 2, 3), "3pc", 4, COMMIT)]})
    bench.accept(3, finished={3: [[ROUND, COMMIT]]})
    bench.go_on()
    assert not bench.precommits()
    assert [(ask.group, decisions(ask)) for ask in bench.decides()] == [(g, {ROUND: [0, 0]}) for g in (1, 2, 3)]


def test_what_was_found_is_told_once() -> None:
    """Which round, by what, and what becomes of it; a later epoch begins with nothing."""
    bench = Bench(epoch=5)
    rows = [open_round(ROUND, 2, (1, 2)), open_round(OTHER, 2, (1, 2), "3pc", 4, HALF)]
    bench.accept(1, opened={1: rows})
    is_complete = bench.core.is_complete
    assert bench.core.take_recovered() == [] and not is_complete
    bench.accept(2)
    found = bench.core.take_recovered()
    assert [(one.round_id, one.groups, one.event) for one in found] == [
        (ROUND, (1, 2), Event.no_decision_exists), (OTHER, (1, 2), Event.majority_found),
    ]  # fmt: skip
    assert [one.outcome for one in found] == ["0 of 2 transactions happen", "1 of 2 transactions happen"]
    assert bench.core.take_recovered() == []
    bench.accept()
    assert bench.core.is_complete
    bench.core.resign()
    assert bench.core.take_recovered() == []


def test_a_round_that_is_only_finished_is_no_orphan() -> None:
    """Its other participants have it behind them or will say that it is open."""
    bench = Bench(epoch=5)
    bench.accept(finished={1: [[ROUND, COMMIT]]})
    bench.tick()
    assert not bench.asks and not bench.core.rounds


def test_a_late_poll_that_still_names_an_ended_orphan_changes_nothing() -> None:
    """Its answer was made before the decision came there: the same is found and told again."""
    bench = Bench(epoch=5)
    row = open_round(ROUND, 2, (1, 2, 3), "3pc", 4, COMMIT)
    bench.accept(1, 2, opened={1: [row], 2: [row]})
    bench.go_on()
    for _ in range(2):
        for ask in bench.precommits():
            bench.answer(ask, ["decided"])
        bench.go_on()
        assert {tuple(*decisions(ask).values()) for ask in bench.decides()} == {(0, 0)}
        bench.decide_all()
        assert not bench.core.rounds
        bench.accept(3, opened={3: [row]})
        bench.go_on()


def test_orphans_of_both_protocols_are_ended_each_by_its_own_rule() -> None:
    """The protocol is in what the shards tell, not in the new coordinator's configuration."""
    bench = Bench(epoch=5, protocol="3pc")
    rows = [open_round(ROUND, 2, (1, 2), "2pc"), open_round(OTHER, 2, (1, 2), "3pc", 4, COMMIT)]
    bench.accept(1, opened={1: rows})
    bench.go_on()
    assert not bench.decides()
    bench.accept(2)
    bench.go_on()
    assert [decisions(ask) for ask in bench.precommits()] == [{ROUND: [RETRY, RETRY]}] * 2
    assert [list(proposals(ask)) for ask in bench.precommits()] == [[OTHER]] * 2
