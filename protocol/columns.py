"""A batch of transfers as columns: the one shape of a transfer on the wire, from the client to the shard's leader.

Fixed-width columns are packed little-endian bytes that numpy views without copying; text columns are UTF-8 joined by a
newline, which account ids and references may not contain, because joining and splitting then cost one C call a column.
An optional column that is empty means its default for every row.

| column | bytes a row | meaning | default |
|---|---|---|---|
| ids | 16, big-endian | 128-bit transfer id, made by the client | |
| debit, credit | text | account ids | |
| amount | 8, int64 | minor units; for a capture the part captured, for a void ignored | |
| flags | 2, uint16 | `Flag` bits | 0 |
| code | 4, uint32 | the user's own classification | 0 |
| reference | text | the user's own reference | "" |
| hold_ids | 16, big-endian | the hold that a capture or void ends | zero |
| ttl | 4, uint32 | seconds that a hold lives | 0 |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntFlag

import numpy as np
from numpy.typing import NDArray

from protocol.errors import ErrorCode, ProtocolError
from protocol.status import TRANSFERS_MAX

SEPARATOR = "\n"


class Flag(IntFlag):
    """What kind of transfer a row is, and whether the next row belongs to the same transaction."""

    none = 0
    linked = 1
    hold = 2
    capture = 4
    void = 8


ALL_FLAGS = int(Flag.linked | Flag.hold | Flag.capture | Flag.void)


@dataclass(frozen=True, slots=True)
class Transfers:
    """Columns of up to `TRANSFERS_MAX` transfers; see the module for the layout."""

    ids: bytes
    debit: str
    credit: str
    amount: bytes
    flags: bytes = b""
    code: bytes = b""
    reference: str = ""
    hold_ids: bytes = b""
    ttl: bytes = b""

    def __len__(self) -> int:
        return len(self.amount) // 8

    def pack(self) -> list[object]:
        """The columns as a list for msgpack; trailing defaults are left out."""
        row: list[object] = [
            self.ids, self.debit, self.credit, self.amount,
            self.flags, self.code, self.reference, self.hold_ids, self.ttl,
        ]  # fmt: skip
        while not row[-1]:
            row.pop()
        return row

    @classmethod
    def unpack(cls, row: object) -> Transfers:
        """Checks the shape, not the meaning. Raises ProtocolError(bad_request), saying what was expected."""
        if not isinstance(row, (list, tuple)) or not 4 <= len(row) <= 9:
            raise _wrong("expected a list of 4 to 9 columns")
        batch = cls(*row)
        if not isinstance(batch.amount, bytes):
            raise _wrong("column amount must be bytes")
        for name, width in (("ids", 16), ("amount", 8), ("flags", 2), ("code", 4), ("hold_ids", 16), ("ttl", 4)):
            column = getattr(batch, name)
            if not isinstance(column, bytes):
                raise _wrong(f"column {name} must be bytes")
            optional = name not in ("ids", "amount")
            if len(column) != len(batch) * width and not (optional and not column):
                raise _wrong(f"column {name} must hold {width} bytes a row")
        if not 1 <= len(batch) <= TRANSFERS_MAX:
            raise _wrong(f"expected 1 to {TRANSFERS_MAX} rows, got {len(batch)}")
        for name in ("debit", "credit", "reference"):
            text = getattr(batch, name)
            if not isinstance(text, str):
                raise _wrong(f"column {name} must be text")
            if text.count(SEPARATOR) != len(batch) - 1 and not (name == "reference" and not text):
                raise _wrong(f"column {name} must hold one text a row")
        return batch

    def amounts(self) -> NDArray[np.int64]:
        """Minor units, one a row (a view)."""
        return np.frombuffer(self.amount, "<i8")

    def flag_bits(self) -> NDArray[np.uint16]:
        """`Flag` bits, one a row."""
        return np.frombuffer(self.flags, "<u2") if self.flags else np.zeros(len(self), np.uint16)

    def debits(self) -> list[str]:
        """Debit account ids, one a row."""
        return self.debit.split(SEPARATOR)

    def credits(self) -> list[str]:
        """Credit account ids, one a row."""
        return self.credit.split(SEPARATOR)

    def take(self, rows: NDArray[np.intp]) -> Transfers:
        """The given rows, in the given order."""
        return Cutter(self).take(rows)

    @staticmethod
    def concatenate(batches: Sequence[Transfers]) -> Transfers:
        """One batch of all the rows, in order."""
        if len(batches) == 1:
            return batches[0]

        def fixed(name: str, width: int) -> bytes:
            if not any(getattr(batch, name) for batch in batches):
                return b""
            return b"".join(getattr(batch, name) or bytes(width * len(batch)) for batch in batches)

        reference = ""
        if any(batch.reference for batch in batches):
            reference = SEPARATOR.join(batch.reference or SEPARATOR * (len(batch) - 1) for batch in batches)
        return Transfers(
            fixed("ids", 16), SEPARATOR.join(b.debit for b in batches), SEPARATOR.join(b.credit for b in batches),
            fixed("amount", 8), fixed("flags", 2), fixed("code", 4), reference, fixed("hold_ids", 16), fixed("ttl", 4),
        )  # fmt: skip


def _wrong(expected: str) -> ProtocolError:
    return ProtocolError(f"transfers: {expected}", ErrorCode.bad_request)


class Cutter:
    """Takes rows out of one batch again and again; the columns are split only once."""

    def __init__(self, batch: Transfers) -> None:
        self._fixed = [
            np.frombuffer(column, f"V{width}") if column else None
            for column, width in (
                (batch.ids, 16), (batch.amount, 8), (batch.flags, 2), (batch.code, 4), (batch.hold_ids, 16), (batch.ttl, 4),
            )
        ]  # fmt: skip
        self._texts = [
            column.split(SEPARATOR) if column else None for column in (batch.debit, batch.credit, batch.reference)
        ]

    def take(self, rows: NDArray[np.intp]) -> Transfers:
        """The given rows, in the given order."""
        places = rows.tolist()
        ids, amount, flags, code, hold_ids, ttl = [
            b"" if column is None else column[rows].tobytes() for column in self._fixed
        ]
        debit, credit, reference = [
            "" if values is None else SEPARATOR.join([values[place] for place in places]) for values in self._texts
        ]
        return Transfers(ids, debit, credit, amount, flags, code, reference, hold_ids, ttl)
