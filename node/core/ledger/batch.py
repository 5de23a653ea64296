"""A logged batch of transfers: the client's columns with rows in place of account ids, and the leader's findings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from node.core.ledger.limits import Codes, Int32s, Int64s, Marks
from node.core.machine.docket import Payments
from protocol.columns import BALANCING, SEPARATOR, Flag


@dataclass(slots=True)
class Batch:
    """Logged columns; their order is that of the log entry behind the command's name."""

    debit: bytes  # int32 rows; -1 not found, -2 - k the k-th of `others`
    credit: bytes
    ids: bytes
    amount: bytes
    flags: bytes
    code: bytes
    reference: str
    hold_ids: bytes
    ttl: bytes
    through: int  # segments before this one were searched for the ids
    hints: list[int]  # position, status, ...: rows whose outcome is known already
    hold_hints: list[int]  # position, status, ...: what became of a hold that ended long ago
    others: str  # accounts of other shards, joined
    others_count: int
    numbers: bytes = b""  # legs only: int32 transaction numbers
    sides: bytes = b""  # legs only: `Side` of each row
    round_rows: bytes = b""  # legs only: int32 rows of the round; empty where every transaction of it is one row
    if_version: bytes = b""  # uint64 versions that debit accounts must have, 0: any
    currency: bytes = b""  # uint16 codes that both accounts must have, 0: any
    metadata: str = ""
    origins: list[int] = field(default_factory=list)  # row, status, place, amount, reversed, ...: see `origins`
    tried: bytes = b""  # legs only: int64 amounts that a round tries for its balancing rows, 0: not known yet
    count: int = field(init=False, compare=False)  # rows
    # By row, once it is judged: what a capture or void gives back of its hold, 0 for nothing.
    rests: dict[int, int] = field(init=False, repr=False, compare=False, default_factory=dict)
    _references: list[str] = field(init=False, repr=False, compare=False, default_factory=list)  # split when asked for
    _metadata: list[str] = field(init=False, repr=False, compare=False, default_factory=list)
    _others: list[str] = field(init=False, repr=False, compare=False, default_factory=list)
    _fixed: Int64s | None = field(init=False, repr=False, compare=False, default=None)

    def __post_init__(self) -> None:
        self.count = len(self.amount) // 8

    @classmethod
    def of(cls, body: list[Any]) -> Batch:
        """Reads a logged body."""
        return cls(*body[1:])

    def logged(self) -> list[Any]:
        """The body to log."""
        body: list[Any] = [
            "legs" if self.sides else "transfers", self.debit, self.credit, self.ids, self.amount, self.flags, self.code, self.reference,
            self.hold_ids, self.ttl, self.through, self.hints, self.hold_hints, self.others, self.others_count,
        ]  # fmt: skip
        optional: list[Any] = [
            self.numbers, self.sides, self.round_rows, self.if_version, self.currency, self.metadata, self.origins, self.tried,
        ]  # fmt: skip
        while optional and not optional[-1]:
            optional.pop()
        return body + optional

    def transactions(self) -> Int32s | None:
        """The transaction of each row, linked rows sharing theirs with the next one; None: each row is one."""
        if self.sides:
            return self.number_rows()
        if not self.flags or not ((linked := (self.flag_bits() & Flag.linked) != 0).any()):
            return None
        starts = np.ones(self.count, np.int32)
        starts[1:] = ~linked[:-1]
        return np.cumsum(starts, dtype=np.int32) - 1

    @property
    def is_balancing(self) -> bool:
        """Whether the amount of any row follows from what an account or a hold has."""
        return bool(self.flags) and bool((self.flag_bits() & BALANCING).any())

    def fixed_amounts(self) -> Int64s:
        """Minor units, of a balancing row 0 until `Exact` has written here what it moves."""
        if not self.is_balancing:
            return self.amounts()
        if self._fixed is None:
            self._fixed = self.amounts().copy()
            self._fixed[(self.flag_bits() & BALANCING) != 0] = 0
        return self._fixed

    def transaction_count(self) -> int:
        """Transactions; of legs, up to the last one that has any here."""
        numbers = self.transactions()
        return self.count if numbers is None else int(numbers[-1]) + 1

    def payments(self) -> Payments:
        """What it moves, for other parts."""
        return Payments(
            self.ids, self.debit_rows(), self.credit_rows(), self.fixed_amounts(), self.flag_bits() if self.flags else None,
            self.side_bits() if self.sides else None, self.transactions(), self.hold_ids, self.rests,
        )  # fmt: skip

    def debit_rows(self) -> Int32s:
        """A view."""
        return np.frombuffer(self.debit, np.int32)

    def credit_rows(self) -> Int32s:
        """A view."""
        return np.frombuffer(self.credit, np.int32)

    def amounts(self) -> Int64s:
        """Minor units, a view."""
        return np.frombuffer(self.amount, np.int64)

    def flag_bits(self) -> NDArray[np.uint16]:
        """`Flag` bits, one a row."""
        return np.frombuffer(self.flags, np.uint16) if self.flags else np.zeros(self.count, np.uint16)

    def codes(self) -> NDArray[np.uint32]:
        """The user's codes, one a row."""
        return np.frombuffer(self.code, np.uint32) if self.code else np.zeros(self.count, np.uint32)

    def side_bits(self) -> Codes:
        """Legs only: `Side` of each row, a view."""
        return np.frombuffer(self.sides, np.uint8)

    def number_rows(self) -> Int32s:
        """Legs only: transaction numbers, a view."""
        return np.frombuffer(self.numbers, np.int32)

    def rows_of_round(self) -> Int32s:
        """Legs only: rows of the round, a view."""
        return np.frombuffer(self.round_rows or self.numbers, np.int32)

    def is_versioned(self) -> Marks:
        """Rows that want their debit account at a version."""
        marks: Marks = np.frombuffer(self.if_version, np.uint64) != 0
        return marks

    def currencies(self) -> NDArray[np.uint16]:
        """Codes that both accounts must have, 0: any; a view, empty where nothing is wanted."""
        return np.frombuffer(self.currency, np.uint16)

    def currency_at(self, position: int) -> int:
        """The code that both accounts of a row must have, 0: any."""
        return int.from_bytes(self.currency[2 * position : 2 * position + 2], "little")

    def id_at(self, position: int) -> bytes:
        """The 16 bytes of an id."""
        return self.ids[16 * position : 16 * position + 16]

    def hold_id(self, position: int) -> bytes:
        """The 16 bytes of the hold that a row names."""
        return self.hold_ids[16 * position : 16 * position + 16] if self.hold_ids else bytes(16)

    def ttl_seconds(self, position: int) -> int:
        """How long a hold lives."""
        return int.from_bytes(self.ttl[4 * position : 4 * position + 4], "little") if self.ttl else 0

    def code_at(self, position: int) -> int:
        """The user's code of a row."""
        return int.from_bytes(self.code[4 * position : 4 * position + 4], "little") if self.code else 0

    def reference_at(self, position: int) -> str:
        """The user's reference of a row."""
        if not self.reference:
            return ""
        self._references = self._references or self.reference.split(SEPARATOR)
        return self._references[position]

    def metadata_at(self, position: int) -> str:
        """The user's metadata of a row, packed."""
        if not self.metadata:
            return ""
        self._metadata = self._metadata or self.metadata.split(SEPARATOR)
        return self._metadata[position]

    def other(self, value: int) -> str:
        """The account of another shard that a row value below -1 stands for."""
        self._others = self._others or self.others.split(SEPARATOR)
        return self._others[-2 - value]

    def ints(self, column: bytes, letter: Literal["H", "i", "q", "Q"]) -> list[int]:
        """A fixed-width column as plain integers, without numpy's fixed cost."""
        return memoryview(column).cast(letter).tolist() if column else [0] * self.count


def pairs(flat: list[int]) -> dict[int, int]:
    """position, status, ... as a dictionary."""
    return dict(zip(flat[0::2], flat[1::2], strict=True)) if flat else {}
