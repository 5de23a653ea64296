"""What tells a copy of a data folder from the folder itself, and how it is kept."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from node.adapters.folder import DataFolder
from node.adapters.memory import Disk, MemoryFolder, MemoryLog, MemoryStarts
from node.adapters.starts import FILES, TAIL, PeerFile, StartFile
from node.ports import Start, StorageFailed


def book_of(folder: Path) -> StartFile:
    """As a node's process opens it."""
    return StartFile(folder, DataFolder(folder, {"cluster": "demo", "node": 1}, "127.0.0.1:7101"))


async def start(folder: Path) -> Start:
    """One start of a node: the log's files are there once it has begun."""
    book = book_of(folder)
    begun = await book.begin()
    for name in (*FILES, TAIL):
        (folder / name).touch()
    await book.record(begun.reason, begun.is_old)
    return begun


async def test_every_start_has_a_number_and_knows_those_before(tmp_path: Path) -> None:
    """Peers remember the last one; a folder that lacks it is older than that."""
    first, second, third = [await start(tmp_path) for _ in range(3)]
    assert first.earlier == frozenset() and second.earlier == frozenset({first.number})
    assert third.earlier == frozenset({first.number, second.number}) and not third.reason
    assert len({first.number, second.number, third.number}) == 3


def remove(*names: str) -> Callable[[Path], None]:
    """Deletes these files."""

    def do(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return do


def flip(folder: Path) -> None:
    """One bit."""
    data = bytearray((folder / "starts.json").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "starts.json").write_bytes(bytes(data))


def copy(folder: Path) -> None:
    """Every file is put back from a copy, with the same content."""
    for name in FILES:
        shutil.copy(folder / name, folder / "copy")
        (folder / "copy").replace(folder / name)


def remove_all_but_a_shard(folder: Path) -> None:
    """Only a checkpoint tells that there was something."""
    remove(*FILES, "starts.json")(folder)
    (folder / "shard-0001.db").touch()


HARMS: dict[str, tuple[Callable[[Path], None], str, bool]] = {
    "nothing": (lambda folder: None, "", False),
    "one copy of the log is gone: the other one knows": (remove("log.db"), "", False),
    "so does this one": (remove("log.promises"), "", False),
    "both are gone": (remove(*FILES), "log.db and log.promises are gone", True),
    "all is gone but a checkpoint": (remove_all_but_a_shard, "log.db, log.promises and starts.json are gone", True),
    "the folder was copied": (copy, "was copied", False),
    "starts.json is damaged": (flip, "starts.json is damaged", False),
    "starts.json is gone": (remove("starts.json"), "starts.json is gone", False),
}


@pytest.mark.parametrize("name", HARMS)
async def test_a_folder_that_may_be_an_old_one_is_doubted(tmp_path: Path, name: str) -> None:
    """And the doubt lasts over starts until it is settled."""
    harm, reason, is_old = HARMS[name]
    await start(tmp_path)
    harm(tmp_path)
    for _ in range(2):
        begun = await start(tmp_path)
        assert reason in begun.reason and bool(reason) == bool(begun.reason) and begun.is_old == is_old
        assert begun.is_copy == (name == "the folder was copied")
    await book_of(tmp_path).begin()  # dies before it has opened the log
    book = book_of(tmp_path)
    assert bool((await book.begin()).reason) == bool(reason)
    await book.record("", False)
    assert not (await start(tmp_path)).reason


async def test_a_first_start_that_was_cut_short_leaves_no_doubt(tmp_path: Path) -> None:
    """Before the log was made, and behind that."""
    await book_of(tmp_path).begin()
    assert not (await book_of(tmp_path).begin()).reason
    for name in FILES:
        (tmp_path / name).touch()
    assert not (await start(tmp_path)).reason


async def test_a_start_that_wrote_nothing_leaves_no_doubt() -> None:
    """Also in memory the log's files are there once it was opened, as those of a new folder that waits to be admitted."""
    disk, folder = Disk(), MemoryFolder(1)
    for number in (1, 2):
        book = MemoryStarts(disk, folder, number)
        assert not (await book.begin()).reason
        await MemoryLog(disk).open()
        await book.record("", False)
    disk.has_log = disk.has_promises = False
    assert (await MemoryStarts(disk, folder, 3).begin()).is_old


async def test_a_forgotten_start_is_known_from_then_on(tmp_path: Path) -> None:
    """It was found out once, and is settled."""
    book = book_of(tmp_path)
    await book.begin()
    await book.record("an older folder", True, [4711])
    assert 4711 in ((await book_of(tmp_path).begin()).earlier or ())


async def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """Nobody hears of a start that is not stored."""
    with pytest.raises(StorageFailed, match="starts"):
        await StartFile(tmp_path / "nowhere", MemoryFolder(1)).begin()


async def test_what_is_remembered_of_peers_is_read_back(tmp_path: Path) -> None:
    """The last save counts."""
    memory = PeerFile(tmp_path)
    assert memory.load() == []
    await memory.save([[0, 2, 55, 1, 0]])
    assert PeerFile(tmp_path).load() == [[0, 2, 55, 1, 0]]
    await memory.save([[0, 2, 55, 3, 1]])
    assert PeerFile(tmp_path).load() == [[0, 2, 55, 3, 1]]


async def test_a_damaged_memory_is_forgotten(tmp_path: Path) -> None:
    """The node is a poorer witness, and nobody is harmed."""
    await PeerFile(tmp_path).save([[0, 2, 55, 1, 0]])
    path = tmp_path / "remembered.json"
    path.write_text(path.read_text().replace("55", "56"))
    assert PeerFile(tmp_path).load() == []
