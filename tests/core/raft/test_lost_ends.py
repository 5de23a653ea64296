"""Replicas that lost the end of their logs, and know what they had acknowledged: whom they vote for, and who leads them again."""

from __future__ import annotations

import pytest

from node.core.raft import HardState, LogEnd, Message, MessageKind, NodeId, Role
from tests.core.raft.entries import chain
from tests.core.raft.simulation import Group
from tests.core.raft.test_raft import replica, take

ONE, TWO, THREE = NodeId(1), NodeId(2), NodeId(3)


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


def test_a_heartbeat_commits_nothing_of_a_log_that_lost_its_end() -> None:
    """Its sender may count on entries that are gone, and what stands there now may be others."""
    raft = replica(tuple(chain(1, 2)), hard=HardState(1, commit=1), lost=LogEnd(2, 4))
    raft.step(Message(MessageKind.heartbeat, ONE, TWO, 2, commit=4))
    assert raft.status().commit == 1


def test_one_in_doubt_leads_by_the_votes_of_all_others_alone() -> None:
    """They know what they have acknowledged; it says that it is in doubt, and its own vote does not count. Then it is in doubt no more."""
    raft = replica(tuple(chain(1, 2)), hard=HardState(1))
    raft.set_doubted(True)
    raft.campaign()
    assert raft.ready() is None, "the others have not spoken"
    raft.trust(1, LogEnd(1, 2))
    raft.campaign()
    asked = take(raft).messages
    assert [(one.kind, one.to, one.recovering) for one in asked] == [
        (MessageKind.vote, TWO, True), (MessageKind.vote, THREE, True),
    ]  # fmt: skip
    for voter, is_won in ((TWO, False), (THREE, True)):
        raft.step(Message(MessageKind.vote_reply, ONE, voter, 2))
        assert (raft.status().role is Role.leader) == is_won == (not raft.status().recovering)


def test_one_in_doubt_asks_for_no_votes_before_it_has_what_others_know_of() -> None:
    """Nobody could give it any."""
    raft = replica(tuple(chain(1, 2)), hard=HardState(1))
    raft.set_doubted(True)
    raft.trust(1, LogEnd(1, 3))
    take(raft)
    raft.campaign()
    assert raft.ready() is None
