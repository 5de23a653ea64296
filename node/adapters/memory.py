"""In-memory twins of the stores. They outlive the node object, so that a test can restart a node on the same disk.

A write takes effect at the end of its (virtual) latency, as a whole: like the SQLite files, it is there or it is not. `Disk.is_failing`
makes every later write raise, as a dying disk does; a crash before the latency is over loses the write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from node.core.machine import Change
from node.core.raft import chain_checksum
from node.ports import LogCut, LogWrite, StorageFailed, StoredGroup, watermark_after

Row = tuple[str, int, bytes]


class Disk:
    """All that one node has stored."""

    def __init__(self, latency: Callable[[], float] = lambda: 0.0) -> None:
        self.groups: dict[int, StoredGroup] = {}
        self.shards: dict[int, dict[str, dict[int, bytes]]] = {}
        self.is_failing = False
        self._latency = latency

    async def sync(self) -> None:
        """Takes as long as an fsync. Raises StorageFailed on a failing disk."""
        await asyncio.sleep(self._latency())
        if self.is_failing:
            raise StorageFailed("the disk fails")


class MemoryLog:
    """Implements `LogStore`."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._last: dict[int, int] = {}  # where each group's intact log ends

    async def open(self) -> dict[int, StoredGroup]:
        """What was durable, cut where the checksum chain breaks."""
        opened: dict[int, StoredGroup] = {}
        for group, stored in self._disk.groups.items():
            cut, entries = stored.cut, []
            checksum = cut.checksum
            for entry in stored.entries:
                checksum = chain_checksum(checksum, entry.term, entry.index, entry.kind, entry.data)
                if checksum != entry.checksum:
                    break
                entries.append(entry)
            opened[group] = StoredGroup(stored.hard_state, cut, entries, stored.acknowledged)
            self._last[group] = opened[group].last_index
        return opened

    async def write(self, writes: Sequence[LogWrite]) -> None:
        """All of it after one latency, or nothing."""
        await self._disk.sync()
        for write in writes:
            self._write_group(self._disk.groups.setdefault(write.group, StoredGroup()), write)

    def _write_group(self, stored: StoredGroup, write: LogWrite) -> None:
        if write.hard_state is not None:
            stored.hard_state = write.hard_state
        if write.cut is not None:
            stored.cut = LogCut(write.cut.index, write.cut.term, write.cut.checksum)
            stored.entries = [] if write.restart else [e for e in stored.entries if e.index > write.cut.index]
            if write.restart:
                stored.acknowledged = max(stored.acknowledged, write.cut.index)
                self._last[write.group] = write.cut.index
        if write.entries:
            first = write.entries[0].index
            stored.entries = [entry for entry in stored.entries if entry.index < first] + list(write.entries)
            last, written = self._last.get(write.group, 0), write.entries[-1].index
            stored.acknowledged = watermark_after(stored.acknowledged, last, written)
            self._last[write.group] = written

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
