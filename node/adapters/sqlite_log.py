"""The node's log in one SQLite file: one transaction a drain of the log writer, for all groups together."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from zlib import crc32

from node.adapters.promises import PromiseFile, promise_after, reach_after
from node.adapters.sqlite import SqliteFile, sync_folder
from node.core.raft import Entry, EntryKind, HardState, LogCut, NodeId, Promise, StoredGroup
from node.notices import LogFileMissing, LogRowsDamaged
from node.ports import UNHEARD, Damaged, LogWrite, OperatorLog
from protocol.errors import ProtocolError

SCHEMA = """
CREATE TABLE IF NOT EXISTS entry(key INTEGER PRIMARY KEY, term INTEGER, kind INTEGER, checksum INTEGER, data BLOB);
CREATE TABLE IF NOT EXISTS hard_state(
    number INTEGER PRIMARY KEY, term INTEGER, vote INTEGER, commit_index INTEGER, written INTEGER, reach INTEGER,
    crc INTEGER);
CREATE TABLE IF NOT EXISTS cut(number INTEGER PRIMARY KEY, position INTEGER, term INTEGER, checksum INTEGER, crc INTEGER);
"""
INDEX_BITS = 48  # key = group << 48 | index: the entries of a group lie together
INDEX_MASK = (1 << INDEX_BITS) - 1
ROW_CHARACTERS_MAX = 100  # of a damaged row, for people: enough to see whose it was


class SqliteLog:
    """Implements `LogStore`: `log.db`, and beside it `log.promises`, which notices a log that was put back from a copy or lost its
    end (a write-ahead log deleted, or with one flipped bit, behind which SQLite drops all in silence)."""

    def __init__(self, folder: Path, stamp: str, operator: OperatorLog = UNHEARD) -> None:
        self._folder = folder
        self._operator = operator
        self._damaged: dict[str, list[str]] = {}  # rows by table, found on the file's thread
        self._file = SqliteFile(folder / "log.db", stamp)
        self._promises = PromiseFile(folder / "log.promises", stamp)
        self._promised: dict[int, Promise] = {}
        self._hard: dict[int, HardState] = {}  # as it is on disk
        self._written: dict[int, int] = {}  # term in which each group's entries were last written, as it is on disk
        self._reach: dict[int, int] = {}  # where the log ended behind the first write of that term, as it is on disk
        self._ends: dict[int, int] = {}  # last entry on disk of each group that has been written since the start

    async def open(self) -> dict[int, StoredGroup]:
        """Reads everything back, and makes what is missing: without one of its two files the node knows what it has lost."""
        had_log, had_promises = self._file.path.exists(), self._promises.exists()
        await self._file.open(SCHEMA, preallocate=True)
        groups = await self._file.run(self._read)
        sync_folder(self._folder)
        if had_log != had_promises:
            missing = "log.promises" if had_log else "log.db"
            self._operator.tell(LogFileMissing(str(self._folder / missing)))
        for table, rows in self._damaged.items():
            self._operator.tell(LogRowsDamaged(table, len(rows), rows[0]))
        return groups

    def _read(self, connection: sqlite3.Connection) -> dict[int, StoredGroup]:
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":  # keys out of order, for one: what is written later would not be found, or hide what is there
            raise Damaged(f"{self._file.path}: damaged ({found})")
        groups: dict[int, StoredGroup] = {}
        for group, term, vote, commit, written, reach in self._sound_rows(connection, "hard_state"):
            state = HardState(term, NodeId(vote), commit)
            groups[group] = StoredGroup(state, written, reach)
            self._hard[group], self._written[group], self._reach[group] = state, written, reach
        for group, index, term, checksum in self._sound_rows(connection, "cut"):
            groups.setdefault(group, StoredGroup()).cut = LogCut(index, term, checksum)
        for key, *fields in connection.execute("SELECT * FROM entry ORDER BY key"):
            groups.setdefault(key >> INDEX_BITS, StoredGroup()).entries.append(_entry(key & INDEX_MASK, fields))
        self._promised = self._promises.open()  # behind the log: it is made where it is missing
        for group, promise in self._promised.items():
            groups.setdefault(group, StoredGroup()).promise = promise
        return groups

    def _sound_rows(self, connection: sqlite3.Connection, table: str) -> Iterator[list[int]]:
        """The rows without their `crc`. A damaged row counts as none: the promises tell what it said, or nobody can."""
        for *row, crc in connection.execute(f"SELECT * FROM {table}"):  # noqa: S608  # own name
            if all(type(value) is int for value in row) and crc == _crc(row):
                yield row
            else:
                self._damaged.setdefault(table, []).append(str(row)[:ROW_CHARACTERS_MAX])

    async def write(self, writes: Sequence[LogWrite]) -> None:
        """One transaction with one fsync, and behind it the promises."""
        await self._file.run(self._write, writes)

    def _write(self, connection: sqlite3.Connection, writes: Sequence[LogWrite]) -> None:
        if len(writes) == 1 and self._is_lone_entry(writes[0]):
            self._write_group(connection, writes[0])  # a statement alone is a transaction
        else:
            self._write_together(connection, writes)
        self._write_promises(writes)

    def _write_promises(self, writes: Sequence[LogWrite]) -> None:
        promises: dict[int, Promise] = {}
        for write in writes:
            before = promises.get(write.group) or self._promised.get(write.group, Promise())
            if (after := promise_after(before, write)) != before:
                promises[write.group] = after
        if promises:
            self._promises.write(promises)
            self._promised.update(promises)

    def _is_lone_entry(self, write: LogWrite) -> bool:
        is_plain = write.hard_state is None and write.cut is None and len(write.entries) == 1
        is_plain = is_plain and self._written.get(write.group) == self._hard_state(write).term
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
        self._write_hard_state(connection, write)
        if write.cut is not None:
            cut = write.cut
            end = base + INDEX_MASK if write.restart else base + cut.index
            connection.execute("DELETE FROM entry WHERE key BETWEEN ? AND ?", (base, end))
            cut_row = (write.group, cut.index, cut.term, cut.checksum)
            connection.execute("INSERT OR REPLACE INTO cut VALUES(?, ?, ?, ?, ?)", (*cut_row, _crc(cut_row)))
        if write.entries:
            self._write_entries(connection, base, write)

    def _hard_state(self, write: LogWrite) -> HardState:
        return write.hard_state or self._hard.get(write.group) or HardState()

    def _write_hard_state(self, connection: sqlite3.Connection, write: LogWrite) -> None:
        state = self._hard_state(write)
        written, reach = before = self._written.get(write.group, 0), self._reach.get(write.group, 0)
        if write.entries or write.restart:
            reach = reach_after(write, state.term, written, reach)
            written = state.term
        if write.hard_state is None and (written, reach) == before:
            return
        row = (write.group, state.term, state.vote, state.commit, written, reach)
        connection.execute("INSERT OR REPLACE INTO hard_state VALUES(?, ?, ?, ?, ?, ?, ?)", (*row, _crc(row)))
        self._hard[write.group], self._written[write.group], self._reach[write.group] = state, written, reach

    def _write_entries(self, connection: sqlite3.Connection, base: int, write: LogWrite) -> None:
        first = write.entries[0].index
        if self._ends.get(write.group) != first - 1:
            keys = (base + first, base + INDEX_MASK)
            connection.execute("DELETE FROM entry WHERE key BETWEEN ? AND ?", keys)
        rows = [
            (base + entry.index, entry.term, int(entry.kind), entry.checksum, entry.data) for entry in write.entries
        ]
        connection.executemany("INSERT INTO entry VALUES(?, ?, ?, ?, ?)", rows)
        self._ends[write.group] = write.entries[-1].index

    async def close(self) -> None:
        """Closes the file; nothing is pending, since every write is awaited."""
        await self._file.close()
        self._promises.close()


def _crc(row: Sequence[int]) -> int:
    return crc32(struct.pack(f"<{len(row)}q", *row))


def _entry(index: int, fields: list[object]) -> Entry:
    """The entry of a row; where that is damaged, one that continues no chain."""
    term, kind, checksum, data = fields
    try:
        return Entry.unpack((term, index, kind, data, checksum))
    except ProtocolError:
        return Entry(0, index, EntryKind.normal, b"", 0)
