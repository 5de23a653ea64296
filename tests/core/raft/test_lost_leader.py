"""What happens when a leader's process is gone and the others are told so."""

from __future__ import annotations

from node.core.raft import NodeId, Role
from tests.core.raft.simulation import Group

ONE, TWO, THREE = NodeId(1), NodeId(2), NodeId(3)


def bereaved(seed: int) -> tuple[Group, NodeId, NodeId]:
    """A group whose leader is dead, and the others in the order of their turn. Nobody has been told yet."""
    group = Group(3, seed, election_ticks=100, heartbeat_ticks=20, lost_leader_ticks=3)
    group.elect(ONE)
    first, second = (TWO, THREE) if group.rafts[TWO].status().term % 2 == 0 else (THREE, TWO)
    return group, first, second


def test_the_death_of_a_leaders_process_is_answered_at_once() -> None:
    """Followers whose connection broke elect a successor long before the election timeout."""
    for seed in range(20):
        group = Group(3, seed, election_ticks=100, heartbeat_ticks=20, lost_leader_ticks=3)
        group.elect(ONE)
        group.crash(ONE)
        for node in (TWO, THREE):
            group.rafts[node].peer_lost(ONE)
        ticks = 0
        while group.leader() is None:
            ticks += 1
            for raft in group.rafts.values():
                raft.tick()
            group.settle()
        assert ticks <= 4 * 3 * 2, f"seed {seed}"


def test_who_notices_the_death_later_answers_then() -> None:
    """Until then it believes in the leader; no clock has to tick for its answer."""
    group, first, second = bereaved(3)
    group.crash(ONE)
    group.rafts[first].peer_lost(ONE)
    group.settle()
    assert group.leader() is None
    group.rafts[second].peer_lost(ONE)
    group.settle()
    assert group.leader() == first


def test_the_first_in_turn_asks_again_after_a_tick() -> None:
    """Its question, or the answer, may have got lost."""
    group, first, second = bereaved(3)
    group.crash(ONE)
    group.cut.add(first)
    group.rafts[first].peer_lost(ONE)
    group.settle()
    group.cut.clear()
    group.rafts[second].peer_lost(ONE)
    group.settle()
    assert group.leader() is None
    group.rafts[first].tick()
    group.settle()
    assert group.leader() == first


def test_a_first_in_turn_that_lacks_an_entry_gives_its_turn_away() -> None:
    """Who refuses it because of that campaigns itself, without waiting for its own turn."""
    group, first, second = bereaved(3)
    group.cut.add(first)
    group.rafts[ONE].propose([b"x"])
    group.settle()
    group.crash(ONE)
    group.cut.clear()
    for node in (second, first):
        group.rafts[node].peer_lost(ONE)
    group.settle()
    assert group.leader() == second


def test_the_loss_of_another_peer_changes_nothing() -> None:
    """Only the leader's death is a reason to campaign."""
    group = Group(3, 5)
    group.elect(ONE)
    group.rafts[TWO].peer_lost(THREE)
    assert group.rafts[TWO].status().leader == ONE
    for _ in range(4):
        group.rafts[TWO].tick()
    assert group.rafts[TWO].status().role is Role.follower


def test_a_leader_that_resigns_calls_the_peer_with_the_longest_log() -> None:
    """No clock has to tick, and who lacks an entry is not called."""
    group = Group(3, 5)
    leader = group.elect(ONE)
    group.cut.add(TWO)
    leader.propose([b"x"])
    group.settle()
    group.cut.clear()
    leader.step_down()
    group.settle()
    assert group.leader() == THREE and leader.status().role is Role.follower


def test_who_lets_others_lead_votes_at_once_and_does_not_campaign_first() -> None:
    """It gives up its turn at the leader's death, not its vote."""
    group, first, second = bereaved(3)
    group.crash(ONE)
    group.rafts[first].let_others_lead(True)
    for node in (first, second):
        group.rafts[node].peer_lost(ONE)
    for _ in range(4 * 3 * 2):
        if group.leader() is None:
            for raft in group.rafts.values():
                raft.tick()
            group.settle()
    assert group.leader() == second


def test_who_lets_others_lead_leads_when_no_other_can() -> None:
    """After several timeouts, since somebody has to."""
    group, first, second = bereaved(3)
    group.cut.add(second)
    group.rafts[ONE].propose([b"x"])
    group.settle()
    group.crash(ONE)
    group.cut.clear()
    group.rafts[first].let_others_lead(True)
    ticks = 0
    while group.leader() is None:
        ticks += 1
        for raft in group.rafts.values():
            raft.tick()
        group.settle()
    assert group.leader() == first and ticks >= 5 * 100
