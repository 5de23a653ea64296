"""One way to open a SQLite file: one connection, WAL, every commit on disk before it returns, and a stamp that says whose it is."""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import aiosqlite

from node.ports import Damaged, DiskFull, StorageFailed

FORMAT = 3  # raised when the layout changes; a file of another one is refused
PAGE_BYTES = 8_192  # measured best for both a lone transfer and a batch of 8,192
CACHE_KIB = 512  # a file; rows are large and read once, so a cache would only hold memory
WAL_PAGES = 2_048  # 16 MiB between checkpoints of the write-ahead log: few copies of pages that are soon deleted anyway

Result = TypeVar("Result")


def sync_folder(folder: Path) -> None:
    """Makes the names of a folder's files durable. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Makes a folder and those above it that are missing, so that their names outlast a loss of power. Raises OSError."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


class SqliteFile:
    """An open file. All work is done by `run`."""

    def __init__(self, path: Path, stamp: str) -> None:
        self.path = path
        self._stamp = stamp
        self._connection: aiosqlite.Connection | None = None

    async def open(self, schema: str, *, preallocate: bool = False) -> None:
        """Creates or opens the file. Raises StorageFailed where it is foreign, newer or damaged.

        `preallocate` gives a new file its write-ahead log at full length: a commit that overwrites in place takes half the time
        of one that also makes the file longer.
        """
        try:
            self._connection = await aiosqlite.connect(self.path, isolation_level=None, cached_statements=256)
            self._connection.text_factory = _text
            await self.run(self._prepare, schema, preallocate)
        except sqlite3.Error as error:
            raise _failed(self.path, error) from error
        except BaseException:
            await self.close()
            raise

    def _refuse_foreign(self, connection: sqlite3.Connection) -> None:
        names = [
            name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' LIMIT 100")
        ]
        if names and "stamp" not in names:
            raise StorageFailed(f"{self.path}: another program's database, it holds {names[0][:40]}")

    def _prepare(self, connection: sqlite3.Connection, schema: str, preallocate: bool) -> None:
        self._refuse_foreign(connection)
        connection.executescript(
            f"PRAGMA page_size={PAGE_BYTES}; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
            f"PRAGMA wal_autocheckpoint={WAL_PAGES}; PRAGMA locking_mode=EXCLUSIVE; PRAGMA cache_size={-CACHE_KIB};"
        )
        connection.executescript(f"CREATE TABLE IF NOT EXISTS stamp(format INTEGER, owner TEXT); {schema}")
        rows = connection.execute("SELECT format, owner FROM stamp").fetchall()
        if not rows:
            if preallocate:
                connection.execute("DROP TABLE IF EXISTS filler")  # of a first start that was cut short
                connection.execute("CREATE TABLE filler(data BLOB)")
                connection.execute("INSERT INTO filler VALUES(zeroblob(?))", (PAGE_BYTES * WAL_PAGES,))
                connection.execute("DROP TABLE filler")
                connection.execute("PRAGMA wal_checkpoint(RESTART)")
            connection.execute("INSERT INTO stamp VALUES(?, ?)", (FORMAT, self._stamp))
            return
        found_format, owner = rows[0]
        if type(found_format) is not int:
            raise Damaged(f"{self.path}: damaged")
        if found_format != FORMAT:
            age = "a newer" if found_format > FORMAT else "an older"
            raise StorageFailed(f"{self.path}: written by {age} version (format {found_format}, this is {FORMAT})")
        if owner != self._stamp:
            raise StorageFailed(f"{self.path}: belongs to {owner}, not to {self._stamp}")

    async def run(self, work: Callable[..., Result], *arguments: object) -> Result:
        """Runs `work(connection, *arguments)` on the file's thread, to its end: cancelling the caller does not stop it."""
        connection = self._connection
        if connection is None:
            raise StorageFailed(f"{self.path}: closed")

        def on_thread() -> Result:
            return work(connection._conn, *arguments)

        try:
            # aiosqlite's public calls are one statement a hop; a whole transaction in one hop needs its internal one.
            return await connection._execute(on_thread)  # type: ignore[no-untyped-call,no-any-return]  # untyped there
        except sqlite3.Error as error:
            raise _failed(self.path, error) from error
        except UnicodeDecodeError as error:  # out of SQLite's own names and texts
            raise Damaged(f"{self.path}: damaged") from error

    async def close(self) -> None:
        """Waits for running work and releases the thread."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await asyncio.shield(connection.close())


def _text(data: bytes) -> str:
    """Text that is no UTF-8 is left to the reader's own checks: sqlite3 raises an OperationalError, which `_failed` takes for no damage."""
    return data.decode(errors="replace")


def _failed(path: Path, error: sqlite3.Error) -> StorageFailed:
    """A malformed file is a plain DatabaseError; what else can go wrong, a full disk for one, has classes of its own."""
    if type(error) is sqlite3.DatabaseError:
        return Damaged(f"{path}: {error}")
    is_full = getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL
    return (DiskFull if is_full else StorageFailed)(f"{path}: {error}")


def refused_by_system(path: Path, error: OSError) -> StorageFailed:
    """What the system says of a file that is no database's."""
    return (DiskFull if error.errno == errno.ENOSPC else StorageFailed)(f"{path}: {error.strerror}")
