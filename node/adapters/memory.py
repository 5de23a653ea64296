"""In-memory twins of the stores. They outlive the node object, so that a test can restart a node on the same disk.

A write takes effect at the end of its (virtual) latency, as a whole: like the SQLite files, it is there or it is not. What is promised
by the log is written behind it, and a crash in between leaves the log without its promise. `Disk.is_failing` makes every later
write raise, as a dying disk does; a crash before the latency is over loses the write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from node.adapters.promises import promise_after, reach_after
from node.adapters.starts import TAIL, Remaining
from node.core.machine import Change
from node.core.raft import LogCut, Promise, StoredGroup
from node.ports import LogWrite, Start, StorageFailed

Row = tuple[str, int, bytes]


class Slots(NamedTuple):
    """What a group has promised, and before that."""

    newest: Promise
    before: Promise


class Disk:
    """All that one node has stored."""

    def __init__(self, latency: Callable[[], float] = lambda: 0.0) -> None:
        self.has_log = self.has_promises = self.has_starts = False  # whether the files are there, whatever they hold
        self.has_tail = False  # of the log
        self.groups: dict[int, StoredGroup] = {}
        self.promises: dict[int, Slots] = {}
        self.shards: dict[int, dict[str, dict[int, bytes]]] = {}
        self.starts: list[int] = []
        self.files = 1  # identity of the files: a copy has another one
        self.recorded = 0  # the same, as it was at the last start
        self.reason, self.is_old = "", False  # to doubt the folder
        self.remembered: list[list[int]] = []  # of the peers
        self.is_failing = False
        self._latency = latency

    async def sync(self) -> None:
        """Takes as long as an fsync. Raises StorageFailed on a failing disk."""
        await asyncio.sleep(self._latency())
        if self.is_failing:
            raise StorageFailed("the disk fails")


class MemoryFolder:
    """Implements `NodeFolder`."""

    def __init__(self, data_id: int) -> None:
        self.data_id = data_id
        self.place = "memory"
        self.is_new = True
        self.identity = 0
        self.is_replacement = False
        self.table: list[Any] = []

    def admit(self, identity: int, is_replacement: bool) -> None:
        """Belongs to this cluster."""
        self.identity, self.is_replacement = identity, is_replacement

    def remember(self, table: list[Any]) -> None:
        """Keeps the table."""
        self.table = table


class MemoryStarts:
    """Implements `StartBook`. `number` is that of this start."""

    def __init__(self, disk: Disk, folder: MemoryFolder, number: int) -> None:
        self._disk = disk
        self._folder = folder
        self._number = number
        self._turn = asyncio.Lock()

    async def begin(self) -> Start:
        """Stores this start, and says whether the disk's files are those of the last one, and all of them."""
        disk, folder = self._disk, self._folder
        earlier = frozenset(disk.starts) if disk.has_starts or folder.is_new else None
        if not folder.is_new:
            disk.reason, disk.is_old = self._remaining().doubt()
        await disk.sync()
        folder.is_new, disk.has_starts = False, True
        disk.starts.append(self._number)
        return Start(self._number, earlier, disk.reason, disk.is_old)

    def _remaining(self) -> Remaining:
        disk = self._disk
        files = {"log.db": disk.has_log, "log.promises": disk.has_promises, TAIL: disk.has_tail}
        return Remaining(
            had_log=bool(self._folder.identity or disk.recorded or disk.shards or disk.remembered),
            files={**files, "starts.json": disk.has_starts},
            is_copied=disk.recorded not in (0, disk.files),
            is_damaged=False,
            noted=(disk.reason, disk.is_old),
        )

    async def record(self, reason: str, is_old: bool, forgotten: Sequence[int] = ()) -> None:
        """After one latency."""
        disk = self._disk
        async with self._turn:
            await disk.sync()
            disk.recorded, disk.reason, disk.is_old = disk.files, reason, is_old
            disk.starts += forgotten


class MemoryPeers:
    """Implements `PeerMemory`."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def load(self) -> list[list[int]]:
        """What was saved."""
        return self._disk.remembered

    async def save(self, rows: list[list[int]]) -> None:
        """After one latency."""
        await self._disk.sync()
        self._disk.remembered = rows


class MemoryLog:
    """Implements `LogStore`."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    async def open(self) -> dict[int, StoredGroup]:
        """What was durable."""
        disk = self._disk
        opened = {
            group: replace(stored, entries=list(stored.entries), promise=None) for group, stored in disk.groups.items()
        }
        for group, slots in disk.promises.items():
            opened.setdefault(group, StoredGroup()).promise = slots.newest
        disk.has_log = disk.has_promises = disk.has_tail = True
        return opened

    async def write(self, writes: Sequence[LogWrite]) -> None:
        """The log, and behind it the promises, each whole or not at all."""
        await self._disk.sync()
        self._write_log(writes)
        await self._disk.sync()
        self._write_promises(writes)

    def _write_promises(self, writes: Sequence[LogWrite]) -> None:
        before = {write.group: self._promised(write.group) for write in writes}
        after = dict(before)
        for write in writes:
            after[write.group] = promise_after(after[write.group], write)
        changed = {group: promise for group, promise in after.items() if promise != before[group]}
        self._disk.promises |= {group: Slots(promise, before[group]) for group, promise in changed.items()}

    def _promised(self, group: int) -> Promise:
        slots = self._disk.promises.get(group)
        return Promise() if slots is None else slots.newest

    def _write_log(self, writes: Sequence[LogWrite]) -> None:
        for write in writes:
            self._write_group(self._disk.groups.setdefault(write.group, StoredGroup()), write)

    def _write_group(self, stored: StoredGroup, write: LogWrite) -> None:
        if write.hard_state is not None:
            stored.hard_state = write.hard_state
        if write.entries or write.restart:
            reach = reach_after(write, stored.hard_state.term, stored.written, stored.reach)
            stored.written, stored.reach = stored.hard_state.term, reach
        if write.cut is not None:
            stored.cut = LogCut(write.cut.index, write.cut.term, write.cut.checksum)
            stored.entries = [] if write.restart else [e for e in stored.entries if e.index > write.cut.index]
        if write.entries:
            first = write.entries[0].index
            stored.entries = [entry for entry in stored.entries if entry.index < first] + list(write.entries)

    async def close(self) -> None:
        """Nothing to close."""


class MemoryShard:
    """Implements `ShardStore`."""

    def __init__(self, disk: Disk, group: int) -> None:
        self._disk = disk
        self._group = group
        self._tables: tuple[str, ...] = ()
        self._sequences: tuple[str, ...] = ()
        self._import: dict[str, dict[int, bytes]] = {}

    @property
    def _rows(self) -> dict[str, dict[int, bytes]]:
        return self._disk.shards.setdefault(self._group, {})

    async def open(self, tables: Sequence[str], sequences: Sequence[str] = ()) -> None:
        """Makes sure that the tables are there."""
        self._tables, self._sequences = tuple(tables), tuple(sequences)
        for table in tables:
            self._rows.setdefault(table, {})

    async def load(self, table: str) -> list[tuple[int, bytes]]:
        """All rows in key order."""
        return sorted(self._rows[table].items())

    async def read(self, keys: Sequence[tuple[str, int]]) -> dict[tuple[str, int], bytes | None]:
        """Single rows; None where there is none."""
        await asyncio.sleep(0)
        return {(table, key): self._rows[table].get(key) for table, key in keys}

    async def write(self, changes: Sequence[Change]) -> None:
        """All of it after one latency, or nothing."""
        await self._disk.sync()
        _write_changes(self._rows, changes)

    async def archived(self) -> int:
        """How many rows every sequence holds, from key 0 on."""
        return min((max(self._rows[table], default=-1) + 1 for table in self._sequences), default=0)

    async def export(self, after: tuple[str, int] | None, bytes_max: int, archived: int = 0) -> list[Row]:
        """The rows behind `after`, table by table; of a sequence only those from key `archived` on."""
        rows: list[Row] = []
        size = 0
        start = 0 if after is None else self._tables.index(after[0])
        for table in self._tables[start:]:
            for key, value in sorted(self._rows[table].items()):
                if after is not None and table == after[0] and key <= after[1]:
                    continue
                if table in self._sequences and key < archived:
                    continue
                rows.append((table, key, value))
                size += len(value)
                if size >= bytes_max:
                    return rows
        return rows

    async def begin_import(self) -> None:
        """Starts an empty copy."""
        self._import = {table: {} for table in self._tables}

    async def add_import(self, rows: Sequence[Row]) -> None:
        """Adds received rows to the copy."""
        _write_changes(self._import, [Change(*row) for row in rows])

    async def finish_import(self) -> None:
        """The received rows replace the live ones, and lengthen the sequences."""
        await self._disk.sync()
        kept = {table: rows for table, rows in self._rows.items() if table in self._sequences}
        merged = {table: {**kept.get(table, {}), **rows} for table, rows in self._import.items()}
        self._disk.shards[self._group] = merged

    async def close(self) -> None:
        """Nothing to close."""


def _write_changes(rows: dict[str, dict[int, bytes]], changes: Sequence[Change]) -> None:
    for change in changes:
        if change.value is None:
            rows[change.table].pop(change.key, None)
        else:
            rows[change.table][change.key] = change.value
