"""A data folder, or any files of one, is lost under load, and its node comes back while others die and come back.

A spell of its own, begun when the other faults are over and all that they took is back: a lost folder is all the loss that a group of
three survives, so no disk is damaged besides.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from random import Random

from node.actors.router import Call
from node.core.members import MemberState
from protocol.operations import Operation
from protocol.placement import COORDINATOR
from protocol.requests import ReplaceRequest
from tests.simulation.cluster import Cluster, Host
from tests.simulation.disks import LOSABLE, Drive

LOOK_SECONDS = 0.1  # between two looks of the operator
CRASH_CHANCE = 0.15  # a look, that some node dies
DOWN_SECONDS = 0.4  # mean, until it is started again
CRASHES_SECONDS = 6.0  # after which nobody dies any more
REPLACED_SECONDS = 60.0  # within which the node has its place again, or all that it or the faults before lost
WHOLE_SHARE = 0.5  # of the losses that leave nothing; of the others node.json stays
FILE_SHARE = 0.6  # of the other files, that are lost


class Folders:
    """`fail` is told if the node does not get its place back in time."""

    def __init__(self, cluster: Cluster, random: Random, counts: Counter[str], fail: Callable[[str], None]) -> None:
        self._cluster = cluster
        self._random = random
        self._counts = counts
        self._fail = fail

    async def run(self) -> None:
        """All of it; afterwards every node runs."""
        cluster = self._cluster
        hosts = list(cluster.hosts.values())
        await self._wait(lambda: all(map(self._is_whole, hosts)), "a node has not got back what the faults took")
        host = self._random.choice(hosts)
        cluster.is_replacing = True
        cluster.absent[host.number] = None
        cluster.crash(host.number)
        if self._random.random() < WHOLE_SHARE:
            self._counts["lost folder"] += 1
            lost = host.drive.folder.data_id
            host.drive = Drive(Random(self._random.getrandbits(64)), before=host.drive)
            await self._wait(lambda: self._look(host, lost), f"node {host.number} has not got its place back")
        else:
            self._counts["lost files"] += 1
            names = [name for name in LOSABLE if self._random.random() < FILE_SHARE]
            host.drive.lose_files(names)
            del cluster.absent[host.number]
            await self._wait(
                lambda: self._is_whole(host), f"node {host.number} is not sound, though it lost but {names},"
            )
        cluster.absent.clear()
        for number in cluster.hosts:
            cluster.start(number)
        cluster.is_replacing = False

    async def _wait(self, look: Callable[[], bool], what: str) -> None:
        """Looks again and again, while others die."""
        loop = self._cluster.loop
        began = loop.time()
        while not look():
            if loop.time() - began > REPLACED_SECONDS:
                self._fail(f"{what} in {REPLACED_SECONDS:.0f} s")
                break
            if loop.time() - began < CRASHES_SECONDS and self._random.random() < CRASH_CHANCE:
                self._crash()
            await asyncio.sleep(LOOK_SECONDS)

    def _is_whole(self, host: Host) -> bool:
        """Whether the node runs and has back what it lost; it is started, and refused for no such loss."""
        self._cluster.start(host.number)
        if host.node is None or not any(host.number in nodes for nodes in self._cluster.placement.replicas):
            return host.node is not None
        replicas = host.node.replicas.values()
        return bool(replicas) and host.node.doubts.is_clear and all(replica.raft.is_restored for replica in replicas)

    def _crash(self) -> None:
        leader = self._cluster.leader_of(self._random.randint(0, self._cluster.shape.shards))
        number = (
            leader
            if leader is not None and self._random.random() < 0.6
            else self._random.choice(list(self._cluster.hosts))
        )
        if number in self._cluster.absent or not self._cluster.hosts[number].is_up:
            return
        self._counts["crash beside a lost folder"] += 1
        self._cluster.crash(number, silently=self._random.random() < 0.25)
        self._cluster.loop.call_later(self._random.expovariate(1 / DOWN_SECONDS), self._cluster.start, number)

    def _look(self, host: Host, lost: int) -> bool:
        """What `scripts/cluster replace` does next; whether it is done."""
        leader = self._cluster.leader_of(COORDINATOR)
        node, owner = (
            (None, None) if leader is None else (self._cluster.hosts[leader].node, self._cluster.hosts[leader].owner)
        )
        row = node.members.table.rows.get(host.number) if node is not None else None
        if node is None or owner is None or row is None:
            return False
        if row.data_id != lost and row.state is MemberState.member:
            return True
        if row.data_id == lost and row.state is MemberState.member:
            call = Call(
                COORDINATOR,
                Operation.replace_node,
                [host.number, lost],
                self._cluster.loop.time() + 1.0,
                lambda _: None,
                request=ReplaceRequest(host.number, lost),
            )

            async def ask() -> None:
                node._replacing.replace(call)

            self._cluster.loop.spawn(owner, ask())
        elif row.state in (MemberState.vacant, MemberState.joining):
            self._cluster.absent.pop(host.number, None)
            self._cluster.start(host.number)
        return False
