"""A group's checkpoint: what `ShardStore` promises, held by the SQLite file and by its twin in memory."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from node.adapters.memory import Disk, MemoryShard
from node.adapters.sqlite_shard import SqliteShard
from node.core.machine import Change
from node.ports import Damaged, ShardStore, StorageFailed

STAMP = "test node 1"
TABLES = ("first", "second")
FLIPS = 60
Open = Callable[[], ShardStore]


@pytest.fixture(params=["sqlite", "memory"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """The same store again and again."""
    if request.param == "sqlite":
        return lambda: SqliteShard(tmp_path / "shard.db", STAMP)
    disk = Disk()
    return lambda: MemoryShard(disk, 1)


async def opened(reopen: Open) -> ShardStore:
    store = reopen()
    await store.open(TABLES)
    return store


async def contents(store: ShardStore) -> dict[str, dict[int, bytes]]:
    """Everything."""
    return {table: dict(await store.load(table)) for table in TABLES}


async def test_rows_are_written_changed_and_deleted(reopen: Open) -> None:
    """And are there after a restart, in key order."""
    store = await opened(reopen)
    await store.write([Change("first", 5, b"five"), Change("first", 1, b"one"), Change("second", -3, b"")])
    await store.write([Change("first", 5, None), Change("first", 9, None), Change("first", 1, b"uno")])
    await store.write([Change("first", 7, b"seven")])
    await store.close()
    store = await opened(reopen)
    assert await store.load("first") == [(1, b"uno"), (7, b"seven")]
    assert await store.load("second") == [(-3, b"")]
    assert await store.read([("first", 7), ("second", 7), ("second", -3)]) == {
        ("first", 7): b"seven", ("second", 7): None, ("second", -3): b"",
    }  # fmt: skip
    await store.close()


async def test_an_export_in_pieces_is_imported_whole(reopen: Open) -> None:
    """Piece by piece, of any size, across tables; what was there before is gone."""
    store = await opened(reopen)
    rows = {table: {key: bytes([key]) * 40 for key in range(-5, 60, 3) if key >= 0} for table in TABLES}
    await store.write([Change(table, key, value) for table in TABLES for key, value in rows[table].items()])
    pieces: list[list[tuple[str, int, bytes]]] = []
    after = None
    while piece := await store.export(after, 100):
        pieces.append(piece)
        after = piece[-1][0], piece[-1][1]
    assert len(pieces) > 5
    await store.write([Change("first", 1_000, b"of another time")])
    await store.begin_import()
    for piece in pieces:
        await store.add_import(piece)
    assert (await store.read([("first", 1_000)]))["first", 1_000] == b"of another time", "not before it is whole"
    await store.finish_import()
    assert await contents(store) == rows
    await store.write([Change("second", 2_000, b"goes on")])
    await store.close()
    store = await opened(reopen)
    assert (await contents(store))["second"][2_000] == b"goes on"
    await store.close()


async def test_an_import_that_is_begun_again_starts_empty(reopen: Open) -> None:
    """The first attempt was cut short."""
    store = await opened(reopen)
    await store.write([Change("first", 1, b"live")])
    await store.begin_import()
    await store.add_import([("first", 2, b"half")])
    await store.begin_import()
    await store.add_import([("first", 3, b"whole")])
    await store.finish_import()
    assert await store.load("first") == [(3, b"whole")]
    await store.close()


async def test_a_restart_in_the_middle_of_an_import_keeps_the_live_rows(reopen: Open) -> None:
    """Only the finish replaces anything."""
    store = await opened(reopen)
    await store.write([Change("first", 1, b"live")])
    await store.begin_import()
    await store.add_import([("first", 2, b"half")])
    await store.close()
    store = await opened(reopen)
    assert await store.load("first") == [(1, b"live")]
    await store.begin_import()
    await store.finish_import()
    assert await store.load("first") == []
    await store.close()


async def test_a_write_under_way_does_not_get_into_the_import(reopen: Open) -> None:
    """A checkpoint of the old state that ends late must not mix into the new one."""
    store = await opened(reopen)
    await store.begin_import()
    await store.add_import([("first", 1, b"new")])
    late = asyncio.ensure_future(store.write([Change("first", 1, b"old")]))
    await asyncio.sleep(0)
    await store.finish_import()
    await late
    assert await store.load("first") == [(1, b"new")]
    await store.close()


# -- the file -----------------------------------------------------------------------------------------------------


def spoil(path: Path, statement: str) -> None:
    """Changes a closed file behind the store's back."""
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()


@pytest.mark.parametrize("value", ["x'00'", "NULL", "'text'", "17"])
async def test_a_damaged_row_is_named(tmp_path: Path, value: str) -> None:
    """Loading, reading and exporting it all refuse."""
    path = tmp_path / "shard.db"
    store = await opened(lambda: SqliteShard(path, STAMP))
    await store.write([Change("first", 4, b"four")])
    await store.close()
    spoil(path, f"UPDATE rows_first SET value = {value} WHERE key = 4")
    store = await opened(lambda: SqliteShard(path, STAMP))
    for work in (store.load("first"), store.read([("first", 4)]), store.export(None, 100)):
        with pytest.raises(StorageFailed, match="row 4 of first is damaged"):
            await work
    await store.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE rows_first SET key = 5 WHERE key = 4",
        "UPDATE rows_first SET key = key + 4294967296 WHERE key = 4",
        "DELETE FROM rows_first WHERE key = 4",
        "INSERT INTO rows_second SELECT * FROM rows_first WHERE key = 4",
        "UPDATE rows_first SET crc = crc + 1 WHERE key = 4",
        "DELETE FROM sums",
        "UPDATE sums SET rows = rows + 1",
        "UPDATE sums SET name = 'third' WHERE name = 'first'",
    ],
)
async def test_a_row_that_is_not_where_it_was_written_is_noticed_at_the_start(tmp_path: Path, statement: str) -> None:
    """What is missing means something, and nobody would ever look at the row under another key."""
    path = tmp_path / "shard.db"
    store = await opened(lambda: SqliteShard(path, STAMP))
    await store.write([Change("first", 4, b"four"), Change("first", 9, b"nine"), Change("second", -3, b"below")])
    await store.write([Change("first", 4, b"four again"), Change("first", 9, None), Change("first", 10, None)])
    await store.close()
    spoil(path, statement)
    with pytest.raises(Damaged, match="are not those that were written"):
        await opened(lambda: SqliteShard(path, STAMP))


async def test_a_row_that_has_come_under_another_key_is_damaged(tmp_path: Path) -> None:
    """Should it be looked at before the next start."""
    path = tmp_path / "shard.db"
    store = await opened(lambda: SqliteShard(path, STAMP))
    await store.write([Change("first", 4, b"four"), Change("first", 5, b"five")])
    await store.close()
    spoil(path, "UPDATE rows_first SET key = -key WHERE key = 4")
    spoil(path, "UPDATE rows_first SET key = 4 WHERE key = 5")
    spoil(path, "UPDATE rows_first SET key = 5 WHERE key = -4")
    store = await opened(lambda: SqliteShard(path, STAMP))
    with pytest.raises(Damaged, match="row 4 of first is damaged"):
        await store.read([("first", 4)])
    await store.close()


@pytest.mark.parametrize("seed", range(4))
async def test_any_flipped_bit_is_noticed_or_changes_nothing(tmp_path: Path, seed: int) -> None:
    """Rows short and long, in both tables, some changed and some deleted."""
    random = Random(seed)
    path = tmp_path / "shard.db"
    store = await opened(lambda: SqliteShard(path, STAMP))
    rows = [
        Change(table, 7 * key, random.randbytes(random.choice((4, 60, 9_000))))
        for table in ("first", "second")
        for key in range(40)
    ]
    await store.write(rows)
    await store.write([Change("first", 7, b"anew"), *(Change("second", 7 * key, None) for key in range(20, 30))])
    whole = await contents(store)
    await store.close()
    spoil(path, "VACUUM")
    data, refused = path.read_bytes(), 0
    for _ in range(FLIPS):
        flipped = bytearray(data)
        flipped[random.randrange(len(data))] ^= 1 << random.randrange(8)
        path.write_bytes(flipped)
        try:
            store = await opened(lambda: SqliteShard(path, STAMP))
            try:
                assert await contents(store) == whole
            finally:
                await store.close()
        except StorageFailed:
            refused += 1
    assert refused > 0.5 * FLIPS


async def test_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    """A checkpoint is written as a whole."""
    store = SqliteShard(tmp_path / "shard.db", STAMP)
    await store.open(TABLES)
    await store.write([Change("first", 1, b"one")])

    def limit(connection: sqlite3.Connection) -> None:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages + 1}")

    await store._file.run(limit)
    with pytest.raises(StorageFailed, match="full"):
        await store.write([Change("first", 1, b"uno"), *(Change("first", key, b"z" * 9_000) for key in range(2, 90))])
    assert await store.load("first") == [(1, b"one")]
    await store.close()


async def test_a_file_of_another_node_is_refused(tmp_path: Path) -> None:
    """Its balances are not ours."""
    store = await opened(lambda: SqliteShard(tmp_path / "shard.db", "test node 2"))
    await store.close()
    with pytest.raises(StorageFailed, match=r"shard\.db: belongs to test node 2"):
        await opened(lambda: SqliteShard(tmp_path / "shard.db", STAMP))


async def test_a_sequence_is_lengthened_not_replaced(reopen: Open) -> None:
    """Numbered rows that the receiver has are neither sent nor lost; the other tables are replaced."""
    sender, receiver = MemoryShard(Disk(), 1), reopen()
    for store, count in ((sender, 9), (receiver, 4)):
        await store.open(TABLES, ("second",))
        await store.write([Change("second", key, bytes([key])) for key in range(count)])
    await sender.write([Change("first", 1, b"new")])
    await receiver.write([Change("first", 2, b"old")])
    assert (await sender.archived(), await receiver.archived()) == (9, 4)
    rows = await sender.export(None, 1 << 20, await receiver.archived())
    assert [(table, key) for table, key, _ in rows] == [("first", 1), *(("second", key) for key in range(4, 9))]
    await receiver.begin_import()
    await receiver.add_import(rows)
    await receiver.finish_import()
    assert await contents(receiver) == {"first": {1: b"new"}, "second": {key: bytes([key]) for key in range(9)}}
    await receiver.close()
