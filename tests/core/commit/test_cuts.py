"""Consistent cuts: every shard's marker stands behind the same rounds, and payments go on meanwhile."""

from __future__ import annotations

import pytest

from node.core.commit import Cut
from node.core.machine import ROUND_BITS, Body, EpochRequest, Marker, Over, PartQuestion
from tests.core.commit.bench import GROUPS, Bench, decisions, marker_of, open_round, packed, ready, round_id, round_of

OLD = 1 << ROUND_BITS | 1  # a round of the first epoch


def audit(bench: Bench, name: str = "cut") -> None:
    """Somebody wants a cut over all groups."""
    bench.core.make_cut(Cut(name, (), True, {}))


def mark_of(bench: Bench, group: int) -> dict[int, list[int]]:
    """The decisions that a group's marker brings."""
    (ask,) = [ask for ask in bench.marked() if ask.group == group]
    return decisions(ask)


def reached(index: int) -> Body:
    """A group's answer to a mark."""
    return Marker(index, 0, 0, [], []).pack()


def indexes(bench: Bench) -> dict[str, dict[int, int]]:
    """Where each group has reached the marks of the cuts."""
    return {name: {group: mark.index for group, mark in marks.items()} for name, marks in bench.marks.items()}


def test_a_cut_waits_for_no_round_and_holds_none_back() -> None:
    """A round that is being voted on stays open at the mark; the next one starts while the cut is being made."""
    bench = ready()
    bench.submit(1, (1, 1, 2))
    bench.go_on()
    audit(bench)
    bench.go_on()
    assert [ask.group for ask in bench.marked()] == list(GROUPS)
    assert mark_of(bench, 1) == {}
    bench.submit(2, (2, 1, 2))
    bench.go_on()
    assert len(bench.prepares()) == 4
    bench.vote_all()
    bench.record_all()
    assert bench.answers == {1: [0], 2: [0]}


def test_the_marker_brings_every_decision_that_may_not_be_carried_out() -> None:
    """Also one that is under way in another call, which the marker may overtake."""
    bench = ready()
    bench.submit(1, (1, 1, 2))
    bench.submit(2, (2, 1, 3))
    bench.go_on()
    first = round_id(bench.prepares()[0])
    bench.vote_all()
    bench.record_all()
    bench.core.hurry(1)
    bench.go_on()
    assert [ask.group for ask in bench.decides()] == [1]
    audit(bench)
    bench.go_on()
    assert [mark_of(bench, group) for group in GROUPS] == [{first: [0, 0]}] * 3
    bench.tick()
    assert len(bench.decides()) == 1, "the marker has the rest"


def test_a_later_decision_waits_for_the_groups_marker() -> None:
    """It goes to those who have answered; a PREPARE for the others goes without it, and so does the tick."""
    bench = ready()
    bench.submit(1, (1, 1, 2))
    bench.go_on()
    number = round_id(bench.prepares()[0])
    audit(bench)
    bench.go_on()
    bench.vote_all()
    bench.record_all()
    bench.answer(bench.marked()[0], reached(1))
    bench.tick()
    assert [(ask.group, list(decisions(ask))) for ask in bench.decides()] == [(1, [number])]
    bench.submit(2, (2, 2, 3))
    bench.go_on()
    assert [list(decisions(ask)) for ask in bench.prepares()] == [[], []]
    bench.answer(bench.marked()[0], reached(2))
    bench.go_on()
    assert [(ask.group, list(decisions(ask))) for ask in bench.decides()] == [(1, [number]), (2, [number])]
    assert not bench.marks
    bench.answer(bench.marked()[0], reached(3))
    assert indexes(bench) == {"cut": {1: 1, 2: 2, 3: 3}}


def test_a_marker_carries_its_decisions_out() -> None:
    """They are not told again, and what is over rises."""
    bench = ready()
    bench.submit(1, (1, 1, 2))
    bench.go_on()
    number = round_id(bench.prepares()[0])
    bench.vote_all()
    bench.record_all()
    audit(bench)
    bench.go_on()
    for ask in bench.marked():
        bench.answer(ask, reached(1))
    bench.tick()
    assert not bench.asks
    bench.submit(2, (2, 1, 2))
    bench.go_on()
    assert [round_of(ask).over for ask in bench.asks] == [Over(number + 1, number + 1)] * 2


def test_a_cut_over_some_groups_asks_only_them() -> None:
    """With its questions; the others are told decisions as ever."""
    bench = ready()
    bench.submit(1, (1, 1, 2))
    bench.go_on()
    questions = {2: [PartQuestion("ledger", ["accounts", ["b"]])]}
    bench.core.make_cut(Cut("snapshot", (2,), False, questions))
    bench.go_on()
    assert [ask.group for ask in bench.marked()] == [2]
    request = marker_of(bench.marked()[0])
    assert (request.name, request.wants_digest, request.questions) == ("snapshot", False, questions[2])
    bench.vote_all()
    bench.record_all()
    bench.tick()
    assert [ask.group for ask in bench.decides()] == [1]
    bench.answer(bench.marked()[0], reached(1))
    assert indexes(bench) == {"snapshot": {2: 1}}


def test_only_a_groups_first_answer_counts() -> None:
    """The marker of a repeated call may stand behind decisions that the others will not have at theirs."""
    bench = ready()
    audit(bench)
    bench.go_on()
    first, *others = bench.marked()
    bench.answer(first, reached(1))
    bench.take(bench.core.asked(first, reached(9)))
    for ask in others:
        bench.answer(ask, reached(2))
    assert indexes(bench)["cut"] == {1: 1, 2: 2, 3: 2}


def test_cuts_are_made_one_after_the_other() -> None:
    """In the order in which they were asked for; one that waits can be given up."""
    bench = ready()
    for name in ("a", "b", "c"):
        audit(bench, name)
    bench.core.abandon_cut("b")
    for name in ("a", "c"):
        bench.go_on()
        assert [marker_of(ask).name for ask in bench.marked()] == [name] * 3
        for ask in bench.marked():
            bench.answer(ask, reached(1))
    bench.go_on()
    assert list(bench.marks) == ["a", "c"] and not bench.asks


def test_a_cut_waits_until_every_group_knows_the_epoch() -> None:
    """A group that has not answered may hold open rounds."""
    bench = Bench()
    bench.accept(1, 2)
    audit(bench)
    bench.go_on()
    assert [type(ask.request) for ask in bench.asks] == [EpochRequest]
    bench.accept(3)
    bench.go_on()
    assert len(bench.marked()) == 3


def test_what_an_earlier_epoch_left_is_told_in_the_marker() -> None:
    """A shard that has not aborted yet still holds reservations that the others gave back."""
    bench = Bench(epoch=2)
    bench.accept(opened={2: [open_round(OLD)]})
    audit(bench)
    bench.go_on()
    assert len(bench.marked()) == 3
    assert [list(mark_of(bench, group)) for group in GROUPS] == [[OLD], [OLD], []]


@pytest.mark.parametrize("is_finished", [False, True])
def test_a_cut_waits_for_orphans_that_are_being_precommitted_again(is_finished: bool) -> None:
    """A participant that was heard after the majority may have carried the decision out: the others must have it too."""
    bench = Bench(epoch=2)
    held = open_round(OLD, 1, (1, 2, 3), "3pc", 1, packed(0))
    bench.accept(1, 2, opened={1: [held], 2: [held]})
    bench.accept(3, finished={3: [[OLD, packed(0)]] if is_finished else []})
    audit(bench)
    bench.go_on()
    assert not bench.marked() and len(bench.precommits()) == 3
    for ask in bench.precommits()[:2]:
        bench.answer(ask, ["decided"])
    bench.go_on()
    assert [mark_of(bench, group) for group in GROUPS] == [{OLD: [0]}] * 3


def test_a_cut_that_is_given_up_loses_no_decision() -> None:
    """A shard without a majority must not stop the payments of all others because somebody wanted an audit."""
    bench = ready()
    bench.submit(1, (1, 1, 2))
    bench.go_on()
    number = round_id(bench.prepares()[0])
    bench.vote_all()
    bench.record_all()
    audit(bench)
    bench.go_on()
    bench.submit(2, (2, 1, 2))
    bench.go_on()
    later = round_id(bench.prepares()[0])
    bench.vote_all()
    bench.record_all()
    first, *late = bench.marked()
    bench.answer(first, reached(1))
    assert all(bench.core.wants(ask) for ask in late)
    bench.core.abandon_cut("cut")
    assert not any(bench.core.wants(ask) for ask in late)
    bench.tick()
    assert {ask.group: list(decisions(ask)) for ask in bench.decides()} == {1: [later], 2: [later, number]}
    bench.decide_all()
    bench.answer(late[0], reached(2))
    assert bench.marks == {} and not bench.core.rounds
    audit(bench, "again")
    bench.go_on()
    assert [marker_of(ask).name for ask in bench.marked()] == ["cut", *["again"] * 3]
    for ask in bench.marked():
        bench.answer(ask, reached(3))
    assert list(bench.marks) == ["again"]


def test_a_new_epoch_forgets_the_cuts_of_the_old_one() -> None:
    """Whoever asked is told that the coordinator has changed, and no group stays held."""
    bench = ready()
    audit(bench)
    bench.go_on()
    late = bench.marked()[0]
    bench.core.resign()
    bench.take(bench.core.lead(2, GROUPS, {}))
    bench.accept()
    bench.submit(1, (1, 1, 2))
    bench.round()
    assert bench.answers == {1: [0]} and bench.core.asked(late, reached(1)) == []
