"""The node's log in one SQLite file: one transaction a drain of the log writer, for all groups together."""

from __future__ import annotations

import mmap
import os
import sqlite3
import struct
from collections.abc import Sequence
from pathlib import Path

from node.adapters.sqlite import SqliteFile
from node.core.raft import Entry, EntryKind, HardState, chain_checksum
from node.ports import LogCut, LogWrite, StoredGroup, watermark_after

SCHEMA = """
CREATE TABLE IF NOT EXISTS entry(key INTEGER PRIMARY KEY, term INTEGER, kind INTEGER, checksum INTEGER, data BLOB);
CREATE TABLE IF NOT EXISTS hard_state(number INTEGER PRIMARY KEY, term INTEGER, vote INTEGER, commit_index INTEGER);
CREATE TABLE IF NOT EXISTS cut(number INTEGER PRIMARY KEY, position INTEGER, term INTEGER, checksum INTEGER);
"""
INDEX_BITS = 48  # key = group << 48 | index: the entries of a group lie together
GROUPS_MAX = 4_096  # slots in the watermark file, 32 KiB; a key must also fit 63 bits
SLOT = struct.Struct("<q")


class SqliteLog:
    """Implements `LogStore`. Beside the database lies a watermark file: the last index of each group that was made durable.

    The watermark is a memory map: it survives any death of the process, and notices a log that lost its end (a file put back
    from a copy, a write-ahead log deleted), which the database alone could not.
    """

    def __init__(self, folder: Path, stamp: str) -> None:
        self._file = SqliteFile(folder / "log.db", stamp)
        self._watermark_path = folder / "log.watermark"
        self._watermark: mmap.mmap | None = None
        self._ends: dict[int, int] = {}  # last entry on disk of each group that has been written since the start
        self._last: dict[int, int] = {}  # where each group's intact log ends

    async def open(self) -> dict[int, StoredGroup]:
        """Reads everything back; entries behind a broken chain are left out, and the watermark tells."""
        await self._file.open(SCHEMA, preallocate=True)
        descriptor = os.open(self._watermark_path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            os.ftruncate(descriptor, GROUPS_MAX * SLOT.size)
            self._watermark = mmap.mmap(descriptor, GROUPS_MAX * SLOT.size)
        finally:
            os.close(descriptor)
        return await self._file.run(self._read)

    def _read(self, connection: sqlite3.Connection) -> dict[int, StoredGroup]:
        assert self._watermark is not None
        groups: dict[int, StoredGroup] = {}
        for group, term, vote, commit in connection.execute("SELECT * FROM hard_state"):
            groups.setdefault(group, StoredGroup()).hard_state = HardState(term, vote, commit)
        for group, index, term, checksum in connection.execute("SELECT * FROM cut"):
            groups.setdefault(group, StoredGroup()).cut = LogCut(index, term, checksum)
        for key, term, kind, checksum, data in connection.execute("SELECT * FROM entry ORDER BY key"):
            group, index = key >> INDEX_BITS, key & ((1 << INDEX_BITS) - 1)
            entry = Entry(term, index, EntryKind(kind), data, checksum)
            _append_if_chained(groups.setdefault(group, StoredGroup()), entry)
        for group in range(GROUPS_MAX):
            (acknowledged,) = SLOT.unpack_from(self._watermark, group * SLOT.size)
            if acknowledged:
                groups.setdefault(group, StoredGroup()).acknowledged = acknowledged
        self._last = {group: stored.last_index for group, stored in groups.items()}
        return groups

    async def write(self, writes: Sequence[LogWrite]) -> None:
        """One transaction with one fsync, then the watermark."""
        await self._file.run(self._write, writes)

    def _write(self, connection: sqlite3.Connection, writes: Sequence[LogWrite]) -> None:
        if len(writes) == 1 and self._is_lone_entry(writes[0]):
            self._write_group(connection, writes[0])  # a statement alone is a transaction
        else:
            self._write_together(connection, writes)
        assert self._watermark is not None
        for write in writes:
            self._mark(self._watermark, write)

    def _is_lone_entry(self, write: LogWrite) -> bool:
        is_plain = write.hard_state is None and write.cut is None and len(write.entries) == 1
        return is_plain and self._ends.get(write.group) == write.entries[0].index - 1

    def _write_together(self, connection: sqlite3.Connection, writes: Sequence[LogWrite]) -> None:
        connection.execute("BEGIN IMMEDIATE")
        try:
            for write in writes:
                self._write_group(connection, write)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _write_group(self, connection: sqlite3.Connection, write: LogWrite) -> None:
        base = write.group << INDEX_BITS
        if write.hard_state is not None:
            state = write.hard_state
            row = (write.group, state.term, state.vote, state.commit)
            connection.execute("INSERT OR REPLACE INTO hard_state VALUES(?, ?, ?, ?)", row)
        if write.cut is not None:
            cut = write.cut
            end = base + (1 << INDEX_BITS) - 1 if write.restart else base + cut.index
            connection.execute("DELETE FROM entry WHERE key BETWEEN ? AND ?", (base, end))
            cut_row = (write.group, cut.index, cut.term, cut.checksum)
            connection.execute("INSERT OR REPLACE INTO cut VALUES(?, ?, ?, ?)", cut_row)
        if write.entries:
            self._write_entries(connection, base, write)

    def _write_entries(self, connection: sqlite3.Connection, base: int, write: LogWrite) -> None:
        first = write.entries[0].index
        if self._ends.get(write.group) != first - 1:
            keys = (base + first, base + (1 << INDEX_BITS) - 1)
            connection.execute("DELETE FROM entry WHERE key BETWEEN ? AND ?", keys)
        rows = [
            (base + entry.index, entry.term, int(entry.kind), entry.checksum, entry.data) for entry in write.entries
        ]
        connection.executemany("INSERT INTO entry VALUES(?, ?, ?, ?, ?)", rows)
        self._ends[write.group] = write.entries[-1].index

    def _mark(self, watermark: mmap.mmap, write: LogWrite) -> None:
        written = write.entries[-1].index if write.entries else 0
        if write.restart and write.cut is not None:
            written = max(written, write.cut.index)
        if not written:
            return
        (before,) = SLOT.unpack_from(watermark, write.group * SLOT.size)
        after = watermark_after(before, self._last.get(write.group, 0), written)
        SLOT.pack_into(watermark, write.group * SLOT.size, max(before, after) if write.restart else after)
        self._last[write.group] = written

    async def close(self) -> None:
        """Closes the file; nothing is pending, since every write is awaited."""
        await self._file.close()
        if self._watermark is not None:
            self._watermark.close()
            self._watermark = None


def _append_if_chained(stored: StoredGroup, entry: Entry) -> None:
    last = stored.entries[-1] if stored.entries else None
    index, checksum = (last.index, last.checksum) if last else (stored.cut.index, stored.cut.checksum)
    expected = chain_checksum(checksum, entry.term, entry.index, entry.kind, entry.data)
    if entry.index == index + 1 and entry.checksum == expected:
        stored.entries.append(entry)
