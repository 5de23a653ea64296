"""Many seeds of lost, doubled and reordered messages, partitions, crashes and bad disks; invariants after each step."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from node.core.raft import Membership, MembershipChange, NodeId, ProposalDropped, Role, Step, Transition
from tests.core.raft.simulation import Group

STEPS = 8_000
"""Enough for some ten elections a seed."""
SEEDS = 8
"""Kept small, so that the whole suite stays quick; a sweep over thousands of seeds only has to raise it."""

CHANGES = (Step.add_voter, Step.add_voter, Step.add_learner, Step.remove)


def disturb(group: Group, node: NodeId) -> None:
    """One random event that is not the normal course of things."""
    random = group.random
    raft = group.rafts.get(node)
    chance = random.random()
    if raft is None:
        if chance < 0.3:
            group.start(node)
    elif chance < 0.15:
        lost = random.randint(0, 5) if group.lossy_disks and group.may_lose(node) else 0
        group.crash(node, lost)
        for other in group.rafts.values():
            other.peer_lost(node)
    elif chance < 0.3:
        group.checkpoint(node)
    elif chance < 0.40:
        group.cut ^= {node}
    elif chance < 0.6:
        group.cut.clear()
    elif chance < 0.7:
        raft.peer_lost(random.choice(group.ids))
    elif chance < 0.8:
        raft.step_down()
    elif chance < 0.9 and raft.status().role is Role.leader:
        raft.transfer_leadership(random.choice(group.ids))
    else:
        raft.campaign()


def step(group: Group) -> None:
    """One random event."""
    random = group.random
    node = random.choice(group.ids)
    raft = group.rafts.get(node)
    chance = random.random()
    if chance < 0.01 or raft is None:
        disturb(group, node)
    elif chance < 0.17:
        raft.tick()
    elif chance < 0.22:
        leader = group.leader()
        if leader is not None:
            try:
                count = random.choice([1, 1, 5])
                group.rafts[leader].propose([random.randbytes(random.randint(0, 60)) for _ in range(count)])
            except ProposalDropped:
                pass
    elif chance < 0.25:
        group.read(node)
    elif chance < 0.40:
        group.take(node)
    elif chance < 0.55:
        group.flush(node)
    elif group.network:
        position = random.randrange(len(group.network)) if random.random() < 0.3 else 0
        message = group.network[position] if random.random() < 0.05 else group.network.pop(position)
        group.deliver(message, is_lost=random.random() < 0.03)


def reconfigure(group: Group) -> None:
    """The leader, if there is one, proposes a random change of membership."""
    random = group.random
    leader = group.leader()
    if leader is None:
        return
    steps = tuple((random.choice(CHANGES), random.choice(group.ids)) for _ in range(random.choice([0, 1, 1, 2, 3])))
    try:
        group.rafts[leader].propose_change(MembershipChange(steps, random.choice(list(Transition))))
    except ProposalDropped:
        pass


def repaired(group: Group, ticks: int) -> Iterator[NodeId | None]:
    """Connects and starts all nodes, then lets time pass; the leader after each tick."""
    group.cut.clear()
    for node in group.ids:
        if node not in group.rafts:
            group.start(node)
    for _ in range(ticks):
        for raft in group.rafts.values():
            raft.tick()
        group.settle()
        yield group.leader()


def reunite(group: Group) -> None:
    """Brings every node back as a voter."""
    for leader in repaired(group, 200):
        if leader is None:
            continue
        membership = group.rafts[leader].status().membership
        missing = [node for node in group.ids if node not in membership.voters]
        steps = tuple((Step.add_voter, node) for node in missing)
        try:
            if membership.is_joint or missing:
                group.rafts[leader].propose_change(
                    MembershipChange() if membership.is_joint else MembershipChange(steps)
                )
        except ProposalDropped:
            pass
    assert all(raft.status().membership == Membership(tuple(group.ids)) for raft in group.rafts.values())


def heal(group: Group) -> None:
    """Repairs everything; the group must agree again and take proposals."""
    for tick, leader in enumerate(repaired(group, 220)):
        if leader is not None and tick < 200:
            try:
                group.rafts[leader].propose([b"healed"])
            except ProposalDropped:
                continue
    group.settle()
    states = [raft.status() for raft in group.rafts.values()]
    assert len({(status.commit, status.term) for status in states}) == 1, "the group does not agree after healing"
    assert not any(status.recovering for status in states)
    assert states[0].commit == len(group.committed)


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("count", [3, 5])
def test_nothing_is_lost_or_doubled_whatever_fails(count: int, seed: int) -> None:
    """Election safety, log matching, leader completeness, durable commits, monotone state, linearizable reads."""
    group = Group(count, seed, check_quorum=seed % 2 == 0, pre_vote=seed % 4 < 2)
    for _ in range(STEPS):
        step(group)
        group.check()
    heal(group)


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("count", [3, 5])
def test_disks_that_lose_acknowledged_entries_lose_no_commit(count: int, seed: int) -> None:
    """Any replicas come back without the end of their log or their hard state, while one has all: no commit is lost, nobody stuck."""
    group = Group(count, 1_000 + seed, check_quorum=seed % 2 == 0, pre_vote=seed % 4 < 2)
    group.lossy_disks = True
    for _ in range(STEPS):
        step(group)
        group.check()
    heal(group)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_changes_of_membership_lose_nothing(seed: int) -> None:
    """Random simple and joint changes among all the other faults."""
    group = Group(5, 2_000 + seed)
    group.has_changes = True
    for _ in range(STEPS):
        if group.random.random() < 0.01:
            reconfigure(group)
        step(group)
        group.check()
    reunite(group)
    heal(group)
