"""The planner of the placement table: balance, distinctness, least moves, even leaders, determinism."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from math import ceil, floor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.core.ring import Plan, place
from protocol.placement import NodeAddress, Placement

SIZES = [(shards, replication) for shards in (1, 2, 5, 16, 64, 256) for replication in (1, 3, 5)]
CLUSTER_SIZES = (1, 2, 3, 4, 5, 6, 8, 11)


def addresses(ids: Iterable[int]) -> list[NodeAddress]:
    return [NodeAddress(id, f"node-{id}", 7_100 + id) for id in ids]


def replicas_moved(plan: Plan) -> int:
    """Replicas of shards that are new where they are."""
    return sum(len(move.added) for move in plan.moves if move.group)


def check(placement: Placement, replication: int) -> None:
    """What holds for every table."""
    ids = [address.id for address in placement.nodes]
    shards = placement.replicas[1:]
    width = min(replication, len(ids))
    assert len(shards) == placement.shards
    assert all(len(nodes) == len(dict.fromkeys(nodes)) == width for nodes in shards)
    mean = placement.shards * width / len(ids)
    loads = [sum(node in nodes for nodes in shards) for node in ids]
    assert floor(mean) <= min(loads)
    assert max(loads) <= ceil(mean) <= ceil(1.1 * mean)
    leading = [sum(nodes[0] == node for nodes in shards) for node in ids]
    assert max(leading) - min(leading) <= 1
    assert len(placement.replicas[0]) == {1: 1, 2: 1, 3: 3, 4: 3}.get(len(ids), 5)
    assert len(dict.fromkeys(placement.replicas[0])) == len(placement.replicas[0])
    assert Placement.unpack(placement.pack()) == placement


@pytest.mark.parametrize(("shards", "replication"), SIZES)
def test_first_table(shards: int, replication: int) -> None:
    """A new cluster's table holds all invariants, whatever its size, and does not depend on the order of its nodes."""
    for count in CLUSTER_SIZES:
        plan = place(addresses(range(1, count + 1)), shards, replication)
        check(plan.placement, replication)
        assert plan.generation == plan.placement.version == 1
        assert [move.group for move in plan.moves] == list(range(shards + 1))
        assert place(addresses(range(count, 0, -1)), shards, replication) == plan


@pytest.mark.parametrize(("shards", "replication"), SIZES)
def test_one_node_more_moves_its_share_only(shards: int, replication: int) -> None:
    """Exactly the replicas that the new node gets are moved, at most the mean rounded up."""
    for count in CLUSTER_SIZES:
        before = place(addresses(range(1, count + 1)), shards, replication).placement
        plan = place(addresses(range(1, count + 2)), shards, replication, before)
        check(plan.placement, replication)
        ideal = shards * min(replication, count + 1) / (count + 1)
        assert replicas_moved(plan) <= (ceil(ideal) if count >= replication else shards)
        assert all(move.added in ((), (count + 1,)) for move in plan.moves if move.group)


@pytest.mark.parametrize(("shards", "replication"), SIZES)
def test_one_node_less_moves_what_it_held(shards: int, replication: int) -> None:
    """At most 1.1 times the replicas that the leaving node held are moved, or one more where there are few shards."""
    for count in CLUSTER_SIZES[1:]:
        before = place(addresses(range(1, count + 1)), shards, replication).placement
        for gone in range(1, count + 1):
            plan = place(addresses(id for id in range(1, count + 1) if id != gone), shards, replication, before)
            check(plan.placement, replication)
            held = sum(gone in nodes for nodes in before.replicas[1:]) if count > replication else 0
            assert replicas_moved(plan) <= (held * 1.1 if shards >= 16 else held + 1)


@settings(max_examples=30)
@given(
    st.lists(st.lists(st.integers(1, 12), min_size=1, max_size=12, unique=True), min_size=1, max_size=6),
    st.sampled_from([1, 3, 7, 16, 48]),
    st.sampled_from([1, 2, 3, 5]),
)
def test_any_history_of_members(history: list[list[int]], shards: int, replication: int) -> None:
    """Whatever comes and goes, the table stays even, versions rise, and the moves lead from one table to the next."""
    previous: Placement | None = None
    for ids in history:
        plan = place(addresses(ids), shards, replication, previous)
        check(plan.placement, replication)
        before = previous.replicas if previous else ((),) * (shards + 1)
        for move in plan.moves:
            after = plan.placement.replicas[move.group]
            assert {*before[move.group], *move.added} - {*move.removed} == {*after}
            assert move.leader == after[0]
        changed = [move.group for move in plan.moves]
        for group in range(shards + 1):
            assert (before[group] != plan.placement.replicas[group]) == (group in changed)
        assert plan.generation == plan.placement.version
        assert plan.generation >= (previous.version if previous else 1)
        previous = plan.placement


def test_nothing_new_keeps_the_table() -> None:
    """Planning again with the same members changes nothing, not even the version."""
    first = place(addresses(range(1, 6)), 16, 3).placement
    again = place(addresses(range(1, 6)), 16, 3, first)
    assert again.placement == first
    assert again.moves == ()


def test_a_new_address_is_a_new_version_without_moves() -> None:
    """A node that moved to another port keeps its replicas."""
    nodes = addresses(range(1, 4))
    first = place(nodes, 16, 3).placement
    plan = place([replace(nodes[0], port=9_999), *nodes[1:]], 16, 3, first)
    assert plan.generation == 2
    assert plan.moves == ()
    assert plan.placement.replicas == first.replicas


def test_leaders_stay_where_they_can() -> None:
    """When a node leaves, only the shards that it led get another leader, plus what evenness needs."""
    first = place(addresses(range(1, 6)), 64, 3).placement
    plan = place(addresses(range(2, 6)), 64, 3, first)
    changed = sum(
        before[0] != after[0] for before, after in zip(first.replicas[1:], plan.placement.replicas[1:], strict=True)
    )
    led = sum(nodes[0] == 1 for nodes in first.replicas[1:])
    assert led <= changed <= 2 * led


def test_the_cluster_group_keeps_its_members() -> None:
    """Group 0 changes only where a member has left; its leader stays while it is a member."""
    first = place(addresses(range(1, 8)), 16, 3).placement
    more = place(addresses(range(1, 10)), 16, 3, first).placement
    assert more.replicas[0] == first.replicas[0]
    gone = first.replicas[0][1]
    less = place(addresses(id for id in range(1, 8) if id != gone), 16, 3, first).placement
    assert less.replicas[0][0] == first.replicas[0][0]
    assert len({*less.replicas[0]} & {*first.replicas[0]}) == 4


def test_refusals() -> None:
    """Members and numbers that make no table are told."""
    first = place(addresses([1, 2, 3]), 16, 3).placement
    with pytest.raises(ValueError, match="1 to 256 nodes"):
        place([], 16, 3)
    with pytest.raises(ValueError, match="distinct"):
        place(addresses([1, 1]), 16, 3)
    with pytest.raises(ValueError, match="above 0"):
        place(addresses([0]), 16, 3)
    with pytest.raises(ValueError, match="shards"):
        place(addresses([1]), 0, 3)
    with pytest.raises(ValueError, match="created with 16 shards"):
        place(addresses([1]), 8, 3, first)
