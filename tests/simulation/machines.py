"""Several machines are put back in place at once, perhaps so many that nobody can know what has been acknowledged since.

A spell of its own behind the other faults. Its one bound is that of any two nodes, at most one of them sound, either knows a start
that the other one has forgotten: what nobody knows nobody can find out. Then a group may refuse for ever; but what it serves, it
serves with everything, which the checkers of the logs look at. Where most replicas of every group are sound, all has to be served again.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection
from random import Random

from tests.simulation.cluster import Cluster, Host

LOOK_SECONDS = 0.05
WELL_SECONDS = 60.0  # after other faults, within which no node is in doubt any more
KNOWN_SECONDS = 5.0  # that is waited for others to hear of a start
FORGOTTEN_SECONDS = 0.2, 3.0  # of what is acknowledged and then forgotten
AWAY_SHARE = 0.7  # of the nodes that stay as they are, and that know nothing of it
FILES_SHARE = 0.2  # of the copies that take the place of the files instead of the machine
START_SECONDS = 1.0  # within which all are started
AFTER_SECONDS = 8.0  # that they have for doing wrong
CRASH_CHANCE = 0.02  # a look, that some node dies then, and is started at once


class Machines:
    """`fail` is told if the nodes are not well when it begins."""

    def __init__(self, cluster: Cluster, random: Random, counts: Counter[str], fail: Callable[[str], None]) -> None:
        self._cluster = cluster
        self._random = random
        self._counts = counts
        self._fail = fail

    async def run(self) -> None:
        """All of it; afterwards every node runs."""
        cluster, random = self._cluster, self._random
        hosts = list(cluster.hosts.values())
        if not await self._wait(self._are_clear, WELL_SECONDS):
            self._fail(f"a data folder is in doubt {WELL_SECONDS:.0f} s after the last fault")
            return
        cluster.is_replacing = True
        chosen = random.sample(hosts, random.randint(1, len(hosts)))
        for host in chosen:
            host.drive.copy()
            cluster.crash(host.number)
            cluster.start(host.number)
            await self._wait(self._are_clear, KNOWN_SECONDS)
        for host in hosts:
            if host not in chosen and random.random() < AWAY_SHARE:
                cluster.crash(host.number)
        await asyncio.sleep(random.uniform(*FORGOTTEN_SECONDS))
        self._put_back(chosen)
        for host in random.sample(hosts, len(hosts)):
            cluster.loop.call_later(random.uniform(0, START_SECONDS), cluster.start, host.number)
        await self._wait(self._crash, AFTER_SECONDS)
        for host in hosts:
            cluster.start(host.number)
        cluster.is_replacing = cluster.may_refuse

    def _put_back(self, chosen: Collection[Host]) -> None:
        """As many of them as the bound allows."""
        cluster = self._cluster
        for number in cluster.hosts:
            cluster.crash(number)
        old: list[Host] = []
        for host in chosen:
            others = [other for other in cluster.hosts.values() if other is not host]
            if all(
                _knows(other, host, other in old) or (other in old and _knows(host, other, True)) for other in others
            ):
                old.append(host)
        for host in old:
            host.drive.put_back(as_files=self._random.random() < FILES_SHARE)
        numbers = {host.number for host in old}
        cluster.may_refuse = any(2 * len(numbers & {*group}) >= len(group) for group in cluster.placement.replicas)
        self._counts["machines put back, " + ("most" if cluster.may_refuse else "few")] += len(old)

    def _are_clear(self) -> bool:
        nodes = self._cluster.nodes()
        is_all = len(nodes) == len(self._cluster.hosts)
        return is_all and all(node.doubts.is_clear or not node.replicas for node in nodes.values())

    def _crash(self) -> bool:
        if self._random.random() < CRASH_CHANCE:
            number = self._random.choice(list(self._cluster.hosts))
            self._cluster.crash(number)
            self._cluster.start(number)
        return False

    async def _wait(self, look: Callable[[], bool], seconds: float) -> bool:
        """Looks again and again for so long at the most; whether it came true."""
        loop = self._cluster.loop
        deadline = loop.time() + seconds
        while not look():
            if loop.time() > deadline:
                return False
            await asyncio.sleep(LOOK_SECONDS)
        return True


def _knows(one: Host, other: Host, is_put_back: bool) -> bool:
    """Whether a node remembers a start that the copy of another one's folder has forgotten; itself put back or not."""
    assert other.drive.saved is not None
    drive, starts = other.drive, other.drive.saved[3]
    remembered = one.drive.saved[4] if is_put_back and one.drive.saved is not None else one.drive.disk.remembered
    later = [start for start in drive.disk.starts if start not in starts]
    return any([0, other.number, drive.folder.data_id, start] in remembered for start in later)
