"""One bit flips anywhere in a node's log: what it has promised is known, or it is refused with a sentence."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path
from random import Random

import pytest

from node.adapters.sqlite_log import SqliteLog
from node.core.raft import HardState, LogCut, LogEnd, Restored, StoredGroup, restore_log
from node.ports import Damaged, LogWrite, StorageFailed
from tests.adapters.test_promises import ME, MEMBERS, STAMP, THREE, write
from tests.core.raft.entries import chain

FLIPS = 60
ENTRIES = chain(1, 12, term=70_000)
STATE = HardState(70_000, THREE, 11)


async def read(folder: Path) -> StoredGroup:
    """What the log says of group 1."""
    log = SqliteLog(folder, STAMP)
    try:
        return (await log.open()).get(1, StoredGroup())
    finally:
        await log.close()


async def made(folder: Path) -> Path:
    """A log of three groups, closed, so that all of it is in one file, without free pages, whose bits are nobody's."""
    await write(folder, [LogWrite(group, STATE, ENTRIES) for group in (1, 2, 3)])
    change(folder, "VACUUM")
    return folder


def flipped(folder: Path, target: Path, random: Random) -> Path:
    """A copy in which one bit that is somebody's differs."""
    shutil.copytree(folder, target)
    data = bytearray((target / "log.db").read_bytes())
    while not data[place := random.randrange(len(data))]:
        pass  # most of the file is blank
    data[place] ^= 1 << random.randrange(8)
    (target / "log.db").write_bytes(data)
    return target


def change(folder: Path, statement: str) -> None:
    """A row becomes another one."""
    connection = sqlite3.connect(folder / "log.db", isolation_level=None)
    connection.execute(statement)
    connection.close()


def is_kept(restored: Restored) -> bool:
    """Whether nobody gets a second vote in a term, and a missing entry is known to be missing."""
    state = restored.hard_state
    is_whole = list(restored.entries) == ENTRIES
    is_shorter = list(restored.entries) == ENTRIES[: len(restored.entries)] and restored.lost == LogEnd(70_000, 12)
    voted = state.term == STATE.term and state.vote in (THREE, ME)
    return voted and (is_whole or is_shorter)


@pytest.mark.parametrize("seed", range(4))
async def test_what_was_promised_outlasts_any_bit_of_the_log(tmp_path: Path, seed: int) -> None:
    """SQLite reads most flipped bits without an error: other numbers, texts, nulls, rows of other groups."""
    random, whole = Random(seed), await made(tmp_path / "whole")
    refused = 0
    for number in range(FLIPS):
        folder = flipped(whole, tmp_path / str(number), random)
        try:
            assert is_kept(restore_log(await read(folder), None, MEMBERS, ME))
        except StorageFailed:
            refused += 1
        shutil.rmtree(folder)
    assert refused < 0.9 * FLIPS  # its own checks of pages and keys find many


@pytest.mark.parametrize("seed", range(2))
async def test_without_promises_the_log_tells_its_own_or_is_mute(tmp_path: Path, seed: int) -> None:
    """A damaged hard state is never taken for one."""
    random, whole = Random(seed), await made(tmp_path / "whole")
    (whole / "log.promises").unlink()
    refused = 0
    for number in range(FLIPS):
        folder = flipped(whole, tmp_path / str(number), random)
        try:
            stored = await read(folder)
            assert (
                stored.is_mute or stored == StoredGroup() or (stored.hard_state, stored.written) == (STATE, STATE.term)
            )
        except StorageFailed:
            refused += 1
        shutil.rmtree(folder)
    assert refused < 0.9 * FLIPS  # its own checks of pages and keys find many


async def test_a_damaged_hard_state_without_promises_is_mute(tmp_path: Path) -> None:
    """Nobody knows what was voted: the node is not to start on that."""
    await made(tmp_path / "it")
    change(tmp_path / "it", "UPDATE hard_state SET vote = 1 WHERE number = 1")
    assert not (await read(tmp_path / "it")).is_mute
    (tmp_path / "it" / "log.promises").unlink()
    assert (await read(tmp_path / "it")).is_mute


async def test_a_damaged_cut_counts_as_none(tmp_path: Path) -> None:
    """The checkpoint says where the log begins."""
    await write(tmp_path / "it", [LogWrite(1, STATE, (), LogCut(12, 70_000, 4711), restart=True)])
    change(tmp_path / "it", "UPDATE cut SET position = 13")
    assert (await read(tmp_path / "it")).cut == LogCut(0, 0, 0)


@pytest.mark.parametrize("table", ["entry", "hard_state"])
async def test_a_key_out_of_order_is_refused(tmp_path: Path, table: str) -> None:
    """SQLite would not find what is written behind it, or keep two rows of one group."""
    folder = await made(tmp_path / "it")
    key = {"entry": (1 << 48) + 7, "hard_state": 2}[table]
    varint = [key & 127]
    while key := key >> 7:
        varint.insert(0, key & 127 | 128)
    data = bytearray((folder / "log.db").read_bytes())
    places = [at for at in range(len(data)) if data.startswith(bytes(varint), at)]
    refused = 0
    for at in places:
        changed = data.copy()
        changed[at + len(varint) - 1] ^= 64
        (folder / "log.db").write_bytes(changed)
        try:
            await read(folder)
        except Damaged as error:
            refused += "out of order" in str(error)
        except StorageFailed:
            pass
    assert refused


VALUES = {"another term": "term = term + 16777216", "a text": "term = 'x'", "no vote": "vote = NULL",
          "no commit index": "commit_index = NULL", "no last write": "written = NULL", "another group's": "number = 43"}  # fmt: skip


async def restored_after(folder: Path, statement: str) -> Restored:
    """What a start finds where the statement has changed one row."""
    change(await made(folder), statement)
    return restore_log(await read(folder), None, MEMBERS, ME)


@pytest.mark.parametrize("name", VALUES)
async def test_a_damaged_hard_state_is_what_was_promised(tmp_path: Path, name: str) -> None:
    """Its vote is this node's own: who has voted for itself votes for nobody else."""
    restored = await restored_after(tmp_path / "it", f"UPDATE hard_state SET {VALUES[name]} WHERE number = 1")
    assert restored.hard_state == HardState(STATE.term, ME, 0)
    assert (list(restored.entries), restored.lost) == (ENTRIES, None)


@pytest.mark.parametrize("column", ["term", "kind", "checksum", "data"])
async def test_a_damaged_entry_breaks_the_log_there(tmp_path: Path, column: str) -> None:
    """Whatever it has become."""
    restored = await restored_after(tmp_path / "it", f"UPDATE entry SET {column} = 'x' WHERE key = (1 << 48) + 7")
    assert (list(restored.entries), restored.lost) == (ENTRIES[:6], LogEnd(70_000, 12))
