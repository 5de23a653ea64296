"""What must be durable before a decision is told: all votes, or a record of what some of them gave; and when records go."""

from __future__ import annotations

import pytest

from node.core.commit import PROTOCOLS
from node.core.commit.coordinator import FORGET_AT
from node.core.commit.decisions import DecisionRecord
from protocol.status import Status
from tests.core.commit.bench import RETRY, Bench, decisions, packed, ready, round_id, vote

NO_FUNDS = int(Status.insufficient_funds)


def test_nothing_is_answered_before_all_votes_are_in() -> None:
    """Then the outcome stands, without a record; before, no client and no shard hears anything."""
    bench = ready()
    bench.submit(7, (1, 1, 2), (2, 2, 3))
    bench.go_on()
    for ask in bench.prepares():
        assert not bench.answers
        bench.answer(ask, vote(ask))
        bench.core.hurry()
        bench.take(bench.core.record_lingering())
    assert bench.answers == {7: [0, 0]} and not bench.records
    bench.go_on()
    assert [list(decisions(ask).values()) for ask in bench.decides()] == [[[0, 0]]] * 3


def test_without_all_votes_nothing_is_answered_before_the_record() -> None:
    """What the others agreed on survives only in group 0; no shard carries it out before."""
    bench = ready()
    bench.submit(7, (1, 1, 2))
    bench.submit(8, (2, 1, 3))
    bench.go_on()
    first, second, late = bench.prepares()
    for ask in (first, second):
        bench.answer(ask, vote(ask))
    bench.abandon(round_id(late))
    bench.answer(late, vote(late))
    bench.tick()
    assert len(bench.records) == 1 and not bench.answers and not bench.decides()
    bench.record_all()
    assert bench.answers == {7: [0]}
    bench.tick()
    assert all(decisions(ask)[round_id(late)] == [0, RETRY] for ask in bench.decides()), "the late vote came too late"


def test_what_is_carried_out_late_is_recorded() -> None:
    """Once, with the second look at it; what has ended meanwhile and what 3pc has decided are not."""
    bench = ready()
    bench.submit(1, (1, 1, 2))
    bench.round()
    bench.submit(2, (2, 1, 2), (3, 2, 3))
    bench.submit(3, (4, 1, 2), commit="3pc")
    bench.go_on()
    second = round_id(bench.prepares()[0])
    bench.vote_all({3: NO_FUNDS})
    bench.go_on()
    for ask in bench.precommits():
        bench.answer(ask, ["decided"])
    bench.take(bench.core.record_lingering())
    assert not bench.records and len(bench.answers) == 3
    bench.linger()
    (record,) = bench.records
    assert (record.round_id, record.groups, record.decision) == (second, (1, 2, 3), packed(0, NO_FUNDS))


@pytest.mark.parametrize("is_first", [True, False])
def test_a_late_record_is_forgotten_whenever_it_arrives(is_first: bool) -> None:
    """The shards may have carried the decision out before it is there: then it must not stay."""
    bench = ready()
    bench.submit(1, (1, 1, 2))
    bench.go_on()
    bench.vote_all()
    bench.linger()
    number = bench.records[0].round_id
    steps = [bench.record_all, bench.tick, bench.decide_all]
    for step in steps if is_first else [*steps[1:], steps[0]]:
        assert not bench.core._forgotten, "it could overtake the record"
        step()
    assert not bench.core.rounds and bench.core._forgotten == [number]


def test_a_round_whose_votes_do_not_come_is_abandoned() -> None:
    """Transfers that were voted on by all their shards go through; the others are tried again."""
    bench = ready()
    bench.submit(7, (1, 1, 2), (2, 1, 3))
    bench.go_on()
    for ask in [ask for ask in bench.prepares() if ask.group != 3]:
        bench.answer(ask, vote(ask))
    late = bench.prepares()[0]
    bench.abandon(round_id(late))
    bench.record_all()
    assert bench.answers == {}
    bench.core.hurry()
    bench.go_on()
    told = next(ask for ask in bench.asks if ask.group == 3 and ask != late)
    assert decisions(told)[round_id(late)] == [0, RETRY]
    assert bench.prepares() == [late], "no new work for a group that does not vote"
    bench.answer(told, ["decided"])
    bench.answer(late, ["superseded"])
    bench.go_on()
    bench.vote_all()
    assert bench.answers == {7: [0, 0]}


def test_abandoning_twice_or_too_late_changes_nothing() -> None:
    """The timer of a round may fire after it was decided."""
    bench = ready()
    bench.submit(7, (1, 1, 2))
    bench.go_on()
    number = round_id(bench.prepares()[0])
    bench.abandon(number)
    assert bench.core.abandon(number) == [] and len(bench.records) == 1
    bench.record_all()
    assert bench.core.abandon(number) == [] == bench.core.recorded(number)


def test_a_superseded_prepare_makes_its_transfers_wait() -> None:
    """A shard that knows the round to be over votes nothing."""
    bench = ready()
    bench.submit(7, (1, 1, 2))
    bench.go_on()
    first = bench.prepares()
    for ask in first:
        bench.answer(ask, ["superseded"])
    bench.go_on()
    assert len(bench.records) == 1 and not bench.answers and not bench.prepares()
    bench.record_all()
    bench.round()
    assert bench.answers == {7: [0]}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_abort_without_all_votes_is_recorded_before_the_next_attempt(protocol: str) -> None:
    """The vote may come and be yes: a next coordinator would add them up, and the client was told what the second round gave.

    In 3pc that coordinator finds no attempt and aborts, recorded or not.
    """
    bench = ready(protocol)
    bench.submit(7, (1, 1, 2))
    bench.go_on()
    payer, payee = bench.prepares()
    bench.answer(payer, vote(payer))
    bench.abandon(round_id(payee))
    bench.core.wake(2)
    bench.core._silent.clear()
    bench.go_on()
    assert [record.decision for record in bench.records] == ([packed(RETRY)] if protocol == "2pc" else [])
    assert len(bench.prepares()) == (1 if protocol == "2pc" else 3)
    bench.record_all()
    bench.go_on()
    assert len(bench.prepares()) == 3, "the late one and the second attempt"


def test_records_are_forgotten_once_every_shard_has_carried_them_out() -> None:
    """They go with the next record, or by themselves when many have gathered."""
    bench = ready()
    bench.submit(1, (1, 1, 2))
    bench.go_on()
    first = round_id(bench.prepares()[0])
    bench.vote_all()
    bench.linger()
    bench.record_all()
    bench.tick()
    one, other = bench.decides()
    bench.answer(one, ["decided"])
    bench.submit(2, (2, 1, 2))
    bench.go_on()
    bench.vote_all()
    bench.linger()
    assert not bench.records[0].forgotten
    bench.answer(other, ["decided"])
    bench.record_all()
    bench.tick()
    bench.decide_all()
    bench.submit(3, (3, 1, 2))
    bench.go_on()
    bench.vote_all()
    bench.linger()
    assert bench.records[0].forgotten == (first, first + 1)


def test_many_finished_records_are_forgotten_by_themselves() -> None:
    """Records that wait for a companion do not pile up: `FORGET_AT` of them make an entry of their own."""
    records = {number: DecisionRecord((1,), b"") for number in range(1, FORGET_AT + 1)}
    bench = Bench(epoch=2, records=records)
    bench.go_on()
    bench.decide_all()
    bench.go_on()
    assert [forget.round_ids for forget in bench.forgets] == [tuple(records)]
