"""A batch of transfers as columns: the one shape of a transfer on the wire, from the client to the shard's leader.

Fixed-width columns are packed little-endian bytes that numpy views without copying; text columns are UTF-8 joined by a
newline, which account ids and references may not contain, because joining and splitting then cost one C call a column.
An optional column that is empty means its default for every row.

| column | bytes a row | meaning | default |
|---|---|---|---|
| ids | 16, big-endian | 128-bit transfer id, made by the client | |
| debit, credit | text | account ids | |
| amount | 8, int64 | minor units; for a capture the part captured, of a void 0 or its hold's; of a balancing row the limit, 0: none | |
| flags | 2, uint16 | `Flag` bits | 0 |
| code | 4, uint32 | the user's own classification | 0 |
| reference | text | the user's own reference | "" |
| hold_ids | 16, big-endian | the hold that a capture or void ends, the transfer that a reversal gives back | zero |
| ttl | 4, uint32 | seconds that a hold lives | 0 |
| if_version | 8, uint64 | version that the debit account must have, 0: any | 0 |
| lock | text | name of the lock that must be held | "" |
| token | 8, uint64 | the fencing token by which it is held | 0 |
| currency | 3, ASCII | ISO 4217 code that both accounts must be kept in, zero: any | zero |
| metadata | text | `protocol.metadata` | "" |

Before `currency` stands `commit`, no column but one word for the batch: which commit protocol decides it where it spans shards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntFlag
from operator import attrgetter
from typing import Any

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
    final = 16
    balancing_debit = 32
    balancing_credit = 64
    reversal = 128


def kind_of(flags: int) -> str:
    """What a row is called: transfer (a reversal, too), hold, capture or void."""
    if flags & Flag.hold:
        return "hold"
    if flags & Flag.capture:
        return "capture"
    return "void" if flags & Flag.void else "transfer"


COMMIT_PROTOCOLS = ("2pc", "3pc")
ONE_SHARD = "one shard"  # what decides where there is nothing to agree on
_WIDTHS = {
    "ids": 16, "amount": 8, "flags": 2, "code": 4, "hold_ids": 16, "ttl": 4, "if_version": 8, "token": 8, "currency": 3,
}  # fmt: skip
_TEXTS = ("debit", "credit", "reference", "lock", "metadata")
_all_columns = attrgetter(*_TEXTS, *_WIDTHS)
_REQUIRED = ("ids", "debit", "credit", "amount")
_COLUMNS = tuple(
    (name, _WIDTHS.get(name, 0))
    for name in (
        "ids",
        "debit",
        "credit",
        "amount",
        "flags",
        "code",
        "reference",
        "hold_ids",
        "ttl",
        "if_version",
        "lock",
        "token",
        "commit",
        "currency",
        "metadata",
    )
)  # in their order on the wire; width 0 for text

FINAL_VERSION = 2**64 - 1  # `if_version` of a row that may be refused although other parts of its account have funds
BALANCING = int(Flag.balancing_debit | Flag.balancing_credit)
ALL_FLAGS = int(Flag.linked | Flag.hold | Flag.capture | Flag.void | Flag.final | Flag.reversal) | BALANCING


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
    if_version: bytes = b""
    lock: str = ""
    token: bytes = b""
    commit: str = ""  # one of `COMMIT_PROTOCOLS`, or empty: the cluster's own
    currency: bytes = b""
    metadata: str = ""

    def __len__(self) -> int:
        return len(self.amount) // 8

    def pack(self) -> list[object]:
        """The columns as a list for msgpack; trailing defaults are left out."""
        row: list[object] = [
            self.ids, self.debit, self.credit, self.amount,
            self.flags, self.code, self.reference, self.hold_ids, self.ttl,
            self.if_version, self.lock, self.token, self.commit, self.currency, self.metadata,
        ]  # fmt: skip
        while not row[-1]:
            row.pop()
        return row

    @classmethod
    def unpack(cls, row: object) -> Transfers:
        """Checks the shape, not the meaning; a batch is itself. Raises ProtocolError(bad_request), saying what was expected."""
        if isinstance(row, Transfers):
            return row
        if not isinstance(row, (list, tuple)) or not 4 <= len(row) <= len(_COLUMNS):
            raise _wrong(f"expected a list of 4 to {len(_COLUMNS)} columns")
        if not isinstance(row[3], bytes):
            raise _wrong("column amount must be bytes")
        n = len(row[3]) // 8
        for column, (name, width) in zip(row, _COLUMNS, strict=False):
            is_left_out = not column and name not in _REQUIRED
            if width:
                if type(column) is not bytes:
                    raise _wrong(f"column {name} must be bytes")
                if len(column) != n * width and not is_left_out:
                    raise _wrong(f"column {name} must hold {width} bytes a row")
            elif type(column) is not str:
                raise _wrong(f"column {name} must be text")
            elif name != "commit" and column.count(SEPARATOR) != n - 1 and not is_left_out:
                raise _wrong(f"column {name} must hold one text a row")
        if not 1 <= n <= TRANSFERS_MAX:
            raise _wrong(f"expected 1 to {TRANSFERS_MAX} rows, got {n}")
        batch = cls(*row)
        if batch.commit not in ("", *COMMIT_PROTOCOLS):
            expected = " or ".join(COMMIT_PROTOCOLS)
            raise _wrong(f"commit protocol {str(batch.commit)[:20]!r}: expected {expected}")
        return batch

    def length(self) -> int:
        """Characters and bytes of all columns; on the wire a character takes up to four bytes."""
        return sum(map(len, _all_columns(self)))

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

    @property
    def has_final(self) -> bool:
        """Whether any row has the `if_version` that only nodes may give it."""
        return bool(self.if_version) and bool((np.frombuffer(self.if_version, "<u8") == FINAL_VERSION).any())

    @property
    def has_lock(self) -> bool:
        """Whether any row wants a lock to be held, which only the coordinator finds out."""
        return bool(self.lock) and bool(self.lock.strip(SEPARATOR))

    def take(self, rows: NDArray[np.intp]) -> Transfers:
        """The given rows, in the given order."""
        return Cutter(self).take(rows)

    @staticmethod
    def concatenate(batches: Sequence[Transfers]) -> Transfers:
        """One batch of all the rows, in order; `commit` is that of the first."""
        if len(batches) == 1:
            return batches[0]

        def fixed(name: str) -> bytes:
            if not any(getattr(batch, name) for batch in batches):
                return b""
            return b"".join(getattr(batch, name) or bytes(_WIDTHS[name] * len(batch)) for batch in batches)

        def text(name: str) -> str:
            if not any(getattr(batch, name) for batch in batches):
                return ""
            return SEPARATOR.join(getattr(batch, name) or SEPARATOR * (len(batch) - 1) for batch in batches)

        return Transfers(
            fixed("ids"), SEPARATOR.join(b.debit for b in batches), SEPARATOR.join(b.credit for b in batches),
            fixed("amount"), fixed("flags"), fixed("code"), text("reference"), fixed("hold_ids"), fixed("ttl"),
            fixed("if_version"), text("lock"), fixed("token"), batches[0].commit, fixed("currency"), text("metadata"),
        )  # fmt: skip


def _wrong(expected: str) -> ProtocolError:
    return ProtocolError(f"transfers: {expected}", ErrorCode.bad_request)


class Cutter:
    """Takes rows out of one batch again and again; the columns are split only once."""

    def __init__(self, batch: Transfers) -> None:
        self._fixed = {
            name: np.frombuffer(column, f"V{width}")
            for name, width in _WIDTHS.items()
            if (column := getattr(batch, name))
        }
        self._texts = {name: column.split(SEPARATOR) for name in _TEXTS if (column := getattr(batch, name))}
        self._commit = batch.commit

    def take(self, rows: NDArray[np.intp]) -> Transfers:
        """The given rows, in the given order."""
        places = rows.tolist()
        columns: dict[str, Any] = {name: column[rows].tobytes() for name, column in self._fixed.items()}
        for name, values in self._texts.items():
            columns[name] = SEPARATOR.join([values[place] for place in places])
        return Transfers(**columns, commit=self._commit)
