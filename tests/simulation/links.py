"""A spell in which nothing fails but the link between two nodes, while somebody pays and must not notice.

All nodes run and every group's majority stays connected, so a payment between shards and a cut through them are answered within a
bound, while a link is cut and after it. The link is mostly one that the coordinator needs. Or all nodes are far apart, and the link
breaks and must come up again, though an answer takes longer than a tick.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from random import Random

from protocol.client import Client
from protocol.errors import RingpayError
from protocol.placement import group_of
from tests.simulation.cluster import Cluster
from tests.simulation.network import Weather

ANSWER_SECONDS = 2.0  # the longest that a client may wait
TROUBLES = 1
FAR_SHARE = 0.3  # of the spells; in the others a link is cut
FAR_SECONDS = 0.03  # one way, so that an answer takes longer than a tick
TROUBLE_SECONDS = 1.5, 4.0  # longer than a link may be silent, and longer than a call waits
AFTER_SECONDS = 2.0  # a connection that TCP still holds back stays silent about as long as it was cut
LEVEL_SECONDS = 60.0  # after other faults, within which all replicas are up to date
LAG_ENTRIES = 3  # of a replica that is up to date while others work
PACE_SECONDS = 0.1


class Links:
    """Cuts or breaks links and pays; `fail` is told of an answer that took too long."""

    def __init__(self, cluster: Cluster, random: Random, counts: Counter[str], fail: Callable[[str], None]) -> None:
        self._cluster = cluster
        self._random = random
        self._counts = counts
        self._fail = fail
        self._is_over = False
        self._names: list[str] = []

    async def run(self) -> None:
        """Begins once all is well, and leaves it so."""
        cluster, loop = self._cluster, self._cluster.loop
        deadline = loop.time() + LEVEL_SECONDS
        while not self._is_level():
            if loop.time() > deadline:
                self._fail(f"replicas are not up to date {LEVEL_SECONDS:.0f} s after the last fault")
                return
            await asyncio.sleep(PACE_SECONDS)
        owner, client = cluster.client(timeout=LEVEL_SECONDS)
        await loop.spawn(owner, self._open(client))
        paying = loop.spawn(owner, self._pay(client))
        try:
            for _ in range(TROUBLES):
                await self._trouble()
                await asyncio.sleep(AFTER_SECONDS)
            self._is_over = True
            await paying
        finally:
            loop.kill(owner)

    async def _trouble(self) -> None:
        if self._random.random() < FAR_SHARE:
            await self._break_far_apart()
        else:
            self._cut()
            await asyncio.sleep(self._random.uniform(*TROUBLE_SECONDS))
            self._cluster.network.heal()

    def _is_level(self) -> bool:
        nodes = self._cluster.nodes()
        if len(nodes) < len(self._cluster.hosts) or not all(node.is_serving.is_set() for node in nodes.values()):
            return False
        for group in range(self._cluster.shape.shards + 1):
            replicas = [node.replicas[group] for node in nodes.values() if group in node.replicas]
            ends = [replica.machine.applied for replica in replicas]
            is_lost = any(replica.raft.state.recovering for replica in replicas)
            if is_lost or max(ends) - min(ends) > LAG_ENTRIES or not any(replica.is_serving for replica in replicas):
                return False
        return True

    async def _break_far_apart(self) -> None:
        network = self._cluster.network
        network.weather = Weather(latency_seconds=FAR_SECONDS)
        one, other = self._pair()
        for wire in [wire for wire in network.wires if (wire.owner.host, wire.other.owner.host) == (one, other)]:
            network.reset(wire)
        self._counts["link broken far apart"] += 1
        await asyncio.sleep(self._random.uniform(*TROUBLE_SECONDS))
        nodes = self._cluster.nodes()
        if not (nodes[one]._links[other].is_up and nodes[other]._links[one].is_up):
            self._fail(f"the link between nodes {one} and {other}, which are far apart, does not come up")
        network.weather = Weather()

    def _cut(self) -> None:
        one, other = self._pair()
        way = self._random.choice(("both ways", "there", "back"))
        if way != "back":
            self._cluster.network.block(one, other)
        if way != "there":
            self._cluster.network.block(other, one)
        self._counts["link cut both ways" if way == "both ways" else "link cut one way"] += 1

    def _pair(self) -> tuple[int, int]:
        cluster, random = self._cluster, self._random
        shards = range(1, cluster.shape.shards + 1)
        wanted = [cluster.leader_of(0), cluster.leader_of(random.choice(shards))]
        pair = list(dict.fromkeys(number for number in wanted if number is not None))
        others = [number for number in cluster.hosts if number not in pair]
        one, other = [*pair, *random.sample(others, 2 - len(pair))]
        return one, other

    # -- paying ---------------------------------------------------------------------------------------------------

    async def _open(self, client: Client) -> None:
        shards = self._cluster.shape.shards
        for group in (1, min(2, shards)):
            names = (f"steady:{group}:{number}:{len(self._names)}" for number in range(1_000))
            self._names.append(next(name for name in names if group_of(name, shards) == group))
        for name in self._names:
            await client.create_account(name, "EUR", minimum_balance=None)

    async def _pay(self, client: Client) -> None:
        loop = self._cluster.loop
        while not self._is_over:
            began = loop.time()
            await self._ask(client, began)
            if (seconds := loop.time() - began) > ANSWER_SECONDS:
                self._fail(f"an answer took {seconds:.1f} s while nothing but single links failed")
            await asyncio.sleep(PACE_SECONDS)

    async def _ask(self, client: Client, began: float) -> None:
        """A payment or a cut, again until it is answered."""
        payer, payee = self._random.sample(self._names, 2)
        is_payment, id = self._random.random() < 0.8, client.new_id()
        while self._cluster.loop.time() - began < LEVEL_SECONDS:
            try:
                if is_payment:
                    await client.transfer(payer, payee, 1, id=id)
                else:
                    await client.snapshot(self._names)
                return
            except RingpayError:
                await asyncio.sleep(PACE_SECONDS)
