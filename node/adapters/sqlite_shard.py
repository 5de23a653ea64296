"""A group's checkpoint in a SQLite file of its own.

A flipped bit can change a value, and also a key: then a row is missing where it belongs, which means something (nothing given back, no
such segment). So each row's CRC covers its table and key, and each table's count and sums of keys and CRCs stand in a table of their own,
are changed in every transaction and compared at each start. SQLite itself notices neither.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from node.adapters.sqlite import SqliteFile
from node.core.machine import Change
from node.ports import Damaged

Row = tuple[str, int, bytes]
Sums = tuple[int, int, int, int]
"""Of a table's rows: how many, and the sums of their CRCs, of the lower halves of their keys, of the upper halves."""

NO_ROWS: Sums = (0, 0, 0, 0)
LOWER_BITS = 32
LOWER = (1 << LOWER_BITS) - 1
SUMS_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS sums(name TEXT PRIMARY KEY, rows INTEGER, crcs INTEGER, lower INTEGER, upper INTEGER);"
)


class SqliteShard:
    """Implements `ShardStore`: a table a checkpoint table."""

    def __init__(self, path: Path, stamp: str) -> None:
        self._path = path
        self._stamp = stamp
        self._file = SqliteFile(path, stamp)
        self._tables: tuple[str, ...] = ()
        self._sequences: tuple[str, ...] = ()
        self._sums: dict[str, Sums] = {}  # as they are on disk

    async def open(self, tables: Sequence[str], sequences: Sequence[str] = ()) -> None:
        """Opens the file and makes sure that the tables are there; an import that was cut short is dropped."""
        self._tables, self._sequences = tuple(tables), tuple(sequences)
        await self._file.open(SUMS_SCHEMA + "".join(_create("rows", table) + _drop(table) for table in self._tables))
        try:
            await self._file.run(self._compare_sums)
        except BaseException:
            await self._file.close()
            raise

    def _compare_sums(self, connection: sqlite3.Connection) -> None:
        told = {name: tuple(sums) for name, *sums in connection.execute("SELECT * FROM sums")}
        for table in self._tables:
            found = _sums(connection, table)
            if told.get(table, NO_ROWS) != found:
                raise Damaged(f"{self._path}: the rows of {table} are not those that were written")
            self._sums[table] = found

    async def load(self, table: str) -> list[tuple[int, bytes]]:
        """All rows in key order. Raises StorageFailed on a damaged row."""
        return await self._file.run(self._load, table)

    def _load(self, connection: sqlite3.Connection, table: str) -> list[tuple[int, bytes]]:
        rows = connection.execute(f'SELECT key, crc, value FROM "rows_{table}" ORDER BY key')  # noqa: S608  # own name
        return [(key, self._checked(table, key, crc, value)) for key, crc, value in rows]

    def _checked(self, table: str, key: int, crc: int, value: object) -> bytes:
        if not isinstance(value, bytes) or _crc(table, key, value) != crc:
            raise Damaged(f"{self._path}: row {key} of {table} is damaged (its checksum does not match)")
        return value

    async def read(self, keys: Sequence[tuple[str, int]]) -> dict[tuple[str, int], bytes | None]:
        """Single rows; None where there is none."""
        return await self._file.run(self._read, keys)

    def _read(
        self, connection: sqlite3.Connection, keys: Sequence[tuple[str, int]]
    ) -> dict[tuple[str, int], bytes | None]:
        found: dict[tuple[str, int], bytes | None] = {}
        for table, key in keys:
            query = f'SELECT crc, value FROM "rows_{table}" WHERE key = ?'  # noqa: S608  # own name
            row = connection.execute(query, (key,)).fetchone()
            found[table, key] = None if row is None else self._checked(table, key, *row)
        return found

    async def write(self, changes: Sequence[Change]) -> None:
        """One durable transaction."""
        await self._file.run(self._write, changes)

    def _write(self, connection: sqlite3.Connection, changes: Sequence[Change]) -> None:
        sums = dict(self._sums)
        with _transaction(connection):
            for change in changes:
                before = _crc_of(connection, change)
                after = _put(connection, "rows", change)
                sums[change.table] = _summed(sums[change.table], change.key, before, after)
            _save_sums(connection, {table: sums[table] for table in {change.table for change in changes}})
        self._sums = sums

    async def archived(self) -> int:
        """How many rows every sequence holds, from key 0 on."""
        return await self._file.run(self._count_archived)

    def _count_archived(self, connection: sqlite3.Connection) -> int:
        queries = [f'SELECT coalesce(max(key), -1) + 1 FROM "rows_{table}"' for table in self._sequences]  # noqa: S608  # own name
        return min((int(connection.execute(query).fetchone()[0]) for query in queries), default=0)

    async def export(self, after: tuple[str, int] | None, bytes_max: int, archived: int = 0) -> list[Row]:
        """The rows behind `after`, table by table; of a sequence only those from key `archived` on."""
        return await self._file.run(self._export, after, bytes_max, archived)

    def _export(
        self, connection: sqlite3.Connection, after: tuple[str, int] | None, bytes_max: int, archived: int
    ) -> list[Row]:
        rows: list[Row] = []
        size = 0
        start = 0 if after is None else self._tables.index(after[0])
        for table in self._tables[start:]:
            behind = archived - 1 if table in self._sequences else -(2**63)
            if after is not None and table == after[0]:
                behind = after[1]
            query = f'SELECT key, crc, value FROM "rows_{table}" WHERE key > ? ORDER BY key'  # noqa: S608  # own name
            for key, crc, value in connection.execute(query, (behind,)):
                rows.append((table, key, self._checked(table, key, crc, value)))
                size += len(value)
                if size >= bytes_max:
                    return rows
        return rows

    async def begin_import(self) -> None:
        """Starts with nothing beside the live rows."""
        schema = "".join(_drop(table) + _create("incoming", table) for table in self._tables)
        await self._file.run(lambda connection: connection.executescript(schema))

    async def add_import(self, rows: Sequence[Row]) -> None:
        """Keeps received rows beside the live ones."""
        await self._file.run(_add_import, rows)

    async def finish_import(self) -> None:
        """In one transaction: the received rows replace the live ones, and lengthen the sequences."""
        await self._file.run(self._finish_import)

    def _finish_import(self, connection: sqlite3.Connection) -> None:
        with _transaction(connection):
            for table in self._tables:
                if table not in self._sequences:
                    connection.execute(f'DELETE FROM "rows_{table}"')  # noqa: S608  # own name
                copy = f'INSERT OR REPLACE INTO "rows_{table}" SELECT * FROM "incoming_{table}"'  # noqa: S608  # own name
                connection.execute(copy)
                connection.execute(_drop(table))
            sums = {table: _sums(connection, table) for table in self._tables}
            _save_sums(connection, sums)
        self._sums = sums

    async def close(self) -> None:
        """Closes the file."""
        await self._file.close()


def _create(prefix: str, table: str) -> str:
    return f'CREATE TABLE IF NOT EXISTS "{prefix}_{table}"(key INTEGER PRIMARY KEY, crc INTEGER, value BLOB);'


def _drop(table: str) -> str:
    return f'DROP TABLE IF EXISTS "incoming_{table}";'


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _add_import(connection: sqlite3.Connection, rows: Iterable[Row]) -> None:
    with _transaction(connection):
        for row in rows:
            _put(connection, "incoming", Change(*row))


def _put(connection: sqlite3.Connection, prefix: str, change: Change) -> int | None:
    """The CRC of the row that stands there now, None where none does."""
    table = f'"{prefix}_{change.table}"'
    if change.value is None:
        connection.execute(f"DELETE FROM {table} WHERE key = ?", (change.key,))  # noqa: S608  # own name
        return None
    crc = _crc(change.table, change.key, change.value)
    connection.execute(f"INSERT OR REPLACE INTO {table} VALUES(?, ?, ?)", (change.key, crc, change.value))
    return crc


def _crc(table: str, key: int, value: bytes) -> int:
    return zlib.crc32(value, zlib.crc32(f"{table} {key}".encode()))


def _crc_of(connection: sqlite3.Connection, change: Change) -> int | None:
    """Of the row that stands where the change goes."""
    query = f'SELECT crc FROM "rows_{change.table}" WHERE key = ?'  # noqa: S608  # own name
    row = connection.execute(query, (change.key,)).fetchone()
    return None if row is None else int(row[0])


def _sums(connection: sqlite3.Connection, table: str) -> Sums:
    sums = ", ".join(
        f"coalesce(sum({column}), 0)" for column in (f"crc & {LOWER}", f"key & {LOWER}", f"key >> {LOWER_BITS}")
    )
    rows, crcs, lower, upper = connection.execute(f'SELECT count(*), {sums} FROM "rows_{table}"').fetchone()  # noqa: S608  # own name
    return rows, crcs, lower, upper


def _summed(sums: Sums, key: int, before: int | None, after: int | None) -> Sums:
    """With the row under `key` changed, given its CRC before and after, None where there is none."""
    rows, crcs, lower, upper = sums
    sign = (after is not None) - (before is not None)
    crcs += (after or 0) - (before or 0)
    return rows + sign, crcs, lower + sign * (key & LOWER), upper + sign * (key >> LOWER_BITS)


def _save_sums(connection: sqlite3.Connection, sums: Mapping[str, Sums]) -> None:
    rows = [(table, *each) for table, each in sums.items()]
    connection.executemany("INSERT OR REPLACE INTO sums VALUES(?, ?, ?, ?, ?)", rows)
