"""What subscribers are told: kinds of events, one event, many of them in columns, and the cursor by which a reader goes on.

The facts of a shard are two series, each numbered from 0 without a gap. The *record* has its transfers, a row each, refused ones too;
the *journal* has all else, and each of its facts names the row of the record that it stands before. So there is one order of both.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from protocol.columns import SEPARATOR, Flag
from protocol.errors import BadArgument
from protocol.metadata import unpack as unpack_metadata
from protocol.operations import Body

ROWS_MAX = 8_192  # of the record in one answer: about what one segment has, milliseconds of work
FACTS_MAX = 1_024  # of the journal in one answer
PREFIX_BYTES_MAX = 64  # the longest name of an account or a lock
WAIT_MS_MAX = 10_000  # that a question may wait for news; then it is asked again
OLDEST, NEWEST = "oldest", "newest"
CURSOR_FORM = 1
KINDS_OF_ROWS = int(Flag.hold | Flag.capture | Flag.void)
NAMING = KINDS_OF_ROWS | int(Flag.reversal)  # rows with a hold id or a time to live


@dataclass(frozen=True, slots=True)
class Position:
    """How far a shard has been read."""

    rows: int  # of its record
    facts: int  # of its journal

    def is_before(self, end: Position) -> bool:
        """Whether something of either series is left to read up to there."""
        return self.rows < end.rows or self.facts < end.facts

    def pack(self) -> Body:
        """`[rows, facts]`."""
        return [self.rows, self.facts]

    @classmethod
    def unpack(cls, body: Body) -> Position:
        """From what `pack` gives."""
        rows, facts = body
        return cls(rows, facts)


@unique
class EventKind(StrEnum):
    """What can be subscribed to."""

    accounts = "accounts"  # opened, updated
    transfers = "transfers"  # money that has moved: transfers and captures
    holds = "holds"  # opened, captured, voided, ended
    allowances = "allowances"  # set, taken back
    locks = "locks"  # granted, released


CLUSTER_KINDS = (EventKind.locks,)
"""Told by group 0; all others by the shards of their accounts, transfers by the shard of the debit account."""


@unique
class Series(StrEnum):
    """Which of a shard's two series a fact is of."""

    record = "record"
    journal = "journal"


@dataclass(frozen=True, slots=True)
class Event:
    """One fact. A repeated one is known by its shard, series and number."""

    kind: EventKind
    name: str  # transfer, capture, hold, void, hold_ended, account_opened, account_updated, ...
    shard: int  # 0: of the cluster
    series: Series
    number: int
    timestamp_ns: int  # since 1970, as the shard's leader stamped it
    data: Mapping[str, Any]  # what is told of it, by name


@dataclass(frozen=True, slots=True)
class TransferEvents:
    """Rows of a shard's record that happened, in columns. Fixed widths are packed little-endian, ids as they came (big-endian)."""

    first: int  # number of the row from which `offsets` count
    offsets: bytes  # 4 a row; empty: one after another
    ids: bytes  # 16 a row
    debit: str  # joined by `SEPARATOR`
    credit: str
    amount: bytes  # 8 a row, minor units; of a void nothing
    timestamp_ns: bytes  # 8 a row
    flags: bytes = b""  # 2 a row, `Flag`; empty: all are plain
    code: bytes = b""  # 4 a row; empty: all 0
    reference: str = ""  # empty: nobody has one
    hold_ids: bytes = b""  # 16 a row, of what a capture, a void or a reversal names; empty: there is none
    ttl: bytes = b""  # 4 a row, seconds that a hold lives; empty: there is none
    metadata: str = ""  # as in `protocol.metadata`; empty: nobody has any
    currency: str = ""  # three letters a row, or three for all rows; empty: the node does not tell

    def __len__(self) -> int:
        return len(self.amount) // 8

    def pack(self) -> Body:
        """The columns, in this order."""
        return [
            self.first, self.offsets, self.ids, self.debit, self.credit, self.amount, self.timestamp_ns, self.flags,
            self.code, self.reference, self.hold_ids, self.ttl, self.metadata, self.currency,
        ]  # fmt: skip

    @classmethod
    def unpack(cls, body: Body) -> TransferEvents:
        """From what `pack` gives."""
        return cls(*body)

    def numbers(self) -> NDArray[np.int64]:
        """Of each row in the shard's record."""
        if not self.offsets:
            return np.arange(self.first, self.first + len(self), dtype=np.int64)
        return np.frombuffer(self.offsets, "<u4").astype(np.int64) + self.first

    def amounts(self) -> NDArray[np.int64]:
        """Minor units."""
        return np.frombuffer(self.amount, "<i8")

    def timestamps_ns(self) -> NDArray[np.int64]:
        """When each was carried out."""
        return np.frombuffer(self.timestamp_ns, "<i8")

    def flag_bits(self) -> NDArray[np.uint16]:
        """`Flag` bits."""
        return np.frombuffer(self.flags, "<u2") if self.flags else np.zeros(len(self), np.uint16)

    def codes(self) -> NDArray[np.uint32]:
        """The users' own classification."""
        return np.frombuffer(self.code, "<u4") if self.code else np.zeros(len(self), np.uint32)

    def debits(self) -> list[str]:
        """Account ids."""
        return self.debit.split(SEPARATOR)

    def credits(self) -> list[str]:
        """Account ids."""
        return self.credit.split(SEPARATOR)

    def references(self) -> list[str]:
        """The users' own."""
        return self.reference.split(SEPARATOR) if self.reference else [""] * len(self)

    def metadatas(self) -> list[str]:
        """Packed; empty where there is none."""
        return self.metadata.split(SEPARATOR) if self.metadata else [""] * len(self)

    def currencies(self) -> list[str]:
        """Of the accounts; empty where the node does not tell."""
        if len(self.currency) <= 3:
            return [self.currency] * len(self)
        return [self.currency[place : place + 3] for place in range(0, len(self.currency), 3)]

    def id_at(self, row: int) -> int:
        """A transfer's id."""
        return int.from_bytes(self.ids[16 * row : 16 * row + 16], "big")

    def events(self, shard: int) -> Iterator[Event]:
        """One after another."""
        columns = (
            self.numbers(),
            self.amounts(),
            self.timestamps_ns(),
            self.flag_bits(),
            self.codes(),
        )
        texts = (self.debits(), self.credits(), self.references(), self.metadatas(), self.currencies())
        rows = zip(*(column.tolist() for column in columns), *texts, strict=True)
        for row, (number, amount, timestamp_ns, flags, code, debit, credit, reference, metadata, currency) in enumerate(
            rows
        ):
            data: dict[str, Any] = {
                "id": self.id_at(row),
                "debit": debit,
                "credit": credit,
                "amount": amount,
                "currency": currency,
            }
            kind, name = EventKind.transfers, "transfer"
            if flags & KINDS_OF_ROWS:
                kind, name = self._note_hold(row, flags, data)
            data |= {"code": code, "reference": reference}
            if flags & Flag.reversal:
                data["reverses"] = self._named_at(row)
            if metadata:
                data["metadata"] = unpack_metadata(metadata)
            yield Event(kind, name, shard, Series.record, number, timestamp_ns, data)

    def _named_at(self, row: int) -> int:
        return int.from_bytes(self.hold_ids[16 * row : 16 * row + 16], "big")

    def _note_hold(self, row: int, flags: int, data: dict[str, Any]) -> tuple[EventKind, str]:
        if flags & Flag.hold:
            data["ttl"] = int.from_bytes(self.ttl[4 * row : 4 * row + 4], "little")
            return EventKind.holds, "hold"
        data["hold"] = self._named_at(row)
        return (EventKind.transfers, "capture") if flags & Flag.capture else (EventKind.holds, "void")


@dataclass(frozen=True, slots=True)
class JournalFact:
    """A fact of a shard's journal."""

    number: int
    row: int  # of the record, that it stands before
    timestamp_ns: int  # since 1970
    kind: str  # an `EventKind`
    name: str  # of the event
    subjects: Sequence[str]  # account ids, or the lock's name
    data: Mapping[str, Any]  # what is told of it

    def pack(self) -> Body:
        """`[number, row, timestamp_ns, kind, name, subjects, data]`."""
        return [self.number, self.row, self.timestamp_ns, self.kind, self.name, self.subjects, self.data]

    @classmethod
    def unpack(cls, body: Body) -> JournalFact:
        """From what `pack` gives."""
        return cls(*body)

    def event(self, shard: int) -> Event:
        """As a reader is told."""
        data = self.data
        if "hold" in data:
            data = {**data, "hold": int.from_bytes(data["hold"], "big")}
        return Event(EventKind(self.kind), self.name, shard, Series.journal, self.number, self.timestamp_ns, data)


@dataclass(frozen=True, slots=True)
class EventBatch:
    """What one answer tells of a shard: its facts from one position to another, as far as they were asked for."""

    shard: int
    start: Position
    end: Position
    transfers: TransferEvents | None
    facts: Sequence[JournalFact]

    def __len__(self) -> int:
        return len(self.facts) + (0 if self.transfers is None else len(self.transfers))

    def walk(self) -> Iterator[tuple[Event, Position]]:
        """Each event in the shard's order, and the position behind it."""
        row, fact = self.start.rows, self.start.facts
        waiting = list(reversed(self.facts))
        for event in () if self.transfers is None else self.transfers.events(self.shard):
            while waiting and waiting[-1].row <= event.number:
                told = waiting.pop()
                row, fact = max(row, told.row), told.number + 1
                yield told.event(self.shard), Position(row, fact)
            row = event.number + 1
            yield event, Position(row, fact)
        while waiting:
            told = waiting.pop()
            row, fact = max(row, min(told.row, self.end.rows)), told.number + 1
            yield told.event(self.shard), Position(row, fact)


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a reader has come in all the shards that it reads. As text it is opaque to users, and checked when it comes back."""

    cluster: str  # name/identity
    positions: Mapping[int, Position]  # by shard, 0 for the cluster's own

    def pack(self) -> str:
        """As text that fits a line, a file name or a URL."""
        flat = [number for shard, at in sorted(self.positions.items()) for number in (shard, at.rows, at.facts)]
        packed: bytes = msgpack.packb([CURSOR_FORM, self.cluster, flat])
        checked = packed + zlib.crc32(packed).to_bytes(4, "little")
        return base64.urlsafe_b64encode(checked).decode().rstrip("=")

    @classmethod
    def unpack(cls, text: str) -> Cursor:
        """Raises ProtocolError(bad_request) for a text that is none."""
        try:
            checked = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            packed, crc = checked[:-4], checked[-4:]
            if zlib.crc32(packed).to_bytes(4, "little") != crc:
                raise ValueError
            form, cluster, flat = msgpack.unpackb(packed)
            if form != CURSOR_FORM or len(flat) % 3 or not isinstance(cluster, str):
                raise ValueError
            if not all(type(number) is int for number in flat):
                raise ValueError
            rows = zip(flat[0::3], flat[1::3], flat[2::3], strict=True)
            return cls(cluster, {shard: Position(row, fact) for shard, row, fact in rows})
        except (ValueError, TypeError, binascii.Error, msgpack.UnpackException):
            expected = f"{OLDEST}, {NEWEST}, or the cursor of an earlier subscription, whole and unchanged"
            raise BadArgument(f"cursor {text!r:.40}: expected {expected}") from None
