"""Replicas that lost the end of their logs, and know what they had acknowledged: whom they vote for, and who leads them again."""

from __future__ import annotations

import pytest

from node.core.raft import HardState, LogEnd, Message, MessageKind, NodeId
from tests.core.raft.entries import chain
from tests.core.raft.simulation import Group
from tests.core.raft.test_raft import replica, take

ONE, TWO = NodeId(1), NodeId(2)


@pytest.mark.parametrize(("end", "is_granted"), [((1, 9), False), ((2, 2), False), ((2, 3), True), ((3, 1), True)])
def test_who_lost_its_end_votes_by_where_it_was(end: tuple[int, int], is_granted: bool) -> None:
    """As it would have with all of its log: for whoever has at least what it acknowledged, though it has less itself."""
    raft = replica(tuple(chain(1, 1)), hard=HardState(2, commit=1), lost=LogEnd(2, 3))
    raft.step(Message(MessageKind.vote, ONE, TWO, 4, *end))
    (vote,) = take(raft).persist.responses  # type: ignore[union-attr]  # a vote is always written
    assert vote.reject is not is_granted


@pytest.mark.parametrize("count", [3, 5])
def test_one_sound_replica_leads_when_all_others_lost_their_end(count: int) -> None:
    """It needs their votes, and they know what they had acknowledged; then they get all of it back."""
    group = Group(count, 3)
    group.lossy_disks = True
    group.elect(TWO).propose([b"a", b"b", b"c"])
    group.settle()
    for node in group.ids:
        group.crash(node, lost_entries=0 if node == ONE else 3)
    for node in group.ids:
        group.start(node)
    for _ in range(100):
        for raft in group.rafts.values():
            raft.tick()
        group.settle()
    assert group.leader() == ONE
    assert not any(raft.status().recovering for raft in group.rafts.values())
    assert len({raft.status().commit for raft in group.rafts.values()}) == 1


def test_nobody_leads_where_what_was_acknowledged_is_nowhere() -> None:
    """A majority had it, and lost it: the third must not go on without it."""
    group = Group(3, 3)
    group.lossy_disks = True
    leader = group.elect(TWO)
    group.cut.add(ONE)
    leader.propose([b"a", b"b", b"c"])
    group.settle()
    assert len(group.committed) == 4
    for node in group.ids:
        group.crash(node, lost_entries=0 if node == ONE else 3)
    group.cut.clear()
    for node in group.ids:
        group.start(node)
    for _ in range(100):
        for raft in group.rafts.values():
            raft.tick()
        group.settle()
    assert group.leader() is None
    assert [raft.status().recovering for raft in group.rafts.values()] == [False, True, True]
