"""Transfers as they were recorded, in columns: 47 bytes a transfer, texts and hold fields on the side."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from node.core.ledger.ids import Run, keys_of
from node.core.ledger.limits import CREDIT_LEG, MANY_LOOKUPS, Codes, Int32s, Int64s, Keys, Positions
from protocol.columns import SEPARATOR

NO_ID = bytes(16)
NO_EXTRA = (NO_ID, 0)  # hold id and ttl of a plain transfer


class Texts:
    """Texts by position, kept as they came: joined, a chunk a batch. Positions without a text give ""."""

    __slots__ = ("_splits", "chunks", "starts")

    def __init__(self, joined: str = "", count: int = 0) -> None:
        self.starts: list[int] = [0] if joined else []  # nothing is joined where all texts are empty, as in `joined`
        self.chunks: list[tuple[int, str]] = [(count, joined)] if joined else []  # (texts, joined)
        self._splits: dict[int, list[str]] = {}  # by chunk: rows that are asked for take turns between batches

    def append(self, start: int, count: int, joined: str) -> None:
        """Adds `count` texts from position `start` on."""
        self.starts.append(start)
        self.chunks.append((count, joined))

    def at(self, position: int) -> str:
        """The text at a position."""
        chunk = bisect_right(self.starts, position) - 1
        if chunk < 0 or position >= self.starts[chunk] + self.chunks[chunk][0]:
            return ""
        if (texts := self._splits.get(chunk)) is None:
            texts = self._splits[chunk] = self.chunks[chunk][1].split(SEPARATOR)
        return texts[position - self.starts[chunk]]

    def joined(self, count: int) -> str:
        """All of positions 0 to `count`, joined; "" where there is no text at all."""
        if not self.chunks:
            return ""
        texts = self.texts(count)
        return SEPARATOR.join(texts) if any(texts) else ""

    def texts(self, count: int) -> list[str]:
        """All of positions 0 to `count`."""
        texts = [""] * count
        for start, (size, joined) in zip(self.starts, self.chunks, strict=True):
            texts[start : start + size] = joined.split(SEPARATOR)
        return texts

    def forget(self) -> None:
        """Drops what was split for reading."""
        self._splits.clear()


class Columns:
    """Recorded transfers. `debit` and `credit` are rows, or -2 - k for the k-th of the texts, an account elsewhere."""

    def __init__(self, capacity: int) -> None:
        self.count = 0
        self.ids: Keys = np.zeros((capacity, 2), np.uint64)  # the raw bytes, compared as they lie
        self.debit: Int32s = np.zeros(capacity, np.int32)
        self.credit: Int32s = np.zeros(capacity, np.int32)
        self.amount: Int64s = np.zeros(capacity, np.int64)
        self.code: NDArray[np.uint32] = np.zeros(capacity, np.uint32)
        self.flags: NDArray[np.uint16] = np.zeros(capacity, np.uint16)
        self.status: Codes = np.zeros(capacity, np.uint8)
        self.timestamp_ns: Int64s = np.zeros(capacity, np.int64)
        self.references = Texts()
        self.others = Texts()
        self.metadata = Texts()
        self.others_count = 0
        self.extras: dict[int, tuple[bytes, int]] = {}  # position -> (hold id, ttl seconds)
        self._lookups = 0
        self._positions: dict[bytes, int] = {}

    def find(self, id: bytes) -> int:
        """Position of the transfer with this id whose debit account lives here, or -1."""
        self._lookups += 1
        if self._lookups > MANY_LOOKUPS:
            return self._find_by_table(id)
        first, second = np.frombuffer(id, np.uint64)
        ids = self.ids[: self.count]
        found = np.flatnonzero((ids[:, 0] == first) & (ids[:, 1] == second)).tolist()
        for position in found:
            if not self.flags[position] & CREDIT_LEG:
                return int(position)
        return -1

    def find_all(self, wanted: Keys) -> Positions:
        """Position of each id (rows of two words), as `find` gives it."""
        own = np.flatnonzero((self.flags[: self.count] & CREDIT_LEG) == 0)
        if not len(own) or not len(wanted):
            return np.full(len(wanted), -1)
        keys = keys_of(self.ids[own].tobytes())
        order = keys.argsort(kind="stable")
        wanted_keys = keys_of(wanted.tobytes())
        places = order.take(keys.searchsorted(wanted_keys, sorter=order), mode="clip")
        positions: Positions = own[places]
        is_other = (self.ids[positions] != wanted).any(axis=1)
        has_key = keys[places] == wanted_keys
        positions[is_other] = -1
        for place in np.flatnonzero(is_other & has_key).tolist():  # two ids with one key
            positions[place] = self.find(wanted[place].tobytes())
        return positions

    def _find_by_table(self, id: bytes) -> int:
        if not self._positions:
            packed = self.ids[: self.count].tobytes()
            own = np.flatnonzero((self.flags[: self.count] & CREDIT_LEG) == 0).tolist()
            self._positions = {packed[16 * position : 16 * position + 16]: position for position in own}
        return self._positions.get(id, -1)

    def forget(self) -> None:
        """Drops what was only kept to answer faster."""
        self._lookups = 0
        self._positions = {}
        self.references.forget()
        self.others.forget()
        self.metadata.forget()

    def keys(self) -> Keys:
        """Sorted keys of the ids that can be found here."""
        keys = keys_of(self.ids[: self.count].tobytes())
        keys = keys[(self.flags[: self.count] & CREDIT_LEG) == 0]
        keys.sort()
        own: Keys = keys
        return own

    def id_at(self, position: int) -> bytes:
        """The 16 bytes of an id."""
        packed: bytes = self.ids[position].tobytes()
        return packed

    def extra_at(self, position: int) -> tuple[bytes, int]:
        """Hold id and ttl."""
        return self.extras.get(position, NO_EXTRA)

    def extras_all(self) -> dict[int, tuple[bytes, int]]:
        """Hold fields of all positions that have any."""
        return self.extras

    def pack(self) -> bytes:
        """All columns as bytes."""
        packed: bytes = msgpack.packb(self.parts())
        return packed

    def parts(self) -> list[Any]:
        """All columns, packed one by one; a `Segment` is made of them."""
        n = self.count
        extras = sorted(self.extras_all().items())
        return [
            n, self.ids[:n].tobytes(), self.debit[:n].tobytes(), self.credit[:n].tobytes(), self.amount[:n].tobytes(),
            self.code[:n].tobytes(), self.flags[:n].tobytes(), self.status[:n].tobytes(),
            self.timestamp_ns[:n].tobytes(), self.references.joined(n), self.others.joined(self.others_count),
            self.others_count, np.array([position for position, _ in extras], np.int32).tobytes(),
            b"".join(hold_id for _, (hold_id, _) in extras),
            np.array([ttl for _, (_, ttl) in extras], np.uint32).tobytes(), self.metadata.joined(n),
        ]  # fmt: skip


class Segment(Columns):
    """Sealed transfers: they never change again."""

    def __init__(self, number: int, parts: list[Any]) -> None:
        super().__init__(0)
        self.number = number
        (
            self.count, ids, debit, credit, amount, code, flags, status, timestamp, references, others,
            self.others_count, positions, hold_ids, ttls, metadata,
        ) = parts  # fmt: skip
        self.ids = np.frombuffer(ids, np.uint64).reshape(-1, 2)
        self.debit = np.frombuffer(debit, np.int32)
        self.credit = np.frombuffer(credit, np.int32)
        self.amount = np.frombuffer(amount, np.int64)
        self.code = np.frombuffer(code, np.uint32)
        self.flags = np.frombuffer(flags, np.uint16)
        self.status = np.frombuffer(status, np.uint8)
        self.timestamp_ns = np.frombuffer(timestamp, np.int64)
        self.references = Texts(references, self.count)
        self.others = Texts(others, self.others_count)
        self.metadata = Texts(metadata, self.count)
        self._extra_positions: Int32s = np.frombuffer(positions, np.int32)
        self._extra_hold_ids: bytes = hold_ids
        self._extra_ttls = np.frombuffer(ttls, np.uint32)

    @classmethod
    def unpack(cls, number: int, packed: bytes) -> Segment:
        """Reads `pack`."""
        return cls(number, msgpack.unpackb(packed))

    def extra_at(self, position: int) -> tuple[bytes, int]:
        """Hold id and ttl."""
        place = int(self._extra_positions.searchsorted(position))
        if place == len(self._extra_positions) or self._extra_positions[place] != position:
            return NO_EXTRA
        return self._extra_hold_ids[16 * place : 16 * place + 16], int(self._extra_ttls[place])

    def extras_all(self) -> dict[int, tuple[bytes, int]]:
        """Hold fields of all positions that have any."""
        return {position: self.extra_at(position) for position in self._extra_positions.tolist()}


@dataclass(frozen=True, slots=True)
class Links:
    """Which accounts a segment holds."""

    rows: Int32s  # sorted

    def holds(self, row: int) -> bool:
        """Whether the segment holds the account."""
        place = int(self.rows.searchsorted(row))
        return place < len(self.rows) and int(self.rows[place]) == row

    def pack(self) -> bytes:
        """The column as bytes."""
        return self.rows.tobytes()

    @classmethod
    def unpack(cls, packed: bytes) -> Links:
        """Reads `pack`."""
        return cls(np.frombuffer(packed, np.int32))


@dataclass(slots=True)
class Sealed:
    """A sealed segment in memory with what finds things in it."""

    segment: Segment
    run: Run
    links: Links
