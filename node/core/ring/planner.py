"""The planner of the placement table: a pure function from the members and the table in force to the next table.

Every arc walks the ring of the nodes' virtual points, which gives it a lasting order of preference among the nodes
(consistent hashing). Loads are bounded to the mean, rounded down or up (the bounded loads of Mirrokni, Thorup and
Zadimoghaddam, with the tightest bound), and what the table in force has stays where it is as far as that allows.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from node.core.ring.leaders import spread_leaders
from protocol.placement import NODES_MAX, SHARDS_MAX, NodeAddress, Placement, point

VIRTUAL_POINTS: Final = 64  # a node; the bound evens out the loads, so more points would only cost time
CLUSTER_REPLICAS_MAX: Final = 5  # of group 0: it survives two nodes at once, and more would slow each decision


@dataclass(frozen=True, slots=True)
class Move:
    """What changes for one group."""

    group: int
    added: tuple[int, ...]  # nodes that get a replica
    removed: tuple[int, ...]  # nodes that give theirs up
    leader: int  # the preferred leader afterwards


@dataclass(frozen=True, slots=True)
class Plan:
    """The next table and how it differs from the one before. An executor refuses a generation that is not newer."""

    generation: int  # the version of `placement`
    placement: Placement
    moves: tuple[Move, ...]  # by rising group; empty where no group changes


def place(nodes: Sequence[NodeAddress], shards: int, replication: int, previous: Placement | None = None) -> Plan:
    """Plans the table for these members.

    Each shard gets `min(replication, len(nodes))` replicas, group 0 the greatest odd number up to
    `min(len(nodes), CLUSTER_REPLICAS_MAX)`. The result depends on the arguments' values alone, not on the order of
    `nodes`. If nothing differs from `previous`, its version is kept. Raises ValueError for members or numbers that make
    no table, or a number of shards other than that of `previous`.
    """
    members = tuple(sorted(nodes, key=lambda address: address.id))
    _check(members, shards, replication, previous)
    ids = [address.id for address in members]
    old = previous.replicas if previous else ((),) * (shards + 1)
    orders = _preference_orders(ids, shards)
    kept = [[node for node in replicas if node in ids] for replicas in old]
    width = min(replication, len(ids))
    placed = _Placing(ids, orders, kept[1:], width).place()
    led = spread_leaders(ids, placed, [replicas[0] if replicas else 0 for replicas in old[1:]])
    table = (_place_cluster_group(ids, orders[0], kept[0], led), *led)
    return _plan(members, shards, table, old, previous)


def _check(members: Sequence[NodeAddress], shards: int, replication: int, previous: Placement | None) -> None:
    if not 1 <= len(members) <= NODES_MAX:
        raise ValueError(f"expected 1 to {NODES_MAX} nodes, got {len(members)}")
    if members[0].id < 1 or any(left.id == right.id for left, right in pairwise(members)):
        raise ValueError("expected distinct node ids above 0")
    if not 1 <= shards <= SHARDS_MAX or replication < 1:
        raise ValueError(f"expected 1 to {SHARDS_MAX} shards and at least one replica")
    if previous and previous.shards != shards:
        raise ValueError(f"the cluster was created with {previous.shards} shards, not {shards}")


def _preference_orders(ids: Sequence[int], shards: int) -> list[list[int]]:
    """For each shard all nodes, in the order in which a walk of the ring from the arc's middle meets them."""
    ring = sorted((point(f"node {node} point {number}"), node) for node in ids for number in range(VIRTUAL_POINTS))
    points = [place for place, _ in ring]
    orders = []
    for shard in range(shards):
        start = bisect_left(points, (2 * shard + 1 << 31) // shards)
        orders.append(list(dict.fromkeys(node for _, node in ring[start:] + ring[:start])))
    return orders


class _Placing:
    """The replicas of the shards while they are being placed."""

    def __init__(self, ids: Sequence[int], orders: list[list[int]], kept: list[list[int]], width: int) -> None:
        self.orders = orders
        self.replicas = kept
        self.width = width
        self.shards_on = {node: [shard for shard, nodes in enumerate(kept) if node in nodes] for node in ids}
        mean, more = divmod(len(kept) * width, len(ids))
        fullest = sorted(ids, key=lambda node: -len(self.shards_on[node]))  # allowed one more, they give least away
        self.target = {node: mean + (place < more) for place, node in enumerate(fullest)}
        self.fresh: dict[int, list[int]] = {node: [] for node in ids}  # shards placed on it by this plan

    def place(self) -> list[list[int]]:
        for shard, replicas in enumerate(self.replicas):
            while len(replicas) > self.width:
                self._remove(shard, max(replicas, key=lambda node: (-self._room(node), node)))
        for shard, replicas in enumerate(self.replicas):
            while len(replicas) < self.width:
                self._add_somewhere(shard)
        for node in self.target:
            while self._room(node) < 0:
                self._relieve(node)
        assert all(self._room(node) == 0 for node in self.target)
        return self.replicas

    def _add_somewhere(self, shard: int) -> None:
        """Adds a replica by the shortest chain of hand-overs that ends at a node with room, mostly a chain of one.

        Handing over what this plan itself has placed moves nothing more; only when that does not lead to a node with
        room are others handed over. Then two steps suffice: all nodes with room hold this shard, so each of the others,
        which hold no fewer shards, has one that the node with room lacks.
        """
        chain = self._chain(shard, self.fresh) or self._chain(shard, self.shards_on)
        for moved, giver, taker in chain:
            if giver:
                self._remove(moved, giver)
            self._add(moved, taker)

    def _chain(self, shard: int, movable: dict[int, list[int]]) -> list[tuple[int, int, int]]:
        """(shard, giver, taker), last first; the giver of the added replica is 0. Empty where nothing leads to room."""
        arrived: dict[int, tuple[int, int]] = {}
        waiting = deque([(shard, 0)])
        while waiting:
            moved, giver = waiting.popleft()
            for taker in self.orders[moved]:
                if taker in arrived or taker in self.replicas[moved]:
                    continue
                arrived[taker] = (moved, giver)
                if self._room(taker) > 0:
                    return _walk_back(taker, arrived)
                waiting.extend((other, taker) for other in movable[taker])
        return []

    def _relieve(self, node: int) -> None:
        """Passes one shard of the node on to a node with room that lacks it, the shard's favourite if possible."""
        passable = [
            (self.orders[shard].index(other), shard, other)
            for shard in self.shards_on[node]
            for other in self.target
            if self._room(other) > 0 and other not in self.replicas[shard]
        ]
        _, shard, other = min(passable)
        self._remove(shard, node)
        self._add(shard, other)

    def _room(self, node: int) -> int:
        return self.target[node] - len(self.shards_on[node])

    def _add(self, shard: int, node: int) -> None:
        self.replicas[shard].append(node)
        self.shards_on[node].append(shard)
        self.fresh[node].append(shard)

    def _remove(self, shard: int, node: int) -> None:
        self.replicas[shard].remove(node)
        self.shards_on[node].remove(shard)
        if shard in self.fresh[node]:
            self.fresh[node].remove(shard)


def _walk_back(taker: int, arrived: dict[int, tuple[int, int]]) -> list[tuple[int, int, int]]:
    chain = []
    while taker:
        moved, giver = arrived[taker]
        chain.append((moved, giver, taker))
        taker = giver
    return chain


def _place_cluster_group(
    ids: Sequence[int], order: Sequence[int], kept: Sequence[int], led: Sequence[Sequence[int]]
) -> tuple[int, ...]:
    """Group 0: who was in it stays, its leader first while it stays, else the member that leads the fewest shards."""
    count = min(len(ids), CLUSTER_REPLICAS_MAX)
    count -= count % 2 == 0
    chosen = list(dict.fromkeys([*kept, *order]))[:count]
    leading = dict.fromkeys(ids, 0)
    for replicas in led:
        leading[replicas[0]] += 1
    leader = chosen[0] if kept and kept[0] == chosen[0] else min(chosen, key=lambda node: leading[node])
    return (leader, *(node for node in chosen if node != leader))


def _plan(
    members: tuple[NodeAddress, ...],
    shards: int,
    table: tuple[tuple[int, ...], ...],
    old: tuple[tuple[int, ...], ...],
    previous: Placement | None,
) -> Plan:
    moves = tuple(
        Move(
            group,
            tuple(node for node in after if node not in before),
            tuple(node for node in before if node not in after),
            after[0],
        )
        for group, (before, after) in enumerate(zip(old, table, strict=True))
        if before != after
    )
    if previous and not moves and previous.nodes == members:
        return Plan(previous.version, previous, ())
    version = previous.version + 1 if previous else 1
    return Plan(version, Placement(version, shards, table, members), moves)
