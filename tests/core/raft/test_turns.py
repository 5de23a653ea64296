"""Why a replica took a role: told with its effects, in order, once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import pytest

from node.core.raft import Cause, MembershipChange, NodeId, Raft, Ready, Role, Step, Turn, Why
from tests.core.raft.simulation import Group
from tests.core.raft.test_lost_leader import bereaved

ONE, TWO, THREE = NodeId(1), NodeId(2), NodeId(3)

Turns = Mapping[NodeId, list[Turn]]


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> Turns:
    """All that any replica tells, by node."""
    told: dict[NodeId, list[Turn]] = defaultdict(list)
    take = Raft.ready

    def ready(raft: Raft) -> Ready | None:
        found = take(raft)
        told[raft.state.id] += () if found is None else found.turns
        return found

    monkeypatch.setattr(Raft, "ready", ready)
    return told


def steps(turns: list[Turn]) -> list[tuple[Role, Role, Cause]]:
    """Without the terms."""
    return [(turn.was, turn.role, turn.cause) for turn in turns]


def won(cause: Cause) -> list[tuple[Role, Role, Cause]]:
    """A campaign of two steps that a majority supports."""
    return [
        (Role.follower, Role.pre_candidate, cause),
        (Role.pre_candidate, Role.candidate, Cause(Why.would_win)),
        (Role.candidate, Role.leader, Cause(Why.elected)),
    ]


def test_a_silent_leader(turns: Turns) -> None:
    """Who campaigns says whose silence it was, and how long it lasted."""
    group = Group(3, 1)
    group.elect(ONE)
    turns[TWO].clear()
    ticks = 0
    while not turns[TWO]:
        ticks += 1
        group.rafts[TWO].tick()
        group.take(TWO)
    assert steps(turns[TWO]) == [(Role.follower, Role.pre_candidate, Cause(Why.leader_silent, ONE, ticks))]
    assert turns[TWO][0].term == group.rafts[ONE].status().term


def test_a_leader_whose_process_is_gone(turns: Turns) -> None:
    """Both for the first in turn, at once, and for the next one, after its wait; a new leader ends that."""
    group, first, second = bereaved(3)
    for one in turns.values():
        one.clear()
    group.crash(ONE)
    group.cut.add(first)
    for node in (first, second):
        group.rafts[node].peer_lost(ONE)
    for _ in range(4):
        group.rafts[second].tick()
    group.settle()
    gone = Cause(Why.leader_gone, ONE)
    assert steps(turns[first])[:1] == steps(turns[second])[:1] == [(Role.follower, Role.pre_candidate, gone)]
    group.cut.clear()
    group.rafts[first].tick()
    group.settle()
    assert steps(turns[group.leader() or ONE])[-2:] == won(gone)[1:]
    loser = second if group.leader() == first else first
    assert turns[loser][-1].role is Role.follower and turns[loser][-1].cause.node == group.leader()


def test_a_handover(turns: Turns) -> None:
    """The taker was called by the leader, which hears of the later term from it."""
    group = Group(3, 9)
    leader = group.elect(ONE)
    for one in turns.values():
        one.clear()
    assert leader.transferee == 0
    leader.transfer_leadership(THREE)
    assert leader.transferee == THREE
    group.settle()
    assert steps(turns[THREE]) == [
        (Role.follower, Role.candidate, Cause(Why.called, ONE)),
        (Role.candidate, Role.leader, Cause(Why.elected)),
    ]
    assert steps(turns[ONE]) == [(Role.leader, Role.follower, Cause(Why.later_term, THREE))]
    assert steps(turns[TWO]) == [] and leader.transferee == 0


def test_a_leader_that_resigns(turns: Turns) -> None:
    """For want of a majority, of a disk, of trust in its folder, or of a vote."""
    ends: dict[Why, Cause] = {}
    for why in (Why.quorum_silent, Why.disk_stalled, Why.in_doubt, Why.removed):
        group = Group(3, 1)
        leader = group.elect(ONE)
        turns[ONE].clear()
        if why is Why.quorum_silent:
            group.cut = {ONE}
            for _ in range(21):
                leader.tick()
        elif why is Why.disk_stalled:
            leader.step_down()
        elif why is Why.in_doubt:
            leader.set_doubted(True)
        else:
            leader.propose_change(MembershipChange(((Step.remove, ONE),)))
            for _ in range(3):
                leader.tick()
                group.settle()
        group.take(ONE)
        ends[why] = next(turn.cause for turn in turns[ONE] if turn.was is Role.leader)
    assert ends == {why: Cause(why) for why in ends}


def test_a_candidate_that_is_refused(turns: Turns) -> None:
    """Its log is shorter; who refuses it campaigns with that as its cause, where everybody is in a hurry."""
    group, first, second = bereaved(3)
    group.cut.add(first)
    group.rafts[ONE].propose([b"x"])
    group.settle()
    for one in turns.values():
        one.clear()
    group.crash(ONE)
    group.cut.clear()
    for node in (second, first):
        group.rafts[node].peer_lost(ONE)
    group.settle()
    assert steps(turns[second]) == won(Cause(Why.rival_behind, first))
    assert steps(turns[first])[0] == (Role.follower, Role.pre_candidate, Cause(Why.leader_gone, ONE))
    assert turns[first][-1].role is Role.follower


def test_nothing_is_told_twice(turns: Turns) -> None:
    """Whoever takes the effects again gets what has happened since; a term that is followed up is no turn."""
    group = Group(3, 1)
    group.elect(ONE)
    told = {node: len(one) for node, one in turns.items()}
    for _ in range(30):
        for raft in group.rafts.values():
            raft.tick()
        group.settle()
    assert told == {node: len(one) for node, one in turns.items()} == {ONE: 3, TWO: 0, THREE: 0}
