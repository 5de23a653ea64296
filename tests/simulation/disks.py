"""Disks with seeded latency, and what can go wrong with them. What a disk holds outlives the process that wrote it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random

from node.adapters.memory import Disk, MemoryLog, MemoryShard
from node.core.raft import Entry
from node.ports import LogWrite

FAST_SECONDS = 0.001  # an fsync of a healthy disk
LOST_TAIL_MAX = 4  # entries that a lying disk forgets at once


@dataclass(slots=True)
class Drive:
    """One node's disk, over all its lives."""

    random: Random
    slowness: float = 1.0
    disk: Disk = field(init=False)
    damaged: dict[int, dict[int, Entry]] = field(default_factory=dict)  # group -> index -> what was durable and is gone

    def __post_init__(self) -> None:
        self.disk = Disk(self.latency)

    def latency(self) -> float:
        """Seconds of one write."""
        return FAST_SECONDS * self.slowness * (0.3 + self.random.expovariate(1.0))

    def last_index(self, group: int) -> int:
        """Where a group's stored log ends."""
        stored = self.disk.groups[group]
        return stored.entries[-1].index if stored.entries else stored.cut.index

    def holds(self, group: int, entry: Entry) -> bool:
        """Whether the entry is durable here, or was until the disk lost it, or is covered by the log's cut."""
        stored = self.disk.groups.get(group)
        if stored is None:
            return False
        if stored.cut.index >= entry.index:
            return True
        position = entry.index - stored.cut.index - 1
        if position < len(stored.entries):
            found = stored.entries[position]
            if (found.term, found.checksum) == (entry.term, entry.checksum):
                return True
        lost = self.damaged.get(group, {}).get(entry.index)
        return lost is not None and lost.checksum == entry.checksum

    def lose_tail(self, group: int) -> bool:
        """Drops the last entries although they were acknowledged; the watermark stays. False where there are none."""
        stored = self.disk.groups.get(group)
        if stored is None or not stored.entries:
            return False
        count = min(len(stored.entries), self.random.randint(1, LOST_TAIL_MAX))
        self._remember(group, stored.entries[-count:])
        stored.entries = stored.entries[:-count]
        return True

    def flip_bit(self, group: int) -> bool:
        """Flips one bit in one stored entry, so that the chain breaks there. False where there is nothing to flip."""
        stored = self.disk.groups.get(group)
        if stored is None or not stored.entries:
            return False
        position = self.random.randrange(len(stored.entries))
        entry = stored.entries[position]
        self._remember(group, stored.entries[position:])
        if entry.data:
            data = bytearray(entry.data)
            data[self.random.randrange(len(data))] ^= 1 << self.random.randrange(8)
            damaged = replace(entry, data=bytes(data))
        else:
            damaged = replace(entry, checksum=entry.checksum ^ 1)
        stored.entries = [*stored.entries[:position], damaged, *stored.entries[position + 1 :]]
        return True

    def _remember(self, group: int, entries: Sequence[Entry]) -> None:
        self.damaged.setdefault(group, {}).update({entry.index: entry for entry in entries})


class SimLog(MemoryLog):
    """A log whose writer may die after the write and before it hears of it."""

    def __init__(self, drive: Drive) -> None:
        super().__init__(drive.disk)
        self._drive = drive

    async def write(self, writes: Sequence[LogWrite]) -> None:
        """Durable some time before the writer is told."""
        await super().write(writes)
        await asyncio.sleep(self._drive.latency() / 2)


SimShard = MemoryShard
