"""Any files of a data folder are gone: the start is new, sound, in doubt or refused, and never sound without the end of its log."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from node.adapters.folder import DataFolder
from node.adapters.starts import StartFile
from node.ports import Damaged

FILES = (
    "node.json", "starts.json", "log.db", "log.db-wal", "log.promises", "shard-0001.db", "remembered.json", "members.json",
)  # fmt: skip
OWNER = {"cluster": "demo", "node": 1}


def open_folder(folder: Path) -> DataFolder:
    """As a start does."""
    return DataFolder(folder, OWNER, "127.0.0.1:7101")


async def fill(folder: Path) -> None:
    """What a node leaves that belonged to a cluster and was killed."""
    identity = open_folder(folder)
    identity.remember([])
    identity.admit(7, is_replacement=False)
    book = StartFile(folder, identity)
    await book.begin()
    for name in FILES:
        (folder / name).touch()
    await book.record("", False)


def expected(left: tuple[str, ...]) -> str:
    """What a start on these files must be."""
    if not left:
        return "new"
    if "node.json" not in left:
        return "refused"
    if "log.promises" not in left and not {"log.db", "log.db-wal"} <= set(left):
        return "old"
    return "sound" if "starts.json" in left else "in doubt"


async def begin(folder: Path) -> str:
    """What it is."""
    try:
        identity = open_folder(folder)
    except Damaged:
        return "refused"
    start = await StartFile(folder, identity).begin()
    if identity.is_new:
        assert not start.reason and start.earlier == frozenset()
        return "new"
    assert bool(start.reason) or start.earlier
    return "old" if start.is_old else "in doubt" if start.reason else "sound"


async def test_each_start_on_what_is_left_of_a_folder(tmp_path: Path) -> None:
    """Whatever the combination; and a second start, behind one that died at once, says the same."""
    kept = tmp_path / "kept"
    kept.mkdir()
    await fill(kept)
    for number, is_there in enumerate(product((True, False), repeat=len(FILES))):
        left = tuple(name for name, there in zip(FILES, is_there, strict=True) if there)
        folder = tmp_path / str(number)
        folder.mkdir()
        for name in left:
            (folder / name).hardlink_to(kept / name)
        first = await begin(folder)
        assert first == expected(left), left
        assert await begin(folder) == ("sound" if first == "new" else first), left


async def test_a_folder_that_belongs_to_no_cluster_yet_has_acknowledged_no_payment(tmp_path: Path) -> None:
    """A first start that was cut short behind node.json is in doubt until all have met, as at every founding, and not lost."""
    open_folder(tmp_path)
    start = await StartFile(tmp_path, open_folder(tmp_path)).begin()
    assert start.reason == "starts.json is gone" and not start.is_old


@pytest.mark.parametrize("content", [b"", b"{"])
async def test_a_damaged_book_hides_no_lost_log(tmp_path: Path, content: bytes) -> None:
    """It cannot say that there was one, and the folder's identity can."""
    await fill(tmp_path)
    (tmp_path / "starts.json").write_bytes(content)
    for name in ("log.db", "log.db-wal", "log.promises"):
        (tmp_path / name).unlink()
    start = await StartFile(tmp_path, open_folder(tmp_path)).begin()
    assert start.is_old and start.reason == "log.db and log.promises are gone"
