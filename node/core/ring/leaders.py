"""Which replica of each shard is its preferred leader.

An assignment is as even as it can be when no path of hand-overs leads from a node to one that leads at least two fewer
(Harvey, Ladner, Lovasz and Tamir, "Semi-matchings for bipartite graphs and load balancing").
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence


def spread_leaders(
    ids: Sequence[int], replicas: Sequence[Sequence[int]], before: Sequence[int]
) -> list[tuple[int, ...]]:
    """The replicas of each shard with its leader first.

    A leader of `before` (0 for none) that is still a replica stays, unless evenness needs it to hand over.
    """
    leading = dict.fromkeys(ids, 0)
    leaders: list[int] = []
    for nodes, leader in zip(replicas, before, strict=True):
        leaders.append(leader if leader in nodes else 0)
        if leaders[-1]:
            leading[leader] += 1
    for shard, nodes in enumerate(replicas):
        if not leaders[shard]:
            leaders[shard] = min(nodes, key=lambda node: leading[node])
            leading[leaders[shard]] += 1
    while path := _improving_path(replicas, leaders, leading):
        for shard, node in path:
            leading[leaders[shard]] -= 1
            leading[node] += 1
            leaders[shard] = node
    return [
        (leader, *(node for node in nodes if node != leader)) for nodes, leader in zip(replicas, leaders, strict=True)
    ]


def _improving_path(
    replicas: Sequence[Sequence[int]], leaders: Sequence[int], leading: dict[int, int]
) -> list[tuple[int, int]]:
    """Hand-overs (shard, new leader) from a node that leads too many to one that leads too few; none if it is even."""
    led: dict[int, list[int]] = {node: [] for node in leading}
    for shard, leader in enumerate(leaders):
        led[leader].append(shard)
    for start in sorted(leading, key=lambda node: (-leading[node], node)):
        arrived: dict[int, tuple[int, int]] = {}  # node -> the shard it would take over, and from whom
        waiting = deque([start])
        while waiting:
            node = waiting.popleft()
            if leading[node] <= leading[start] - 2:
                return _path_to(node, start, arrived)
            for shard in led[node]:
                for other in replicas[shard]:
                    if other != start and other not in arrived:
                        arrived[other] = (shard, node)
                        waiting.append(other)
    return []


def _path_to(node: int, start: int, arrived: dict[int, tuple[int, int]]) -> list[tuple[int, int]]:
    path = []
    while node != start:
        shard, giver = arrived[node]
        path.append((shard, node))
        node = giver
    return path[::-1]
