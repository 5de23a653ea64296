"""The second copy of what a node has promised: a file of its own, so that it does not share the fate of the log.

Two slots a group, each with a checksum and the number of the drain that wrote it; a write takes the slot that does not count, so
that a torn one leaves the other. The file is as long as it will ever be from the start: a full disk cannot fail a later write.
It is written behind the log, on the log's thread, and only then is anything told: so a promise is never of what the log does not
have yet. Where the file system can, it goes past the page cache, which halves the wait; a thread of its own would cost more than
the wait that it saves.
"""

from __future__ import annotations

import errno
import mmap
import os
import struct
from collections.abc import Mapping
from operator import itemgetter
from pathlib import Path
from zlib import crc32

from node.adapters.sqlite import refused_by_system
from node.core.raft import LogEnd, NodeId, Promise
from node.ports import LogWrite

GROUPS_MAX = 4_096  # the file takes half a megabyte; a log's key must also fit 63 bits
SLOT = struct.Struct("<QQQQQQQII")  # drain, term, written, index, entry term, lost term, lost index, vote, checksum
BLOCK_BYTES = 4_096  # what a disk may tear as one; writes past the page cache come in whole ones
HALF_BYTES = GROUPS_MAX * SLOT.size
FILE_BYTES = 2 * HALF_BYTES


def promise_after(before: Promise, write: LogWrite) -> Promise:
    """What the group has promised once a write is durable."""
    before = write.promise or before
    term, vote = (write.hard_state.term, write.hard_state.vote) if write.hard_state else (before.term, before.vote)
    if write.entries:
        last = write.entries[-1]
        return Promise(term, vote, term, last.index, last.term, write.lost)
    if write.restart and write.cut is not None:
        return Promise(term, vote, term, write.cut.index, write.cut.term, write.lost)
    return Promise(term, vote, before.written, before.index, before.entry_term, write.lost)


def reach_after(write: LogWrite, term: int, written: int, reach: int) -> int:
    """Where the log ended behind the first write of its last term (`StoredGroup.reach`), with a write of entries or a restart."""
    if write.entries:
        return write.entries[-1].index if term != written or write.restart else reach
    return 0 if write.cut is None else write.cut.index


class PromiseFile:
    """One file, all groups."""

    def __init__(self, path: Path, stamp: str) -> None:
        """`stamp` says whose file it is. Slots of another node or another layout count as damaged: then the log's word counts."""
        self._path = path
        self._seed = crc32(stamp.encode())
        self._descriptor = -1
        self._drain = 0
        self._image = mmap.mmap(-1, FILE_BYTES)  # at the start of a page, as the disk wants it
        self._half: dict[int, int] = {}  # where the promise of each group lies that counts

    def exists(self) -> bool:
        """Whether there is a file."""
        return self._path.exists()

    def open(self) -> dict[int, Promise]:
        """All promises that can be read; makes the file where there is none. Raises StorageFailed."""
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
            size = os.fstat(self._descriptor).st_size
            if os.preadv(self._descriptor, [self._image], 0) < min(size, FILE_BYTES):
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            if size < FILE_BYTES:
                self._write(0, FILE_BYTES)
                os.fsync(self._descriptor)
            self._open_past_the_cache()
        except OSError as error:
            raise refused_by_system(self._path, error) from error
        return self._read()

    def _open_past_the_cache(self) -> None:
        """Not every file system can, and some say so only when it is tried."""
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_DIRECT)
        except OSError:
            return
        try:
            os.preadv(descriptor, [mmap.mmap(-1, BLOCK_BYTES)], 0)
        except OSError:
            os.close(descriptor)
            return
        os.close(self._descriptor)
        self._descriptor = descriptor

    def _read(self) -> dict[int, Promise]:
        kept: dict[int, Promise] = {}
        for group in self._used():
            found = [(*slot, half) for half in (0, 1) if (slot := self._slot(group, half))]
            if found:
                drain, kept[group], self._half[group] = max(found, key=itemgetter(0))
                self._drain = max(self._drain, drain)
        return kept

    def _used(self) -> list[int]:
        """The groups of which anything has been written: most of the file is blank for ever, and a start must not take its time."""
        first, second = (SLOT.iter_unpack(self._image[_place(0, half) :][:HALF_BYTES]) for half in (0, 1))
        return [group for group, (one, other) in enumerate(zip(first, second, strict=True)) if one[0] or other[0]]

    def _slot(self, group: int, half: int) -> tuple[int, Promise] | None:
        place = _place(group, half)
        *_, checksum = row = SLOT.unpack_from(self._image, place)
        drain, term, written, index, entry_term, lost_term, lost_index, vote, _ = row
        if not drain or checksum != self._checksum(group, place):
            return None
        lost = LogEnd(lost_term, lost_index) if lost_term else None
        return drain, Promise(term, NodeId(vote), written, index, entry_term, lost)

    def _checksum(self, group: int, place: int) -> int:
        return crc32(self._image[place : place + SLOT.size - 4], self._seed ^ group)

    def write(self, promises: Mapping[int, Promise]) -> None:
        """Returns when they are on disk. Raises StorageFailed."""
        self._drain += 1
        blocks = {self._pack(group, promise) // BLOCK_BYTES * BLOCK_BYTES for group, promise in promises.items()}
        try:
            self._save(sorted(blocks))
        except OSError as error:
            raise refused_by_system(self._path, error) from error

    def _pack(self, group: int, promise: Promise) -> int:
        """Into the slot that does not count: where it lies."""
        half = self._half[group] = 1 - self._half.get(group, 1)
        place = _place(group, half)
        lost = promise.lost or LogEnd()
        numbers = (promise.written, promise.index, promise.entry_term, lost.term, lost.index, promise.vote)
        SLOT.pack_into(self._image, place, self._drain, promise.term, *numbers, 0)
        struct.pack_into("<I", self._image, place + SLOT.size - 4, self._checksum(group, place))
        return place

    def _save(self, blocks: list[int]) -> None:
        """One block waits for the disk as it is written, several together."""
        flags = os.RWF_DSYNC if len(blocks) == 1 else 0
        for first in blocks:
            self._write(first, first + BLOCK_BYTES, flags)
        if len(blocks) > 1:
            os.fdatasync(self._descriptor)

    def _write(self, first: int, end: int, flags: int = 0) -> None:
        """All of it: a disk that is nearly full takes a part, and says why only at the next try."""
        with memoryview(self._image) as image:
            while first < end:
                first += os.pwritev(self._descriptor, [image[first:end]], first, flags)

    def close(self) -> None:
        """Releases the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _place(group: int, half: int) -> int:
    return half * HALF_BYTES + group * SLOT.size
