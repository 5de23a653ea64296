"""A group's checkpoint in a SQLite file of its own."""

from __future__ import annotations

import os
import sqlite3
import zlib
from collections.abc import Sequence
from pathlib import Path

from node.adapters.sqlite import SqliteFile
from node.core.machine import Change
from node.ports import StorageFailed

Row = tuple[str, int, bytes]


class SqliteShard:
    """Implements `ShardStore`: a table a checkpoint table, each row with its CRC."""

    def __init__(self, path: Path, stamp: str) -> None:
        self._path = path
        self._stamp = stamp
        self._file = SqliteFile(path, stamp)
        self._import: SqliteFile | None = None
        self._tables: tuple[str, ...] = ()

    async def open(self, tables: Sequence[str]) -> None:
        """Opens the file and makes sure that the tables are there."""
        self._tables = tuple(tables)
        await self._file.open(self._schema())

    def _schema(self) -> str:
        return "".join(
            f'CREATE TABLE IF NOT EXISTS "rows_{table}"(key INTEGER PRIMARY KEY, crc INTEGER, value BLOB);'
            for table in self._tables
        )

    async def load(self, table: str) -> list[tuple[int, bytes]]:
        """All rows in key order. Raises StorageFailed on a damaged row."""
        return await self._file.run(self._load, table)

    def _load(self, connection: sqlite3.Connection, table: str) -> list[tuple[int, bytes]]:
        rows = connection.execute(f'SELECT key, crc, value FROM "rows_{table}" ORDER BY key')  # noqa: S608  # own name
        return [(key, self._checked(table, key, crc, value)) for key, crc, value in rows]

    def _checked(self, table: str, key: int, crc: int, value: object) -> bytes:
        if not isinstance(value, bytes) or zlib.crc32(value) != crc:
            raise StorageFailed(f"{self._path}: row {key} of {table} is damaged (its checksum does not match)")
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

    async def export(self, after: tuple[str, int] | None, bytes_max: int) -> list[Row]:
        """The rows behind `after`, table by table."""
        return await self._file.run(self._export, after, bytes_max)

    def _export(self, connection: sqlite3.Connection, after: tuple[str, int] | None, bytes_max: int) -> list[Row]:
        rows: list[Row] = []
        size = 0
        start = 0 if after is None else self._tables.index(after[0])
        for table in self._tables[start:]:
            behind = after[1] if after is not None and table == after[0] else -(2**63)
            query = f'SELECT key, crc, value FROM "rows_{table}" WHERE key > ? ORDER BY key'  # noqa: S608  # own name
            for key, crc, value in connection.execute(query, (behind,)):
                rows.append((table, key, self._checked(table, key, crc, value)))
                size += len(value)
                if size >= bytes_max:
                    return rows
        return rows

    async def begin_import(self) -> None:
        """Starts an empty copy beside the live file."""
        await self._drop_import()
        path = self._path.with_suffix(".incoming")
        _remove(path)
        self._import = SqliteFile(path, self._stamp)
        await self._import.open(self._schema())

    async def add_import(self, rows: Sequence[Row]) -> None:
        """Adds received rows to the copy."""
        assert self._import is not None
        await self._import.run(_write_changes, [Change(*row) for row in rows])

    async def finish_import(self) -> None:
        """Renames the copy over the live file; the folder is synced, so that the rename is durable."""
        assert self._import is not None
        await self._drop_import()
        await self._file.close()
        _remove(self._path, keep_main=True)
        os.replace(self._path.with_suffix(".incoming"), self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        self._file = SqliteFile(self._path, self._stamp)
        await self._file.open(self._schema())

    async def _drop_import(self) -> None:
        if self._import is not None:
            await self._import.close()  # the last connection folds its write-ahead log into the file
            self._import = None

    async def close(self) -> None:
        """Closes both files."""
        await self._drop_import()
        await self._file.close()


def _write_changes(connection: sqlite3.Connection, changes: Sequence[Change]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        for change in changes:
            table = f'"rows_{change.table}"'
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


def _remove(path: Path, *, keep_main: bool = False) -> None:
    for suffix in ("-wal", "-shm") if keep_main else ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
