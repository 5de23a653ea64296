"""The file of promises: what is written is on disk, what is torn leaves the other slot, and a full or odd disk is an error."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from node.adapters import promises
from node.adapters.promises import BLOCK_BYTES, FILE_BYTES, SLOT, PromiseFile, _place
from node.core.raft import Promise
from node.ports import StorageFailed

STAMP = "test node 2"


def test_the_file_is_as_long_as_it_ever_will_be(tmp_path: Path) -> None:
    """So that a later write needs no space: a full disk is noticed when the file is made."""
    file = PromiseFile(tmp_path / "log.promises", STAMP)
    file.open()
    status = os.stat(tmp_path / "log.promises")
    assert status.st_size == FILE_BYTES and status.st_blocks * 512 >= FILE_BYTES
    file.close()


@pytest.mark.parametrize("call", ["pwritev", "fdatasync"])
def test_a_write_that_fails_is_an_error(tmp_path: Path, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never a signal, never silence."""
    file = PromiseFile(tmp_path / "log.promises", STAMP)
    file.open()

    def fail(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(promises.os, call, fail)  # type: ignore[attr-defined]  # the module that it imports
    with pytest.raises(StorageFailed, match="No space left"):
        file.write({1: Promise(1), 1 + BLOCK_BYTES // SLOT.size: Promise(1)})  # in two blocks
    monkeypatch.undo()
    file.close()


def test_a_full_disk_at_the_first_start_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that was made in part is made whole by the next start."""
    honest = os.pwritev

    def half(descriptor: int, data: Sequence[bytes], offset: int, flags: int) -> int:
        if offset:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return honest(descriptor, [data[0][: len(data[0]) // 2]], offset, flags)

    monkeypatch.setattr(os, "pwritev", half)
    file = PromiseFile(tmp_path / "log.promises", STAMP)
    with pytest.raises(StorageFailed, match="No space left"):
        file.open()
    file.close()
    monkeypatch.undo()
    file = PromiseFile(tmp_path / "log.promises", STAMP)
    assert file.open() == {}
    file.write({1: Promise(3)})
    file.close()
    again = PromiseFile(tmp_path / "log.promises", STAMP)
    assert again.open() == {1: Promise(3)}
    again.close()


def test_another_nodes_file_says_nothing(tmp_path: Path) -> None:
    """Its slots count as damaged."""
    file = PromiseFile(tmp_path / "log.promises", "test node 1")
    file.open()
    file.write({1: Promise(7)})
    file.close()
    other = PromiseFile(tmp_path / "log.promises", STAMP)
    assert other.open() == {}
    other.close()


def test_a_torn_write_leaves_the_promise_of_before(tmp_path: Path) -> None:
    """It takes the other slot; and another group's slot says nothing."""
    file = PromiseFile(tmp_path / "log.promises", STAMP)
    file.open()
    for term in (1, 2, 3):
        file.write({1: Promise(term)})
    file.close()
    whole = (tmp_path / "log.promises").read_bytes()
    terms = set()
    places, other_places = [[_place(group, half) for half in (0, 1)] for group in (1, 2)]
    for place in places:
        torn = bytearray(whole)
        torn[place + 9] ^= 1
        (tmp_path / "log.promises").write_bytes(torn)
        kept = PromiseFile(tmp_path / "log.promises", STAMP)
        terms.add(kept.open()[1].term)
        kept.close()
    assert terms == {2, 3}
    moved = bytearray(whole)
    for place, other in zip(places, other_places, strict=True):
        moved[other : other + SLOT.size] = whole[place : place + SLOT.size]
    (tmp_path / "log.promises").write_bytes(moved)
    kept = PromiseFile(tmp_path / "log.promises", STAMP)
    assert kept.open() == {1: Promise(3)}
    kept.close()


@pytest.mark.parametrize("groups", [1, 200])
def test_a_write_is_on_disk_when_it_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, groups: int) -> None:
    """One block waits as it is written; behind several, the disk is waited for once. A new file is on disk before it is used."""
    honest, calls = os.pwritev, list[str]()

    def write(descriptor: int, data: Sequence[bytes], offset: int, flags: int) -> int:
        calls.append("durable write" if flags & os.RWF_DSYNC else "write")
        return honest(descriptor, data, offset, flags)

    monkeypatch.setattr(os, "pwritev", write)
    monkeypatch.setattr(os, "fdatasync", lambda _: calls.append("sync"))
    monkeypatch.setattr(os, "fsync", lambda _: calls.append("whole sync"))
    file = PromiseFile(tmp_path / "log.promises", STAMP)
    file.open()
    assert calls == ["write", "whole sync"]
    calls.clear()
    file.write({group: Promise(1) for group in range(1, groups + 1)})
    file.close()
    assert calls == (["durable write"] if groups == 1 else [*["write"] * (len(calls) - 1), "sync"])


def test_a_file_system_that_refuses_direct_reads_only_when_they_are_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writes go through the page cache there."""
    honest = os.preadv

    def read(descriptor: int, data: Sequence[bytes], offset: int) -> int:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return honest(descriptor, data, offset)

    monkeypatch.setattr(os, "preadv", read)
    file = PromiseFile(tmp_path / "log.promises", STAMP)
    file.open()
    assert not fcntl.fcntl(file._descriptor, fcntl.F_GETFL) & os.O_DIRECT
    file.write({1: Promise(3)})
    file.close()


def test_a_file_that_cannot_be_read_to_its_end_is_no_short_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else blanks would be written over what was promised."""
    file = PromiseFile(tmp_path / "log.promises", STAMP)
    file.open()
    file.close()
    monkeypatch.setattr(os, "preadv", lambda *_: FILE_BYTES // 2)
    with pytest.raises(StorageFailed, match="Input/output error"):
        file.open()
    file.close()


@pytest.mark.parametrize("groups", [1, 200])
def test_promises_are_kept_with_and_without_the_page_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, groups: int
) -> None:
    """A file system that cannot go past it is slower, and the file is the same."""
    promised, refused = {group: Promise(group) for group in range(1, groups + 1)}, []
    honest = os.open

    def refuse(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_DIRECT:
            refused.append(path)
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return honest(path, flags, mode)

    for opened in (refuse, honest, honest):
        monkeypatch.setattr(os, "open", opened)
        file = PromiseFile(tmp_path / "log.promises", STAMP)
        assert file.open() == ({} if opened is refuse else promised)
        is_direct = bool(fcntl.fcntl(file._descriptor, fcntl.F_GETFL) & os.O_DIRECT)
        assert is_direct == (opened is honest and has_direct_writes(tmp_path))
        file.write(promised)
        file.close()
    assert refused == [tmp_path / "log.promises"]


def has_direct_writes(folder: Path) -> bool:
    """Whether this machine's file system can go past the page cache."""
    try:
        descriptor = os.open(folder / "direct", os.O_RDWR | os.O_CREAT | os.O_DIRECT)
    except OSError:
        return False
    os.close(descriptor)
    return True
