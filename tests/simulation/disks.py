"""Disks with seeded latency, and what can go wrong with them. What a disk holds outlives the process that wrote it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import TypeVar

from node.adapters.memory import Disk, MemoryFolder, MemoryLog, MemoryPeers, MemoryShard, Row, Slots
from node.core.machine import Change
from node.core.raft import Entry, HardState, LogEnd, Promise, StoredGroup
from node.ports import LogWrite

FAST_SECONDS = 0.001  # an fsync of a healthy disk
READ_SECONDS = 0.0002  # of a query to a healthy one
READ_SLOWNESS_MAX = 50.0  # reads come from memory more often than not, so a slow disk slows them less
MERGE_SHARE = 0.1  # of the log's writes, before which the write-ahead log is merged
LOSABLE = ("starts.json", "log.db", "log.db-wal", "log.promises", "shard-*.db", "remembered.json", "members.json")
"""Files of a data folder; without node.json it is refused, unless it is empty."""
HARD_STATE_SHARE = 0.25  # of the flipped bits: far more than its share of the bytes, or it would hardly come
LOST_TAIL_MAX = 4  # entries that a lying disk forgets at once


Saved = tuple[
    dict[int, StoredGroup], dict[int, Slots], dict[int, dict[str, dict[int, bytes]]], list[int], list[list[int]]
]


@dataclass(slots=True)
class Drive:
    """One node's disk, over all its lives."""

    random: Random
    slowness: float = 1.0
    late_seconds: float = 0.0  # mean, that the memory of peers takes besides
    disk: Disk = field(init=False)
    folder: MemoryFolder = field(init=False)
    damaged: dict[int, dict[int, Entry]] = field(default_factory=dict)  # group -> index -> what was durable and is gone
    untold: set[int] = field(
        default_factory=set
    )  # groups that ever lost what the log had, and the promises had not yet
    unpromised: set[int] = field(default_factory=set)  # groups whose promises were ever lost
    overdue: dict[int, Promise] = field(default_factory=dict)  # group -> what its damaged slot said
    is_put_back: bool = False  # whether it was ever replaced by an older one as a whole
    saved: Saved | None = None  # a copy that somebody made
    merged: dict[int, StoredGroup] = field(default_factory=dict)  # the log without its write-ahead log
    before: Drive | None = None  # a lost one: what it acknowledged may still be on its way, and counts

    def __post_init__(self) -> None:
        self.disk = Disk(self.latency)
        self.folder = MemoryFolder(self.random.getrandbits(62) + 1)

    @property
    def are_promises_bare(self) -> bool:
        """Whether some were damaged, and what a start has written since does not make up for it: another loss may go unnoticed."""
        return any(not self._makes_up(group, promise) for group, promise in self.overdue.items())

    def _makes_up(self, group: int, damaged: Promise) -> bool:
        slots = self.disk.promises.get(group)
        return slots is not None and slots.newest.term >= damaged.term and slots.newest.end >= damaged.end

    def latency(self) -> float:
        """Seconds of one write."""
        return FAST_SECONDS * self.slowness * (0.3 + self.random.expovariate(1.0))

    def read_latency(self) -> float:
        """Seconds of one query."""
        return READ_SECONDS * min(self.slowness, READ_SLOWNESS_MAX) * (0.3 + self.random.expovariate(1.0))

    def last_index(self, group: int) -> int:
        """Where a group's stored log ends."""
        stored = self.disk.groups[group]
        return stored.entries[-1].index if stored.entries else stored.cut.index

    def end(self, group: int) -> LogEnd:
        """The same with its term."""
        return self.disk.groups.get(group, StoredGroup()).end

    def promised_end(self, group: int) -> LogEnd:
        """Where it ended at most when that was told."""
        slots = self.disk.promises.get(group)
        return LogEnd() if slots is None else slots.newest.end

    def holds(self, group: int, entry: Entry) -> bool:
        """Whether the entry is durable here, or was until the disk lost it, or is covered by the log's cut."""
        if self.before is not None and self.before.holds(group, entry):
            return True
        stored = self.disk.groups.get(group, StoredGroup())
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
        """Drops the last entries although they were acknowledged; what was promised stays. False where there are none."""
        stored = self.disk.groups.get(group)
        if stored is None or not stored.entries:
            return False
        count = min(len(stored.entries), self.random.randint(1, LOST_TAIL_MAX))
        self._remember(group, stored.entries[-count:])
        stored.entries = stored.entries[:-count]
        return True

    def flip_bit(self, group: int) -> bool:
        """Flips one bit in a stored entry, so that the chain breaks there, or in the hard state, which then counts as none.

        False where there is nothing to flip.
        """
        stored = self.disk.groups.get(group)
        if stored is None or not stored.entries:
            return False
        if self.random.random() < HARD_STATE_SHARE:
            stored.hard_state, stored.written, stored.reach = HardState(), 0, 0
            return True
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

    def tear(self, group: int) -> bool:
        """Leaves half of the last entry. False where there is none."""
        stored = self.disk.groups.get(group)
        if stored is None or not stored.entries:
            return False
        last = stored.entries[-1]
        self._remember(group, [last])
        torn = replace(last, data=last.data[: len(last.data) // 2], checksum=last.checksum ^ (not last.data))
        stored.entries = [*stored.entries[:-1], torn]
        return True

    def lose_write_ahead_log(self) -> list[int]:
        """Drops what was written since the last merge, hard states too; the groups that lost something."""
        return self._fall_back(self.merged)

    def copy(self) -> None:
        """Somebody copies the folder as it is now."""
        disk = self.disk
        shards = {group: {table: dict(rows) for table, rows in tables.items()} for group, tables in disk.shards.items()}
        groups = {group: copy_of(stored) for group, stored in disk.groups.items()}
        self.saved = (groups, dict(disk.promises), shards, list(disk.starts), disk.remembered)

    def put_back(self, *, as_files: bool) -> None:
        """The copy takes the folder's place: file by file, or as a machine is put back, where every file stays itself."""
        assert self.saved is not None
        disk, (groups, promises, shards, starts, remembered) = self.disk, self.saved
        self._fall_back(groups)
        disk.promises = dict(promises)
        disk.shards = {group: {table: dict(rows) for table, rows in tables.items()} for group, tables in shards.items()}
        disk.starts, disk.remembered = list(starts), remembered
        disk.files += as_files
        disk.recorded = disk.files - as_files
        self.merged = {}
        self.is_put_back = True

    def lose_files(self, names: Collection[str]) -> None:
        """Some of LOSABLE."""
        disk = self.disk
        self.is_put_back = True
        if "starts.json" in names:
            disk.starts, disk.has_starts, disk.recorded, disk.reason, disk.is_old = [], False, 0, "", False
        if "log.db" in names:
            self.lose_log()
        elif "log.db-wal" in names and disk.has_tail:
            self.lose_write_ahead_log()
            disk.has_tail = False
        if "log.promises" in names:
            self.lose_promises()
        if "shard-*.db" in names:
            disk.shards.clear()
        if "remembered.json" in names:
            disk.remembered = []
        if "members.json" in names:
            self.folder.table = []

    def lose_everything(self) -> None:
        """The log and what was promised are gone; what the shards' checkpoints hold is still there."""
        self.lose_log()
        self.lose_promises()
        self.is_put_back = True

    def lose_log(self) -> list[int]:
        """Drops the log's file; the groups that lost something."""
        self.disk.has_log = self.disk.has_tail = False
        return self._fall_back({})

    def lose_promises(self) -> None:
        """Drops the file that holds what was promised; nothing is lost by that alone. Then nobody knows what was never told."""
        for group in self.disk.promises:
            self._damage_promise(group)
        self.unpromised |= set(self.disk.promises)
        for group in self.untold:
            self.damaged.setdefault(group, {})
        self.disk.promises.clear()
        self.disk.has_promises = False

    def tear_promise(self, group: int) -> None:
        """One bit of the newest slot has flipped: the older one counts, and may say that what is back now is still missing."""
        slots = self.disk.promises.get(group)
        if slots is not None and slots.before.lost == slots.newest.lost:
            self._damage_promise(group)
            self.disk.promises[group] = slots._replace(newest=slots.before)

    def _damage_promise(self, group: int) -> None:
        if group not in self.overdue or self._makes_up(group, self.overdue[group]):
            self.overdue[group] = self.disk.promises[group].newest

    def merge(self) -> None:
        """SQLite copies the write-ahead log into the file."""
        self.merged = {group: copy_of(stored) for group, stored in self.disk.groups.items()}

    def _fall_back(self, to: dict[int, StoredGroup]) -> list[int]:
        lost: list[int] = []
        for group, stored in self.disk.groups.items():
            kept = to.get(group, StoredGroup())
            if (kept.end, kept.cut, kept.hard_state) != (stored.end, stored.cut, stored.hard_state):
                lost.append(group)
                same = {(entry.index, entry.checksum) for entry in kept.entries}
                self._remember(group, [one for one in stored.entries if (one.index, one.checksum) not in same])
        self.disk.groups = {group: copy_of(stored) for group, stored in to.items()}
        return lost

    def _remember(self, group: int, entries: Sequence[Entry]) -> None:
        """Only what may have been told counts as lost: not what the log had and the promises had not yet.

        Where such a write replaced what was told, or no start has mended lost promises yet, it cannot be said what is owed: the replica
        may recover, and need not.
        """
        stored, slots = self.disk.groups[group], self.disk.promises.get(group)
        if slots is None:
            if group in self.unpromised:
                self.damaged.setdefault(group, {})
            return
        newest = slots.newest
        is_untold = stored.written > newest.written
        if is_untold and newest.index > stored.cut.index and not _has(stored, newest.index, newest.entry_term):
            self.damaged.setdefault(group, {})
            return
        told = {entry.index: entry for entry in entries if entry.index <= newest.index}
        if len(told) < len(entries):
            self.untold.add(group)
        if told:
            self.damaged.setdefault(group, {}).update(told)


def _has(stored: StoredGroup, index: int, term: int) -> bool:
    return any((entry.index, entry.term) == (index, term) for entry in stored.entries)


def copy_of(stored: StoredGroup) -> StoredGroup:
    """A copy that later writes leave alone."""
    return replace(stored, entries=list(stored.entries))


class SimLog(MemoryLog):
    """A log whose writer may die after the write and before it hears of it."""

    def __init__(self, drive: Drive) -> None:
        super().__init__(drive.disk)
        self._drive = drive

    async def write(self, writes: Sequence[LogWrite]) -> None:
        """Durable some time before the writer is told."""
        if self._drive.random.random() < MERGE_SHARE:
            self._drive.merge()
        await super().write(writes)
        await asyncio.sleep(self._drive.latency() / 2)


class SimPeers(MemoryPeers):
    """A memory of peers that may be late, so that they have heard more of this node on their other link by then."""

    def __init__(self, drive: Drive) -> None:
        super().__init__(drive.disk)
        self._drive = drive

    async def save(self, rows: list[list[int]]) -> None:
        """Durable after one latency, or after a while."""
        if self._drive.late_seconds:
            await asyncio.sleep(self._drive.random.expovariate(1 / self._drive.late_seconds))
        await super().save(rows)


Result = TypeVar("Result")


class SimShard(MemoryShard):
    """A shard's store that takes its time for everything, one thing after the other, as a file with one connection does."""

    def __init__(self, drive: Drive, group: int) -> None:
        super().__init__(drive.disk, group)
        self._drive = drive
        self._turn = asyncio.Lock()

    async def _query(self, work: Callable[[], Awaitable[Result]]) -> Result:
        """Waits for its turn, looks, and tells some time later: what was found may be old by then."""
        async with self._turn:
            await asyncio.sleep(self._drive.read_latency())
            found = await work()
            await asyncio.sleep(self._drive.read_latency())
            return found

    async def load(self, table: str) -> list[tuple[int, bytes]]:
        """All rows in key order."""
        return await self._query(lambda: MemoryShard.load(self, table))

    async def read(self, keys: Sequence[tuple[str, int]]) -> dict[tuple[str, int], bytes | None]:
        """Single rows."""
        return await self._query(lambda: MemoryShard.read(self, keys))

    async def write(self, changes: Sequence[Change]) -> None:
        """Durable some time before the writer is told."""
        async with self._turn:
            await super().write(changes)
            await asyncio.sleep(self._drive.latency() / 2)

    async def archived(self) -> int:
        """How many rows every sequence holds."""
        return await self._query(lambda: MemoryShard.archived(self))

    async def export(self, after: tuple[str, int] | None, bytes_max: int, archived: int = 0) -> list[Row]:
        """A piece of a checkpoint."""
        return await self._query(lambda: MemoryShard.export(self, after, bytes_max, archived))

    async def begin_import(self) -> None:
        """Starts an empty copy."""
        await self._query(lambda: MemoryShard.begin_import(self))

    async def add_import(self, rows: Sequence[Row]) -> None:
        """Adds to the copy."""
        await self._query(lambda: MemoryShard.add_import(self, rows))

    async def finish_import(self) -> None:
        """Replaces the live rows."""
        async with self._turn:
            await super().finish_import()
            await asyncio.sleep(self._drive.latency() / 2)
