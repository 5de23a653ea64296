"""A group's checkpoint in a SQLite file of its own."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Sequence
from pathlib import Path

from node.adapters.sqlite import SqliteFile
from node.core.machine import Change
from node.ports import Damaged

Row = tuple[str, int, bytes]


class SqliteShard:
    """Implements `ShardStore`: a table a checkpoint table, each row with its CRC."""

    def __init__(self, path: Path, stamp: str) -> None:
        self._path = path
        self._stamp = stamp
        self._file = SqliteFile(path, stamp)
        self._tables: tuple[str, ...] = ()
        self._sequences: tuple[str, ...] = ()

    async def open(self, tables: Sequence[str], sequences: Sequence[str] = ()) -> None:
        """Opens the file and makes sure that the tables are there; an import that was cut short is dropped."""
        self._tables, self._sequences = tuple(tables), tuple(sequences)
        await self._file.open("".join(_create("rows", table) + _drop(table) for table in self._tables))

    async def load(self, table: str) -> list[tuple[int, bytes]]:
        """All rows in key order. Raises StorageFailed on a damaged row."""
        return await self._file.run(self._load, table)

    def _load(self, connection: sqlite3.Connection, table: str) -> list[tuple[int, bytes]]:
        rows = connection.execute(f'SELECT key, crc, value FROM "rows_{table}" ORDER BY key')  # noqa: S608  # own name
        return [(key, self._checked(table, key, crc, value)) for key, crc, value in rows]

    def _checked(self, table: str, key: int, crc: int, value: object) -> bytes:
        if not isinstance(value, bytes) or zlib.crc32(value) != crc:
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
        await self._file.run(_write_changes, changes)

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
        await self._file.run(_write_changes, [Change(*row) for row in rows], "incoming")

    async def finish_import(self) -> None:
        """In one transaction: the received rows replace the live ones, and lengthen the sequences."""
        await self._file.run(self._finish_import)

    def _finish_import(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        try:
            for table in self._tables:
                if table not in self._sequences:
                    connection.execute(f'DELETE FROM "rows_{table}"')  # noqa: S608  # own name
                copy = f'INSERT OR REPLACE INTO "rows_{table}" SELECT * FROM "incoming_{table}"'  # noqa: S608  # own name
                connection.execute(copy)
                connection.execute(_drop(table))
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    async def close(self) -> None:
        """Closes the file."""
        await self._file.close()


def _create(prefix: str, table: str) -> str:
    return f'CREATE TABLE IF NOT EXISTS "{prefix}_{table}"(key INTEGER PRIMARY KEY, crc INTEGER, value BLOB);'


def _drop(table: str) -> str:
    return f'DROP TABLE IF EXISTS "incoming_{table}";'


def _write_changes(connection: sqlite3.Connection, changes: Sequence[Change], prefix: str = "rows") -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        for change in changes:
            table = f'"{prefix}_{change.table}"'
            if change.value is None:
                connection.execute(f"DELETE FROM {table} WHERE key = ?", (change.key,))  # noqa: S608  # own name
            else:
                row = (change.key, zlib.crc32(change.value), change.value)
                connection.execute(f"INSERT OR REPLACE INTO {table} VALUES(?, ?, ?)", row)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
