"""The second copy of what a node has promised: a file of its own, so that it does not share the fate of the log.

Two slots a group, each with a checksum and the number of the drain that wrote it; a write takes the slot that does not count, so
that a torn one leaves the other. The file is as long as it will ever be from the start: a full disk cannot fail a later write.
A drain writes it while SQLite writes the log; both are on disk before anything is told, and then the drain's number is noted,
without waiting for the disk. So a promise that the log lacks is told from a write that both of them had only begun.
"""

from __future__ import annotations

import os
import queue
import struct
import threading
from collections.abc import Mapping
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from node.core.raft import LogEnd, NodeId, Promise
from node.ports import LogWrite, StorageFailed

GROUPS_MAX = 4_096  # the file takes half a megabyte; a log's key must also fit 63 bits
SLOT = struct.Struct("<QQQQQQQII")  # drain, term, written, index, entry term, lost term, lost index, vote, checksum
NOTED = struct.Struct("<QI")  # the last drain that was told, and a checksum
BLOCK_BYTES = 4_096  # what a disk may tear as one
HALF_BYTES = GROUPS_MAX * SLOT.size
FILE_BYTES = BLOCK_BYTES + 2 * HALF_BYTES


class Kept(NamedTuple):
    """What is known of a group's promise."""

    newest: Promise
    before: Promise | None  # the one before, where the newest may not have been told


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


class PromiseFile:
    """One file, all groups. `begin` and `finish` make one write; a thread waits for the disk in between."""

    def __init__(self, path: Path, stamp: str) -> None:
        """`stamp` says whose file it is: another one's slots count as damaged."""
        self._path = path
        self._seed = crc32(stamp.encode())
        self._descriptor = -1
        self._drain = 0
        self._image = bytearray(FILE_BYTES)
        self._half: dict[int, int] = {}  # where the promise of each group lies that counts
        self._work: queue.SimpleQueue[list[tuple[int, int]] | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[OSError | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def exists(self) -> bool:
        """Whether there is a file."""
        return self._path.exists()

    def open(self) -> dict[int, Kept]:
        """All promises that can be read; makes the file where there is none. Raises StorageFailed."""
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
            found = os.pread(self._descriptor, FILE_BYTES, 0)
            self._image[: len(found)] = found
            if len(found) < FILE_BYTES:
                _write(self._descriptor, self._image, 0)
                os.fsync(self._descriptor)
        except OSError as error:
            raise StorageFailed(f"{self._path}: {error.strerror}") from error
        self._thread = threading.Thread(target=self._sync, name=f"promises {self._path.name}", daemon=True)
        self._thread.start()
        return self._read()

    def _read(self) -> dict[int, Kept]:
        slots = {group: [self._slot(group, half) for half in (0, 1)] for group in self._used()}
        newest = max((found[0] for pair in slots.values() for found in pair if found), default=0)
        noted, checksum = NOTED.unpack_from(self._image, 0)
        told = max(newest - 1, noted if checksum == crc32(self._image[:8], self._seed) and noted <= newest else 0)
        self._drain = newest
        kept: dict[int, Kept] = {}
        for group, pair in slots.items():
            found = sorted((slot or (0, Promise()) for slot in pair), key=itemgetter(0))
            (drain_before, before), (drain, promise) = found
            if drain:
                self._half[group] = pair.index((drain, promise))
                may_be_untold = drain > told and (drain_before or self._is_blank(group))
                kept[group] = Kept(promise, before if may_be_untold else None)
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

    def _is_blank(self, group: int) -> bool:
        other = _place(group, 1 - self._half[group])
        return not any(self._image[other : other + SLOT.size])

    def void(self, group: int) -> None:
        """The newest promise was never told and counts no more: the next one takes its slot."""
        self._half[group] = 1 - self._half[group]

    def begin(self, promises: Mapping[int, Promise]) -> None:
        """Starts to write; `finish` must follow."""
        self._drain += 1
        places: list[int] = []
        for group, promise in promises.items():
            half = self._half[group] = 1 - self._half.get(group, 1)
            places.append(self._pack(group, half, promise))
        self._work.put(_blocks(places))

    def _pack(self, group: int, half: int, promise: Promise) -> int:
        place = _place(group, half)
        lost = promise.lost or LogEnd()
        numbers = (promise.written, promise.index, promise.entry_term, lost.term, lost.index, promise.vote)
        SLOT.pack_into(self._image, place, self._drain, promise.term, *numbers, 0)
        struct.pack_into("<I", self._image, place + SLOT.size - 4, self._checksum(group, place))
        return place

    def settle(self, promises: Mapping[int, Promise]) -> None:
        """At a start, when the log has been read: writes what counts instead of what was void, and the note. Raises StorageFailed."""
        self.begin(promises)
        self.finish()
        self.note_told()
        self.sync()

    def sync(self) -> None:
        """Makes the note durable. Raises StorageFailed."""
        self._work.put([])
        self.finish()

    def finish(self) -> None:
        """Returns when all of it is on disk. Raises StorageFailed."""
        if (error := self._done.get()) is not None:
            raise StorageFailed(f"{self._path}: {error.strerror}") from error

    def note_told(self) -> None:
        """Both copies are on disk: what the last drain promised may be told from now on. Raises StorageFailed."""
        struct.pack_into("<Q", self._image, 0, self._drain)
        struct.pack_into("<I", self._image, 8, crc32(self._image[:8], self._seed))
        try:
            _write(self._descriptor, self._image[: NOTED.size], 0)
        except OSError as error:
            raise StorageFailed(f"{self._path}: {error.strerror}") from error

    def _sync(self) -> None:
        while (blocks := self._work.get()) is not None:
            try:
                self._save(blocks)
            except OSError as error:
                self._done.put(error)
            else:
                self._done.put(None)

    def _save(self, blocks: list[tuple[int, int]]) -> None:
        """Returns when they are on disk. A block alone does not wait for the note of the drain before; without blocks only that does."""
        is_alone = len(blocks) == 1
        for first, end in blocks:
            _write(self._descriptor, self._image[first:end], first, os.RWF_DSYNC if is_alone else 0)
        if not is_alone:
            os.fdatasync(self._descriptor)

    def close(self) -> None:
        """Ends the thread."""
        if self._thread is not None:
            self._work.put(None)
            self._thread.join()
            self._thread = None
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _write(descriptor: int, data: bytearray, offset: int, flags: int = 0) -> None:
    """All of it: a disk that is nearly full takes a part, and says why only at the next try."""
    written = 0
    while written < len(data):
        written += os.pwritev(descriptor, [data[written:] if written else data], offset + written, flags)


def _place(group: int, half: int) -> int:
    return BLOCK_BYTES + half * HALF_BYTES + group * SLOT.size


def _blocks(places: list[int]) -> list[tuple[int, int]]:
    """First byte and end of each block that holds one of the places."""
    firsts = sorted({place // BLOCK_BYTES * BLOCK_BYTES for place in places})
    return [(first, first + BLOCK_BYTES) for first in firsts]
