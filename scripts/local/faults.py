"""Breaks the nodes of a local cluster by their own fault switch: partitions, slow disks, and all well again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from protocol.errors import ProtocolError
from protocol.operations import Operation
from protocol.requests import FaultKind, FaultRequest
from scripts.local.cluster import LocalCluster
from scripts.local.folder import ClusterError

TELL_SECONDS = 5.0  # one node, its handshake included; a slow one takes its time


async def partition(cluster: LocalCluster, groups: Sequence[Sequence[int]]) -> None:
    """Only nodes of the same group hear each other; those that are not named form a group. Earlier cuts stay."""
    cluster.check_fault_switch()
    named = [cluster.node(number).number for group in groups for number in group]
    for number in named:
        if named.count(number) > 1:
            raise ClusterError(f"node {number}: expected in one group only")
    rest = [number for number in cluster.numbers if number not in named]
    for group in [*groups, rest]:
        others = [number for number in cluster.numbers if number not in group]
        await _tell_all(cluster, group, FaultRequest(FaultKind.cut, tuple(others)))


async def cut_link(cluster: LocalCluster, first: int, second: int, *, one_way: bool) -> None:
    """The first node and the second hear nothing of each other, or only the second nothing of the first. Earlier cuts stay."""
    cluster.check_fault_switch()
    if cluster.node(first).number == cluster.node(second).number:
        raise ClusterError(f"node {first}: expected two nodes")
    await _tell_all(cluster, [first], FaultRequest(FaultKind.mute if one_way else FaultKind.cut, (second,)))


async def slow_disk(cluster: LocalCluster, number: int, ms: int) -> None:
    """Every write of this node's log takes so much longer."""
    cluster.check_fault_switch()
    await _tell_all(cluster, [number], FaultRequest(FaultKind.slow_disk, ms=ms))


async def heal(cluster: LocalCluster) -> None:
    """Ends every partition and makes all disks fast again."""
    cluster.check_fault_switch()
    await _tell_all(cluster, cluster.numbers, FaultRequest(FaultKind.heal))


async def _tell_all(cluster: LocalCluster, numbers: Sequence[int], fault: FaultRequest) -> None:
    """Tells all of these nodes that run; one that does not has forgotten its cuts, and the others' still part it."""
    running = [number for number in numbers if cluster.node(number).state() == "running"]
    await asyncio.gather(*(_tell(cluster, number, fault) for number in running))


async def _tell(cluster: LocalCluster, number: int, fault: FaultRequest) -> None:
    try:
        await cluster.ask(number, Operation.fault, fault.pack(), TELL_SECONDS)
    except ConnectionRefusedError:
        pass  # it is starting or stopping
    except (OSError, TimeoutError, ProtocolError) as error:
        raise ClusterError(f"node {number} does not take the fault: {str(error) or 'no answer'}") from error
