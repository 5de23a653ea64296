"""What the nodes say of the cluster, all asked at once: a node counts as up because it answers now, not because a connection is open."""

from __future__ import annotations

import asyncio
from typing import Any

from protocol.client.calls import Calls
from protocol.errors import ProtocolError, Unreachable
from protocol.operations import Operation
from protocol.placement import NodeAddress, Placement
from protocol.views import ClusterStatus, NodeClock

ASK_SECONDS = 1.0  # a node that works answers in milliseconds


async def survey(calls: Calls, timeout: float | None) -> ClusterStatus:
    """Asks one node, and then all others that it knows. Raises Unreachable where none answers."""
    deadline = calls.deadline(timeout)
    first = await calls.call(Operation.cluster, -1, [], timeout)
    placement, number = Placement.unpack(first[0]), first[2]
    others = [node for node in placement.nodes if node.id != number]
    seconds = min(ASK_SECONDS, calls.left(deadline))
    answers = await asyncio.gather(*(_ask(calls, node, seconds) for node in others))
    found = {number: first} | {node.id: answer for node, answer in zip(others, answers, strict=True) if answer}
    return combine(placement, found, number)


async def _ask(calls: Calls, node: NodeAddress, seconds: float) -> list[Any] | None:
    try:
        return await calls.ask_node((node.host, node.port), Operation.cluster, [], seconds)
    except (OSError, ProtocolError, Unreachable):
        return None


def combine(placement: Placement, found: dict[int, list[Any]], number: int) -> ClusterStatus:
    """One status of several nodes' answers; of a group's leader the highest term tells."""
    leaders = [(0, 0)] * (placement.shards + 1)
    recovering: dict[int, tuple[int, ...]] = {}
    for node, answer in found.items():
        for row in answer[4]:
            leaders[row[0]] = max(leaders[row[0]], (row[2], row[3]))
        if groups := tuple(row[0] for row in answer[4] if row[8]):
            recovering[node] = groups
    _, _, _, _, groups, coordinator, admission, clocks, *_ = found[number]
    rows = tuple(tuple(row) for row in groups)
    return ClusterStatus(
        placement, tuple(leader for _, leader in leaders), number, tuple(sorted(found)), recovering, rows,
        coordinator[3], admission[2], NodeClock.unpack(clocks),
    )  # fmt: skip
