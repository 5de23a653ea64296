"""The record of transfers: an open tail, a window of sealed segments, and a directory of all older ones."""

from __future__ import annotations

import zlib
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import msgpack
import numpy as np

from node.core.ledger.batch import Batch
from node.core.ledger.ids import NO_KEYS, Run, intervals_of, key_of, keys_of, merged
from node.core.ledger.limits import (
    CREDIT_LEG,
    NOT_HERE,
    RECENT_MAX,
    SEGMENT_TRANSFERS,
    SMALL_BATCH,
    WINDOW_SEGMENTS,
    Codes,
    Int32s,
    Int64s,
    Keys,
    Marks,
    Positions,
)  # fmt: skip
from node.core.ledger.segment import NO_EXTRA, Columns, Links, Sealed, Segment
from protocol.columns import SEPARATOR
from protocol.status import TRANSFERS_MAX


class History:
    """Appends, finds by id, seals. Everything in it is a function of the log alone, but for `retired`."""

    def __init__(self) -> None:
        self.sealed = 0  # segments so far; the open tail will become segment number `sealed`
        self.chain = 0  # checksum over all sealed segments
        self.starts = [0]  # number of the first row of each sealed segment, and of the tail
        self.window: dict[int, Sealed] = {}
        self.directory: list[list[tuple[int, int]]] = []  # key ranges of segments that have left the window
        self._ranges: tuple[Keys, Keys, Int32s] | None = None  # the same, flattened: lowest, highest, segment
        self._sealed_highest: int | None = None  # the highest key in any sealed segment, once it is asked for
        self.retired: dict[int, Sealed] = {}  # left the window, not surely readable from the store yet
        self.tail = Columns(SEGMENT_TRANSFERS + TRANSFERS_MAX)
        self.recent: dict[bytes, int] = {}
        self.recent_lowest, self.recent_highest = 2**64, -1
        self.runs: list[Run] = []  # sorted keys of the tail, ever smaller
        self.stamped_ns = 0  # the time of the last row

    # -- writing --------------------------------------------------------------------------------------------------

    def append(
        self, batch: Batch, statuses: Codes, chosen: Positions | None, amount: Int64s, now_ns: int,
        credit_legs: Marks | None = None, keys: Keys | None = None,
    ) -> None:  # fmt: skip
        """Records the chosen rows of a batch (all, if None), from `now_ns` on. `keys` are the sorted keys of all, if known."""
        tail = self.tail
        size = batch.count if chosen is None else len(chosen)
        if not size:
            return
        self._make_room(size)
        first, last = tail.count, tail.count + size
        pick: Any = slice(None) if chosen is None else chosen
        tail.ids[first:last] = np.frombuffer(batch.ids, np.uint64).reshape(-1, 2)[pick]
        tail.debit[first:last] = batch.debit_rows()[pick]
        tail.credit[first:last] = batch.credit_rows()[pick]
        tail.amount[first:last] = amount[pick]
        tail.code[first:last] = batch.codes()[pick] if batch.code else 0
        tail.flags[first:last] = batch.flag_bits()[pick] if batch.flags else 0
        tail.status[first:last] = statuses[pick]
        stamp = self._take_stamps(size, now_ns)
        tail.timestamp_ns[first:last] = np.arange(stamp, stamp + size)
        if credit_legs is not None:
            tail.flags[first:last][credit_legs[pick]] |= CREDIT_LEG
        self._append_texts(batch, first, size, chosen)
        if batch.hold_ids or batch.ttl:
            for place in np.flatnonzero((tail.flags[first:last] & ~np.uint16(CREDIT_LEG)) > 1).tolist():
                position = place if chosen is None else int(chosen[place])
                if (extra := (batch.hold_id(position), batch.ttl_seconds(position))) != NO_EXTRA:
                    tail.extras[first + place] = extra
        tail.count = last
        self._index(first, last, keys if chosen is None and credit_legs is None else None)

    def append_one(
        self, id: bytes, debit: int, credit: int, amount: int, code: int, flags: int, status: int, now_ns: int,
        reference: str = "", extra: tuple[bytes, int] = NO_EXTRA, metadata: str = "",
    ) -> int:  # fmt: skip
        """Records a single transfer; with which time."""
        self._make_room(1)
        tail = self.tail
        position = tail.count
        tail.ids[position] = np.frombuffer(id, np.uint64)
        tail.debit[position] = debit
        tail.credit[position] = credit
        tail.amount[position] = amount
        tail.code[position] = code
        tail.flags[position] = flags
        tail.status[position] = status
        tail.timestamp_ns[position] = timestamp_ns = self._take_stamps(1, now_ns)
        if reference:
            tail.references.append(position, 1, reference)
        if metadata:
            tail.metadata.append(position, 1, metadata)
        if extra != NO_EXTRA:
            tail.extras[position] = extra
        tail.count = position + 1
        if not flags & CREDIT_LEG:
            self._index_one(id, position)
        return timestamp_ns

    def _take_stamps(self, size: int, now_ns: int) -> int:
        """The first of so many times, a nanosecond each. They rise from row to row, whatever shares an entry."""
        first = max(now_ns, self.stamped_ns + 1)
        self.stamped_ns = first + size - 1
        return first

    def _append_texts(self, batch: Batch, first: int, size: int, chosen: Positions | None) -> None:
        tail = self.tail
        for texts, joined in ((tail.references, batch.reference), (tail.metadata, batch.metadata)):
            if joined and chosen is not None:
                all_texts = joined.split(SEPARATOR)
                texts.append(first, size, SEPARATOR.join([all_texts[row] for row in chosen.tolist()]))
            elif joined:
                texts.append(first, size, joined)
        shift = self.append_others(batch)
        if shift:
            for column in (tail.debit[first : first + size], tail.credit[first : first + size]):
                column[column <= -2] -= shift

    def append_others(self, batch: Batch) -> int:
        """Keeps the batch's accounts of other shards; by how much their numbers have moved."""
        tail = self.tail
        shift = tail.others_count
        if not batch.others:
            return 0
        tail.others.append(shift, batch.others_count, batch.others)
        tail.others_count += batch.others_count
        return shift

    def _make_room(self, size: int) -> None:
        tail = self.tail
        if tail.count + size <= len(tail.amount):
            return
        for name in ("ids", "debit", "credit", "amount", "code", "flags", "status", "timestamp_ns"):
            column = getattr(tail, name)
            grown = np.zeros((len(column) + size + TRANSFERS_MAX, *column.shape[1:]), column.dtype)
            grown[: tail.count] = column[: tail.count]
            setattr(tail, name, grown)

    def _index(self, first: int, last: int, keys: Keys | None) -> None:
        tail = self.tail
        if last - first < SMALL_BATCH:
            packed = tail.ids[first:last].tobytes()
            for position in range(first, last):
                if not tail.flags[position] & CREDIT_LEG:
                    self._index_one(packed[16 * (position - first) : 16 * (position - first) + 16], position)
            return
        if keys is None:
            keys = keys_of(tail.ids[first:last].tobytes())[(tail.flags[first:last] & CREDIT_LEG) == 0]
            keys.sort()
        if len(keys):
            self._add_run(Run(keys))

    def _index_one(self, id: bytes, position: int) -> None:
        key = key_of(id)
        self.recent[id] = position
        self.recent_lowest = min(self.recent_lowest, key)
        self.recent_highest = max(self.recent_highest, key)
        if len(self.recent) >= RECENT_MAX:
            self.flush_recent()

    def flush_recent(self) -> None:
        """Turns the dictionary of the latest ids into sorted keys."""
        if self.recent:
            keys = keys_of(b"".join(self.recent))
            keys.sort()
            self.recent.clear()
            self.recent_lowest, self.recent_highest = 2**64, -1
            self._add_run(Run(keys))

    def _add_run(self, run: Run) -> None:
        self.runs.append(run)
        self.tail.forget()
        while len(self.runs) > 1 and len(self.runs[-2].keys) < 2 * len(self.runs[-1].keys):
            last = self.runs.pop()
            self.runs[-1] = merged(self.runs[-1], last)

    # -- finding --------------------------------------------------------------------------------------------------

    @property
    def recorded(self) -> int:
        """Rows so far: the number of the next one."""
        return self.starts[-1] + self.tail.count

    def locate(self, row: int) -> tuple[int, int]:
        """Which segment has the row of that number (`sealed`: the tail), and the number of its first row."""
        number = bisect_right(self.starts, row) - 1
        return number, self.starts[number]

    @property
    def window_start(self) -> int:
        """The oldest segment in memory."""
        return max(0, self.sealed - WINDOW_SEGMENTS)

    def suspects(self, batch: Run, through: int) -> Keys:
        """Keys of the batch that occur in the tail or in a segment from `through` on."""
        self.flush_recent()
        found = [run.common(batch) for run in (*self.runs, *(sealed.run for sealed in self._window_from(through)))]
        found = [keys for keys in found if len(keys)]
        return np.concatenate(found) if found else NO_KEYS

    def _window_from(self, through: int) -> list[Sealed]:
        if through >= self.sealed:  # as a rule: nothing was sealed since
            return []
        return [self.window[number] for number in range(max(through, self.window_start), self.sealed)]

    def find(self, id: bytes, through: int) -> tuple[Columns, int] | None:
        """The record of an id in the tail or in a segment from `through` on."""
        if (recent := self.recent.get(id)) is not None:
            return self.tail, recent
        key = key_of(id)
        for run in self.runs:
            if run.has(key):
                if (position := self.tail.find(id)) >= 0:
                    return self.tail, position
                break
        for sealed in self._window_from(through):
            if sealed.run.has(key) and (position := sealed.segment.find(id)) >= 0:
                return sealed.segment, position
        return None

    def searched(self, through: int) -> list[Columns]:
        """What `find` looks into."""
        return [self.tail, *(sealed.segment for sealed in self._window_from(through))]

    def old_segments(self, batch: Run) -> list[int]:
        """Segments that have left the window and whose key ranges hold a key of the batch."""
        if not self.directory or not len(batch.keys):
            return []
        lowest, highest, numbers = self._flat_directory()
        near = np.flatnonzero((lowest <= np.uint64(batch.highest)) & (highest >= np.uint64(batch.lowest)))
        if not len(near):
            return []
        first = batch.keys.searchsorted(lowest[near], "left")
        last = batch.keys.searchsorted(highest[near], "right")
        return [int(number) for number in np.unique(numbers[near][last > first])]

    def _flat_directory(self) -> tuple[Keys, Keys, Int32s]:
        if self._ranges is None:
            flat = [(low, high, number) for number, ranges in enumerate(self.directory) for low, high in ranges]
            self._ranges = (
                np.array([low for low, _, _ in flat], np.uint64),
                np.array([high for _, high, _ in flat], np.uint64),
                np.array([number for _, _, number in flat], np.int32),
            )
        return self._ranges

    def sealed_highest(self) -> int:
        """The highest key in any sealed segment."""
        if self._sealed_highest is None:
            directory = [high for ranges in self.directory for _, high in ranges]
            self._sealed_highest = max([sealed.run.highest for sealed in self.window.values()] + directory, default=0)
        return self._sealed_highest

    # -- sealing --------------------------------------------------------------------------------------------------

    def seal(self) -> bool:
        """Seals the tail if it is full; whether it did. Called after each command, so at a batch boundary."""
        if self.tail.count < SEGMENT_TRANSFERS:
            return False
        self.flush_recent()
        run = self.runs[0] if self.runs else Run(NO_KEYS)
        for other in self.runs[1:]:
            run = merged(run, other)
        rows = np.sort(np.concatenate((self.tail.debit[: self.tail.count], self.tail.credit[: self.tail.count])))
        rows = rows[rows >= 0]
        rows = rows[np.diff(rows, prepend=np.int32(NOT_HERE)) != 0]  # far faster than np.unique, which hashes
        links = Links(rows)
        parts = self.tail.parts()
        for part in parts:
            self.chain = zlib.crc32(part if isinstance(part, bytes) else str(part).encode(), self.chain)
        self.window[self.sealed] = Sealed(Segment(self.sealed, parts), run, links)
        self.sealed += 1
        self.starts.append(self.starts[-1] + self.tail.count)
        self.tail = Columns(SEGMENT_TRANSFERS + TRANSFERS_MAX)
        self.runs = []
        for sealed in self.window.values():
            sealed.segment.forget()
        if len(self.window) > WINDOW_SEGMENTS:
            number = len(self.directory)
            leaving = self.window.pop(number)
            self.retired[number] = leaving
            self.directory.append(intervals_of(leaving.run.keys))
            self._ranges = None
        self._sealed_highest = None
        return True

    def load_tail(self, packed: bytes) -> None:
        """Fills a fresh tail from a checkpoint."""
        segment = Segment.unpack(-1, packed)
        self._make_room(segment.count)
        tail, n = self.tail, segment.count
        for name in ("ids", "debit", "credit", "amount", "code", "flags", "status", "timestamp_ns"):
            getattr(tail, name)[:n] = getattr(segment, name)
        tail.references, tail.others, tail.others_count = segment.references, segment.others, segment.others_count
        tail.metadata = segment.metadata
        tail.extras = segment.extras_all()
        tail.count = n
        self._restore_stamp(segment)
        keys = tail.keys()
        if len(keys):
            self.runs = [Run(keys)]

    def load_window(self, rows: Sequence[tuple[int, bytes]]) -> None:
        """Fills the window from a checkpoint."""
        for number, value in rows:
            packed, links = msgpack.unpackb(value)
            segment = Segment.unpack(number, packed)
            self.window[number] = Sealed(segment, Run(segment.keys()), Links.unpack(links))
            self._restore_stamp(segment)

    def _restore_stamp(self, segment: Segment) -> None:
        if segment.count:
            self.stamped_ns = max(self.stamped_ns, int(segment.timestamp_ns[-1]))
