"""The node's log: what `LogStore` promises, held by the SQLite file and by its twin in memory."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from node.adapters.memory import Disk, MemoryLog
from node.adapters.sqlite import FORMAT
from node.adapters.sqlite_log import SqliteLog
from node.core.raft import HardState, LogCut, Membership, NodeId, Promise, restore_log
from node.ports import DiskFull, LogStore, LogWrite, StorageFailed
from tests.core.raft.entries import chain

STAMP = "test node 1"
Open = Callable[[], LogStore]


@pytest.fixture(params=["sqlite", "memory"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Opens the same log again and again."""
    if request.param == "sqlite":
        return lambda: SqliteLog(tmp_path, STAMP)
    disk = Disk()
    return lambda: MemoryLog(disk)


async def write(reopen: Open, *drains: list[LogWrite]) -> None:
    """Each list is one drain."""
    log = reopen()
    await log.open()
    for drain in drains:
        await log.write(drain)
    await log.close()


async def stored(reopen: Open, group: int = 1) -> tuple[list[int], LogCut, int]:
    """Indexes, cut, where the promised log ends."""
    log = reopen()
    found = (await log.open())[group]
    await log.close()
    assert found.promise is not None
    return [entry.index for entry in found.entries], found.cut, found.promise.index


async def test_an_empty_log(reopen: Open) -> None:
    """Nothing is there, and that is fine."""
    log = reopen()
    assert await log.open() == {}
    await log.close()


async def test_what_is_written_is_read_back(reopen: Open) -> None:
    """Entries of several groups in one drain, with their hard states."""
    one, two = chain(1, 3, data=b"one"), chain(1, 2, term=4, data=b"")
    state = HardState(7, NodeId(2), 1)
    await write(reopen, [LogWrite(1, state, one), LogWrite(2, None, two)])
    log = reopen()
    found = await log.open()
    await log.close()
    assert list(found) == [1, 2]
    assert (found[1].hard_state, found[1].entries, found[1].promise) == (state, one, Promise(7, NodeId(2), 7, 3, 1))
    assert (found[2].hard_state.term, found[2].entries) == (0, two)


async def test_entries_replace_those_at_and_behind_their_first(reopen: Open) -> None:
    """A new leader's entries win over what an old one left behind."""
    old = chain(1, 5)
    new = chain(3, 1, term=2, checksum=old[1].checksum)
    await write(reopen, [LogWrite(1, None, old)], [LogWrite(1, None, new)])
    log = reopen()
    found = (await log.open())[1]
    await log.close()
    assert [(entry.index, entry.term) for entry in found.entries] == [(1, 1), (2, 1), (3, 2)]
    assert found.promise is not None and found.promise.index == 3


async def test_a_cut_forgets_what_is_below(reopen: Open) -> None:
    """The chain goes on from the cut's checksum."""
    entries = chain(1, 5)
    cut = LogCut(3, 1, entries[2].checksum)
    await write(reopen, [LogWrite(1, None, entries)], [LogWrite(1, cut=cut)])
    assert await stored(reopen) == ([4, 5], cut, 5)


async def test_a_restart_forgets_everything(reopen: Open) -> None:
    """A received snapshot: the log goes on behind it, with another chain, and so does what is promised."""
    cut = LogCut(3, 9, 4711)
    await write(reopen, [LogWrite(1, None, chain(1, 5))], [LogWrite(1, cut=cut, restart=True)])
    assert await stored(reopen) == ([], cut, 3)
    await write(reopen, [LogWrite(1, None, chain(4, 2, checksum=4711))])
    assert await stored(reopen) == ([4, 5], cut, 5)


# -- the file -----------------------------------------------------------------------------------------------------


async def test_a_log_that_lost_its_end_is_noticed(tmp_path: Path) -> None:
    """The database was put back from a copy; the promises beside it were not."""
    entries = chain(1, 5)
    await write(lambda: SqliteLog(tmp_path, STAMP), [LogWrite(1, None, entries)])
    connection = sqlite3.connect(tmp_path / "log.db")
    connection.execute("DELETE FROM entry WHERE key & 255 > 2")
    connection.commit()
    connection.close()
    assert await stored(lambda: SqliteLog(tmp_path, STAMP)) == ([1, 2], LogCut(0, 0, 0), 5)


def foreign(path: Path) -> None:
    """Another program's database."""
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE photos(name TEXT)")
    connection.commit()
    connection.close()


def stamped(file_format: int | str, owner: str) -> Callable[[Path], None]:
    """A file of that version and node."""

    def make(path: Path) -> None:
        connection = sqlite3.connect(path)
        connection.execute("CREATE TABLE stamp(format INTEGER, owner TEXT)")
        connection.execute("INSERT INTO stamp VALUES(?, ?)", (file_format, owner))
        connection.commit()
        connection.close()

    return make


def half_made(path: Path) -> None:
    """What a kill in the middle of the first start leaves behind."""
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE stamp(format INTEGER, owner TEXT)")
    connection.execute("CREATE TABLE filler(data BLOB)")
    connection.commit()
    connection.close()


REFUSALS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no database": (lambda path: path.write_bytes(b"this is no database at all, not by any means" * 50), "not a database"),
    "foreign": (foreign, "photos"),
    "newer": (stamped(99, STAMP), "newer version"),
    "older": (stamped(1, STAMP), "older version"),
    "damaged": (stamped("x", STAMP), "damaged"),
    "another node's": (stamped(FORMAT, "test node 2"), "belongs to test node 2"),
    "a folder": (lambda path: path.mkdir(), "unable to open"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
async def test_a_file_that_is_not_ours_is_refused(tmp_path: Path, name: str) -> None:
    """With a text that says which file and why; the file is left as it is."""
    spoil, text = REFUSALS[name]
    spoil(tmp_path / "log.db")
    with pytest.raises(StorageFailed, match=text) as caught:
        await SqliteLog(tmp_path, STAMP).open()
    assert "log.db" in str(caught.value)
    for thread in threading.enumerate():
        if "worker" in thread.name:  # of a connection that never opened: it still talks to this loop when it ends
            await asyncio.to_thread(thread.join, 5)


async def test_a_first_start_that_was_killed_can_be_repeated(tmp_path: Path) -> None:
    """Nothing was acknowledged yet, so the file is simply made."""
    half_made(tmp_path / "log.db")
    await write(lambda: SqliteLog(tmp_path, STAMP), [LogWrite(1, None, chain(1, 2))])
    assert (await stored(lambda: SqliteLog(tmp_path, STAMP)))[0] == [1, 2]


async def test_a_page_that_was_overwritten_is_reported(tmp_path: Path) -> None:
    """Damage is an error or a shorter log, never other content."""
    entries = chain(1, 400, data=b"y" * 200)
    await write(lambda: SqliteLog(tmp_path, STAMP), [LogWrite(1, None, entries)])
    path = tmp_path / "log.db"
    size = path.stat().st_size
    with path.open("r+b") as file:
        for place in range(8_192, size, 8_192):
            file.seek(place)
            file.write(os.urandom(64))
    log = SqliteLog(tmp_path, STAMP)
    try:
        found = await log.open()
    except StorageFailed as error:
        assert "log.db" in str(error)
        return
    assert found[1].entries == entries[: len(found[1].entries)]
    assert found[1].promise is not None and found[1].promise.index == 400
    await log.close()


async def limit_pages(log: SqliteLog) -> None:
    """As on a full disk."""

    def limit(connection: sqlite3.Connection) -> None:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages + 1}")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    await log._file.run(limit)


async def test_a_full_disk_fails_the_write_as_a_whole(tmp_path: Path) -> None:
    """What was durable stays, nothing of the failed drain is there, and no transaction is left open."""
    log = SqliteLog(tmp_path, STAMP)
    await log.open()
    entries = chain(1, 2)
    await log.write([LogWrite(1, None, entries)])
    await limit_pages(log)
    large = chain(1, 30, data=b"z" * 1_000_000)  # more than the pages that a new file has to spare
    with pytest.raises(DiskFull, match="full"):
        await log.write([LogWrite(3, HardState(9, NodeId(1), 0)), LogWrite(2, None, large)])
    assert await log._file.run(lambda connection: connection.in_transaction) is False
    await log.close()
    reopened = SqliteLog(tmp_path, STAMP)
    found = await reopened.open()
    await reopened.close()
    assert found[1].entries == entries and set(found) == {1}
    members = Membership((NodeId(1),))
    assert all(restore_log(stored, None, members, NodeId(1)).lost is None for stored in found.values())


async def test_a_caller_that_is_cancelled_does_not_break_the_file(tmp_path: Path) -> None:
    """Its write ends by itself; the next one finds no open transaction."""
    log = SqliteLog(tmp_path, STAMP)
    await log.open()
    entries = chain(1, 40, data=b"z" * 10_000)
    for place, entry in enumerate(entries):
        writing = asyncio.ensure_future(log.write([LogWrite(1, None, [entry])]))
        for _ in range(place % 4):
            await asyncio.sleep(0)
        if place % 2:
            writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
    await log.write([LogWrite(2, None, chain(1, 1))])
    await log.close()
    reopened = SqliteLog(tmp_path, STAMP)
    found = await reopened.open()
    await reopened.close()
    assert found[2].promise is not None and found[2].promise.index == 1
    assert found[1].entries == entries[: len(found[1].entries)]


async def test_a_closed_log_says_so(tmp_path: Path) -> None:
    """No write disappears silently."""
    log = SqliteLog(tmp_path, STAMP)
    await log.open()
    await log.close()
    with pytest.raises(StorageFailed, match="closed"):
        await log.write([LogWrite(1, None, chain(1, 1))])
    await log.close()


async def test_a_dying_disk_fails_every_write() -> None:
    """The twin can fail too."""
    disk = Disk()
    log = MemoryLog(disk)
    disk.is_failing = True
    with pytest.raises(StorageFailed):
        await log.write([LogWrite(1, None, chain(1, 1))])
    assert disk.groups == {}
