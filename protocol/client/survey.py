"""What the nodes say of the cluster, all asked at once: a node counts as up because it answers now, not because a connection is open."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from protocol.client.calls import Calls
from protocol.errors import ProtocolError, Unreachable
from protocol.operations import Operation
from protocol.placement import NodeAddress
from protocol.requests import EmptyRequest
from protocol.views import ClusterStatus, NodeClock, NodeState

ASK_SECONDS = 1.0  # a node that works answers in milliseconds


async def survey(calls: Calls, timeout: float | None) -> ClusterStatus:
    """Asks one node, and then all others that it knows. Raises Unreachable where none answers."""
    deadline = calls.deadline(timeout)
    first = NodeState.unpack(await calls.call(Operation.cluster, -1, EmptyRequest().pack(), timeout))
    others = [node for node in first.placement.nodes if node.id != first.node]
    seconds = min(ASK_SECONDS, calls.left(deadline))
    answers = await asyncio.gather(*(_ask(calls, node, seconds) for node in others))
    return combine([first, *(answer for answer in answers if answer is not None)])


async def _ask(calls: Calls, node: NodeAddress, seconds: float) -> NodeState | None:
    try:
        answer = await calls.ask_node((node.host, node.port), Operation.cluster, EmptyRequest().pack(), seconds)
    except (OSError, ProtocolError, Unreachable):
        return None
    return NodeState.unpack(answer)


def combine(seen: Sequence[NodeState]) -> ClusterStatus:
    """One status of several nodes' answers; the first is who is told of by itself."""
    first, up = seen[0], tuple(sorted(state.node for state in seen))
    return ClusterStatus(
        first.placement, leaders_of(seen, first.placement.shards + 1), first.node, up, recovering_of(seen),
        clocks_of(seen), first.groups, first.rounds, first.shed,
    )  # fmt: skip


def leaders_of(seen: Iterable[NodeState], groups: int) -> tuple[int, ...]:
    """Of each of so many groups the leader, 0 for none that is known; where nodes differ, the highest term tells."""
    leaders = [(0, 0)] * groups
    for replica in (replica for state in seen for replica in state.groups):
        leaders[replica.group] = max(leaders[replica.group], (replica.term, replica.leader))
    return tuple(leader for _, leader in leaders)


def recovering_of(seen: Iterable[NodeState]) -> dict[int, tuple[int, ...]]:
    """By node the groups whose replica there gets back what its disk lost."""
    recovering = {
        state.node: tuple(replica.group for replica in state.groups if replica.is_recovering) for state in seen
    }
    return {node: groups for node, groups in recovering.items() if groups}


def clocks_of(seen: Sequence[NodeState]) -> tuple[NodeClock, ...]:
    """As one node sees them: the first that knows one to be far off, or the first of all. Others may not have compared yet."""
    told = (state.clocks for state in seen if any(clock.is_far_off for clock in state.clocks))
    return next(told, seen[0].clocks)
