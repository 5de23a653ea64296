"""When faults fall in `chaos`, and on whom: chosen by a seed, never more nodes at a time than the shards can spare."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from scripts.local import LocalCluster
from tests.chaos.strikes import Fault, Stage

CALM_SECONDS = 0.2, 2.0  # between two: a node that was away is often not yet up to date when the next one falls
IMPORTANT_PERCENT = 60  # of the first victims: the coordinator or a shard's leader
SEVERAL = "several"  # what an episode of more than one kind is called


@dataclass(slots=True)
class Episode:
    """Faults that fell together; times of this machine's monotonic clock."""

    kinds: tuple[str, ...]
    began: float
    ended: float  # all nodes serve again, and a moment later

    @property
    def name(self) -> str:
        """What to call it: most have one kind of fault."""
        return self.kinds[0] if len(dict.fromkeys(self.kinds)) == 1 else SEVERAL


@dataclass(slots=True)
class Nemesis:
    """What was done to the cluster."""

    cluster: LocalCluster
    faults: Sequence[Fault]  # that may fall
    random: random.Random
    away_max: int  # nodes
    accounts: Sequence[str]  # that there are
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
        (first,) = self.random.choices(self.faults, [fault.weight for fault in self.faults])
        victims = await self._victims(1 if first.is_alone else self.away_max)
        others = [fault for fault in self.faults if not fault.is_alone]
        chosen = [first, *(self.random.choice(others) for _ in victims[1:])]
        lasting = self.random.uniform(*first.lasting_seconds)
        struck = {fault.name: (fault, [node for one, node in zip(chosen, victims, strict=True) if one is fault])
                  for fault in chosen}  # fmt: skip
        self.episodes.append(Episode(tuple(fault.name for fault in chosen), time.monotonic(), math.inf))
        self.counts.update(fault.name for fault in chosen)
        self.counts.update([SEVERAL] * (len(struck) > 1))
        stage = Stage(self.cluster, self.random, self.accounts)
        async with AsyncExitStack() as stack:
            for name, (fault, nodes) in struck.items():
                whom = await stack.enter_async_context(fault.strike(stage, nodes))
                self.say(f"{name} {whom}".rstrip() + f" for {lasting:.1f} s" * bool(lasting))
            await asyncio.sleep(lasting)

    async def _victims(self, most: int) -> list[int]:
        """One node or more; the first is often one on which much depends."""
        nodes = self.random.sample(list(self.cluster.numbers), self.random.randint(1, most))
        draw = self.random.randrange(100)
        place = 0 if draw < IMPORTANT_PERCENT / 2 else self.random.randint(1, self.cluster.config.cluster.shards)
        if draw < IMPORTANT_PERCENT:
            leader = (await self.cluster.view()).leaders[place] or nodes[0]  # it may be changing just now
            nodes = [leader, *(node for node in nodes if node != leader)][: len(nodes)]
        return nodes
