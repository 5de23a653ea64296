"""The faults of `chaos`: chosen by a seed, never more nodes at a time than the shards can spare, and ended before the next."""

from __future__ import annotations

import asyncio
import math
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from _cluster import LocalCluster
from _faults import cut_link, heal, partition, slow_disk

RESTART_ALL = "restart all"  # at once: the one fault without a majority
ALONE = ("kill", "pause", "partition", "stop", "slow disk")  # may strike several nodes at a time, each its own
LINKS = ("cut link", "one-way link")  # connections stay open, and every node is reached by some other
WHOLE = (*LINKS, "restart one", RESTART_ALL)
KINDS = (*ALONE, *WHOLE)
WEIGHTS = (4, 4, 4, 2, 2, 3, 3, 2, 1)
LINK_SECONDS = 2.0, 8.0  # longer than any call waits, and than a client tries one node
LASTING_SECONDS = 0.3, 4.0  # a fault: less and more than an election takes
CALM_SECONDS = 0.2, 2.0  # between two: a node that was away is often not yet up to date when the next one falls
SLOW_DISK_MS = (20, 100, 400)
IMPORTANT_PERCENT = 60  # of the first victims: the coordinator or a shard's leader


@dataclass(slots=True)
class Episode:
    """Faults that fell together; times of this machine's monotonic clock."""

    kinds: tuple[str, ...]
    began: float
    ended: float  # all nodes serve again, and a moment later

    @property
    def name(self) -> str:
        """What to call it: most have one kind of fault."""
        return self.kinds[0] if len(dict.fromkeys(self.kinds)) == 1 else "several"


@dataclass(slots=True)
class Nemesis:
    """What was done to the cluster."""

    cluster: LocalCluster
    random: random.Random
    away_max: int  # nodes
    say: Callable[[str], None]
    counts: Counter[str] = field(default_factory=Counter)
    episodes: list[Episode] = field(default_factory=list)

    async def work(self, seconds: float) -> None:
        """Strikes until the time is over, and leaves all nodes up. Raises ClusterError where they do not come back."""
        end = time.monotonic() + seconds
        await asyncio.sleep(self.random.uniform(*CALM_SECONDS))
        while time.monotonic() < end:
            await self._strike()
            await self.cluster.wait_until_serving()
            await asyncio.sleep(self.random.uniform(*CALM_SECONDS))
            self.episodes[-1].ended = time.monotonic()

    async def _strike(self) -> None:
        (kind,) = self.random.choices(KINDS, WEIGHTS)
        if kind == RESTART_ALL:
            await self._restart_all()
            return
        victims = await self._victims()
        if kind in LINKS:
            await self._cut_link(kind, victims[0])
            return
        if kind == "restart one":
            self._tell([kind], victims[:1])
            await asyncio.to_thread(self.cluster.kill, victims[0])
            self.cluster.start(victims[0])
            return
        kinds = [kind, *(self.random.choice(ALONE) for _ in victims[1:])]
        lasting = self.random.uniform(*LASTING_SECONDS)
        self._tell(kinds, victims, f"for {lasting:.1f} s")
        parted = [node for kind, node in zip(kinds, victims, strict=True) if kind == "partition"]
        if parted:
            together = self.random.random() < 0.5
            await partition(self.cluster, [parted] if together else [[node] for node in parted])
        await asyncio.gather(
            *(self._begin(kind, node) for kind, node in zip(kinds, victims, strict=True) if kind != "partition")
        )
        await asyncio.sleep(lasting)
        for kind, node in zip(kinds, victims, strict=True):
            if kind == "pause":
                self.cluster.node(node).send(signal.SIGCONT)
        await heal(self.cluster)  # a frozen node would not hear of it
        for kind, node in zip(kinds, victims, strict=True):
            if kind in ("kill", "stop"):
                self.cluster.start(node)

    async def _begin(self, kind: str, node: int) -> None:
        match kind:
            case "kill":
                await asyncio.to_thread(self.cluster.kill, node)
            case "pause":
                self.cluster.node(node).send(signal.SIGSTOP)
            case "stop":
                await asyncio.to_thread(self.cluster.stop, node)
            case "slow disk":
                await slow_disk(self.cluster, node, self.random.choice(SLOW_DISK_MS))

    async def _cut_link(self, kind: str, node: int) -> None:
        """Between two nodes, often two that lead."""
        view = await self.cluster.view()
        others = [number for number in view.leaders if number not in (0, node)] or list(self.cluster.numbers)
        pair = [node, self.random.choice([number for number in others if number != node])]
        if self.random.random() < 0.5:
            pair.reverse()
        lasting = self.random.uniform(*LINK_SECONDS)
        self._tell([kind], [], f"{pair[0]} to {pair[1]} for {lasting:.1f} s")
        await cut_link(self.cluster, *pair, one_way=kind == LINKS[1])
        await asyncio.sleep(lasting)
        await heal(self.cluster)

    async def _restart_all(self) -> None:
        """All nodes lose their power at once and come back together."""
        self._tell([RESTART_ALL], [])
        for node in self.cluster.nodes():
            node.send(signal.SIGKILL)
        for number in self.cluster.numbers:
            node = self.cluster.node(number)
            await asyncio.to_thread(node.wait_until_gone, 5.0)
            self.cluster.start(number)

    async def _victims(self) -> list[int]:
        """One node or more; the first is often one on which much depends."""
        nodes = self.random.sample(list(self.cluster.numbers), self.random.randint(1, self.away_max))
        draw = self.random.randrange(100)
        place = 0 if draw < IMPORTANT_PERCENT / 2 else self.random.randint(1, self.cluster.config.cluster.shards)
        if draw < IMPORTANT_PERCENT:
            leader = (await self.cluster.view()).leaders[place] or nodes[0]  # it may be changing just now
            nodes = [leader, *(node for node in nodes if node != leader)][: len(nodes)]
        return nodes

    def _tell(self, kinds: Sequence[str], victims: Sequence[int], text: str = "") -> None:
        self.counts.update(kinds)
        self.episodes.append(Episode(tuple(kinds), time.monotonic(), math.inf))
        struck = ", ".join(f"{kind} {node}" for kind, node in zip(kinds, victims, strict=False))
        self.say(f"{struck or kinds[0]} {text}".rstrip())
