"""The second copy of what was promised: what one file forgets, the other knows, and a crash between the two harms nobody."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from node.actors.restoring import corrections
from node.adapters.promises import SLOT, PromiseFile, _place
from node.adapters.sqlite_log import SqliteLog
from node.core.raft import (
    HardState,
    LogCut,
    LogEnd,
    Membership,
    NodeId,
    Promise,
    Restored,
    SnapshotMeta,
    restore_log,
)
from node.ports import LogWrite, StorageFailed
from tests.core.raft.entries import chain

STAMP = "test node 2"
ME, ONE, THREE = NodeId(2), NodeId(1), NodeId(3)
MEMBERS = Membership(voters=(ONE, ME, THREE))


async def write(folder: Path, *drains: Sequence[LogWrite]) -> None:
    """One life of a node: each list is one drain, then a graceful stop, which merges the write-ahead log."""
    folder.mkdir(exist_ok=True)
    log = SqliteLog(folder, STAMP)
    await log.open()
    for drain in drains:
        await log.write(drain)
    await log.close()


async def killed(folder: Path, target: Path, *drains: Sequence[LogWrite]) -> Path:
    """What the disk holds when the process dies behind the last drain."""
    log = SqliteLog(folder, STAMP)
    await log.open()
    for drain in drains:
        await log.write(drain)
    shutil.copytree(folder, target)
    await log.close()
    return target


async def start(folder: Path, checkpoint: SnapshotMeta | None = None) -> Restored:
    """What a node does before its replica runs."""
    log = SqliteLog(folder, STAMP)
    try:
        stored = (await log.open())[1]
        restored = restore_log(stored, checkpoint, MEMBERS, ME)
        for write in corrections(1, stored, restored):
            await log.write([write])
    finally:
        await log.close()
    return restored


def remove(name: str) -> Callable[[Path], None]:
    """Deletes files that begin so."""

    def do(folder: Path) -> None:
        for path in folder.glob(f"{name}*"):
            path.unlink()

    return do


def flip_in_first_frame(folder: Path) -> None:
    """One bit in the write-ahead log: SQLite drops the frame and all behind it, in silence."""
    path = folder / "log.db-wal"
    data = bytearray(path.read_bytes())
    data[32 + 24 + 100] ^= 1
    path.write_bytes(bytes(data))


def break_entry(folder: Path, index: int) -> None:
    """One stored entry is another one."""
    with sqlite3.connect(folder / "log.db") as connection:
        connection.execute("UPDATE entry SET data = x'79' WHERE key = ?", ((1 << 48) + index,))
    connection.close()


LOSSES = {"deleted": remove("log.db-wal"), "flipped bit": flip_in_first_frame}


@pytest.mark.parametrize("name", LOSSES)
async def test_a_lost_write_ahead_log_lets_nobody_vote_twice(tmp_path: Path, name: str) -> None:
    """The vote was answered; the log has forgotten it, and the term too."""
    await write(tmp_path / "a", [LogWrite(1, HardState(4), chain(1, 5, term=4))])
    disk = await killed(tmp_path / "a", tmp_path / "b", [LogWrite(1, HardState(5, ONE))])
    LOSSES[name](disk)
    restored = await start(disk)
    assert (restored.hard_state.term, restored.hard_state.vote, restored.lost) == (5, ME, None)
    assert await start(disk) == restored


@pytest.mark.parametrize("name", LOSSES)
async def test_a_lost_write_ahead_log_is_a_loss(tmp_path: Path, name: str) -> None:
    """Entries were acknowledged; however often the node starts, it knows until it has them back."""
    entries = chain(1, 9)
    await write(tmp_path / "a", [LogWrite(1, HardState(1), entries[:5])])
    disk = await killed(
        tmp_path / "a", tmp_path / "b", [LogWrite(1, None, entries[5:7])], [LogWrite(1, None, entries[7:])]
    )
    LOSSES[name](disk)
    for _ in range(2):
        restored = await start(disk)
        assert (len(restored.entries), restored.lost) == (5, LogEnd(1, 9))
    await write(disk, [LogWrite(1, None, entries[5:7], lost=LogEnd(1, 9))])
    assert (await start(disk)).lost == LogEnd(1, 9)
    await write(disk, [LogWrite(1, None, entries[7:])])
    assert (await start(disk)).lost is None


async def test_a_lost_log_is_a_loss(tmp_path: Path) -> None:
    """The database is gone with its write-ahead log: term, vote and what was acknowledged are known all the same."""
    await write(tmp_path, [LogWrite(1, HardState(4, THREE), chain(1, 5))])
    remove("log.db")(tmp_path)
    restored = await start(tmp_path)
    assert (restored.hard_state.term, restored.hard_state.vote, restored.lost) == (4, ME, LogEnd(1, 5))


async def test_lost_promises_are_made_anew_from_the_log(tmp_path: Path) -> None:
    """The replica has lost nothing; and a loss of the log after that is noticed again."""
    await write(tmp_path, [LogWrite(1, HardState(4, THREE), chain(1, 5))])
    remove("log.promises")(tmp_path)
    restored = await start(tmp_path)
    assert (len(restored.entries), restored.hard_state.vote, restored.lost) == (5, THREE, None)
    remove("log.db")(tmp_path)
    assert (await start(tmp_path)).lost == LogEnd(1, 5)


@pytest.mark.parametrize("bit", [0, 77, 8 * SLOT.size - 1])
async def test_a_flipped_bit_in_a_promise_removes_nobody(tmp_path: Path, bit: int) -> None:
    """In either slot: the other one and the log are there."""
    for place in [_place(1, half) for half in (0, 1)]:
        folder = tmp_path / str(place)
        await write(folder, [LogWrite(1, HardState(4, THREE), chain(1, 4))], [LogWrite(1, None, chain(1, 5)[4:])])
        data = bytearray((folder / "log.promises").read_bytes())
        data[place + bit // 8] ^= 1 << bit % 8
        (folder / "log.promises").write_bytes(bytes(data))
        restored = await start(folder)
        assert (len(restored.entries), restored.hard_state, restored.lost) == (5, HardState(4, THREE), None)
        remove("log.db")(folder)
        assert (await start(folder)).lost == LogEnd(1, 5), "it was not written again"


async def test_a_promise_page_that_is_older_than_the_log_does_no_harm(tmp_path: Path) -> None:
    """A leader has replaced the end of the log; the promise of that did not come to the disk."""
    entries = chain(1, 10)
    await write(tmp_path, [LogWrite(1, HardState(1), entries)])
    old = (tmp_path / "log.promises").read_bytes()
    await write(tmp_path, [LogWrite(1, HardState(2), chain(4, 1, 2, entries[2].checksum))])
    (tmp_path / "log.promises").write_bytes(old)
    restored = await start(tmp_path)
    assert (len(restored.entries), restored.lost) == (4, None)


async def test_a_crash_between_log_and_promise_harms_nobody(tmp_path: Path) -> None:
    """Nor does the next write, or a second start: nobody has been told."""
    entries = chain(1, 9)
    await write(tmp_path, [LogWrite(1, HardState(1), entries[:5])])
    promised = (tmp_path / "log.promises").read_bytes()
    await write(tmp_path, [LogWrite(1, None, entries[5:6])])
    (tmp_path / "log.promises").write_bytes(promised)
    for length in (6, 7, 8):
        restored = await start(tmp_path)
        assert (len(restored.entries), restored.lost) == (length, None)
        await write(tmp_path, [LogWrite(1, None, entries[length : length + 1])])
    remove("log.db")(tmp_path)
    assert (await start(tmp_path)).lost == LogEnd(1, 9)


@pytest.mark.parametrize("promises", [0, 1])
async def test_a_crash_while_a_start_mends_its_disk_forgets_no_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, promises: int
) -> None:
    """The log gives way to the checkpoint, in a later term than the entries that are lost: only the promise knows of them."""
    entries = chain(1, 9, term=3)
    meta = SnapshotMeta(6, 3, entries[5].checksum, MEMBERS)
    await write(tmp_path / "a", [LogWrite(1, HardState(3, ONE), entries[:4])])
    told = [LogWrite(1, None, entries[4:])], [LogWrite(1, HardState(5, THREE))]
    disk = await killed(tmp_path / "a", tmp_path / "b", *told)
    remove("log.db-wal")(disk)
    honest = PromiseFile.write

    def write_some(file: PromiseFile, written: Mapping[int, Promise]) -> None:
        nonlocal promises
        if not promises:
            raise StorageFailed("power")
        promises -= 1
        honest(file, written)

    with monkeypatch.context() as patch:
        patch.setattr(PromiseFile, "write", write_some)
        with pytest.raises(StorageFailed, match="power"):
            await start(disk, meta)
    for _ in range(2):
        restored = await start(disk, meta)
        assert (restored.lost, restored.hard_state.term, restored.hard_state.vote) == (LogEnd(3, 9), 5, ME)


async def test_a_candidate_that_dies_before_it_has_promised_notices_a_later_loss(tmp_path: Path) -> None:
    """Its log knows the term, its promise does not; then the leader of that term sends entries, and its log's end is lost."""
    entries = chain(1, 4, term=4)
    await write(tmp_path, [LogWrite(1, HardState(4, ONE), entries)])
    promised = (tmp_path / "log.promises").read_bytes()
    await write(tmp_path, [LogWrite(1, HardState(5, ME))])
    (tmp_path / "log.promises").write_bytes(promised)
    assert (await start(tmp_path)).lost is None
    later = chain(5, 3, 5, entries[3].checksum)
    await write(tmp_path, [LogWrite(1, None, later[:1])])
    disk = await killed(tmp_path, tmp_path / "b", [LogWrite(1, None, later[1:])])
    remove("log.db-wal")(disk)
    assert (await start(disk)).lost == LogEnd(5, 7)


async def test_a_replica_that_recovers_and_dies_before_it_has_promised_notices_a_second_loss(tmp_path: Path) -> None:
    """Its term rises in the log alone; then the leader of that term gives it more than it had lost, and that is lost too."""
    entries = chain(1, 9, term=4)
    await write(tmp_path / "a", [LogWrite(1, HardState(4, ONE), entries[:4])])
    disk = await killed(tmp_path / "a", tmp_path / "b", [LogWrite(1, None, entries[4:])])
    remove("log.db-wal")(disk)
    assert (await start(disk)).lost == LogEnd(4, 9)
    promised = (disk / "log.promises").read_bytes()
    await write(disk, [LogWrite(1, HardState(5, ME), lost=LogEnd(4, 9))])
    (disk / "log.promises").write_bytes(promised)
    assert (await start(disk)).lost == LogEnd(4, 9)
    later = chain(5, 7, 5, entries[3].checksum)
    await write(disk, [LogWrite(1, None, later[:1])])
    last = await killed(disk, tmp_path / "c", [LogWrite(1, None, later[1:])])
    remove("log.db-wal")(last)
    assert (await start(last)).lost == LogEnd(5, 11)


async def test_what_one_drain_says_twice_of_a_group_is_promised_whole(tmp_path: Path) -> None:
    """The vote of the first write and the entries of the second."""
    await write(
        tmp_path, [LogWrite(1, HardState(4, ONE)), LogWrite(1, None, chain(1, 3, term=4)), LogWrite(2, HardState(2))]
    )
    remove("log.db")(tmp_path)
    restored = await start(tmp_path)
    assert (restored.hard_state.term, restored.hard_state.vote, restored.lost) == (4, ME, LogEnd(4, 3))


async def test_nothing_is_promised_before_the_log_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the log's write meets: the promise of before stands, and what was not written is not missed."""
    await write(tmp_path, [LogWrite(1, HardState(1), chain(1, 5))])
    promised = (tmp_path / "log.promises").read_bytes()

    def fail(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    log = SqliteLog(tmp_path, STAMP)
    await log.open()
    monkeypatch.setattr(log, "_write_group", fail)
    for drain in ([LogWrite(1, None, chain(1, 6)[5:])], [LogWrite(1, HardState(2)), LogWrite(2, HardState(1))]):
        with pytest.raises(StorageFailed, match="full"):
            await log.write(drain)
    await log.close()
    assert (tmp_path / "log.promises").read_bytes() == promised
    assert (await start(tmp_path)).lost is None


async def test_a_broken_entry_that_nobody_was_told_of_does_no_harm(tmp_path: Path) -> None:
    """The log was written and its promise not yet; however often the node starts, that entry was never owed."""
    entries = chain(1, 6)
    await write(tmp_path, [LogWrite(1, HardState(1), entries[:4])])
    promised = (tmp_path / "log.promises").read_bytes()
    await write(tmp_path, [LogWrite(1, None, entries[4:])])
    (tmp_path / "log.promises").write_bytes(promised)
    break_entry(tmp_path, 6)
    for _ in range(3):
        restored = await start(tmp_path)
        assert (len(restored.entries), restored.lost) == (5, None)
    break_entry(tmp_path, 5)  # which may have been told since
    assert (await start(tmp_path)).lost == LogEnd(1, 5)


async def test_a_snapshot_shorter_than_a_conflicting_tail_leaves_a_sound_replica(tmp_path: Path) -> None:
    """A deposed leader with an uncommitted tail gets a snapshot below its end."""
    meta = SnapshotMeta(7, 2, 4711, MEMBERS)
    await write(
        tmp_path,
        [LogWrite(1, HardState(1, ONE, 3), chain(1, 10))],
        [LogWrite(1, HardState(2, ONE, 7), (), LogCut(7, 2, 4711), restart=True)],
        [LogWrite(1, None, chain(8, 1, 2, 4711))],
    )
    restored = await start(tmp_path, meta)
    assert (restored.entries[-1].index, restored.lost) == (8, None)


async def test_half_an_installation_is_taken_up_again(tmp_path: Path) -> None:
    """The checkpoint is in, the log has its old tail: what comes behind it is there at the next start but one."""
    meta = SnapshotMeta(7, 2, 4711, MEMBERS)
    await write(tmp_path, [LogWrite(1, HardState(1, ONE, 3), chain(1, 8))])
    restored = await start(tmp_path, meta)
    assert (restored.entries, restored.lost) == ((), None)
    await write(tmp_path, [LogWrite(1, HardState(2, ONE, 7), chain(8, 13, 2, 4711))])
    restored = await start(tmp_path, meta)
    assert (restored.entries[-1].index, restored.lost) == (20, None)


async def test_a_broken_entry_below_the_checkpoint_does_no_harm(tmp_path: Path) -> None:
    """What stands in the checkpoint is not needed from the log."""
    entries = chain(1, 30)
    await write(tmp_path, [LogWrite(1, HardState(1, ONE, 3), entries)])
    break_entry(tmp_path, 10)
    restored = await start(tmp_path, SnapshotMeta(20, 1, entries[19].checksum, MEMBERS))
    assert (restored.entries[-1].index, restored.lost) == (30, None)
