"""Legs of rounds: of those that are open, and what is remembered of those that were decided."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from node.core.ledger.batch import Batch
from node.core.ledger.ids import Run, sorted_run
from node.core.ledger.limits import DEBIT, Int64s, Marks
from node.core.machine.questions import Sighting


@dataclass(frozen=True, slots=True)
class Passed:
    """What the trail keeps of legs: four columns of their batch."""

    ids: bytes
    numbers: bytes
    sides: bytes
    round_rows: bytes  # empty where each transaction is one transfer

    def find(self, id: bytes) -> int:
        """The row of an id, -1 if it is not here."""
        place = self.ids.find(id)
        while place > 0 and place % 16:  # these bytes begin inside another id
            place = self.ids.find(id, place + 1)
        return place // 16

    def sighting(self, round_id: int, row: int) -> Sighting:
        """What a trace tells of this leg."""
        number = int.from_bytes(self.numbers[4 * row : 4 * row + 4], "little")
        round_row = int.from_bytes(self.round_rows[4 * row : 4 * row + 4], "little") if self.round_rows else -1
        return Sighting(round_id, number, round_row, self.sides[row])


@dataclass(slots=True)
class Prepared:
    """Legs of an open round."""

    batch: Batch
    known: Marks  # rows whose ids were known before: their outcome is not recorded again
    reserved: Marks  # rows that hold a reservation
    moved: Int64s  # amounts; for a void what it will release
    run: Run = field(init=False)  # sorted keys of the ids that this round holds

    def __post_init__(self) -> None:
        own = self.owned()
        ids = self.batch.ids if own.all() else np.frombuffer(self.batch.ids, "V16")[own].tobytes()
        self.run = sorted_run(ids)[1]

    def owned(self) -> Marks:
        """Rows whose ids wait for this round's decision."""
        owned: Marks = ((self.batch.side_bits() & DEBIT) != 0) & ~self.known
        return owned

    def has(self, id: bytes, key: int) -> bool:
        """Whether this id waits for the decision."""
        if not self.run.has(key):
            return False
        rows = np.frombuffer(self.batch.ids, np.uint64).reshape(-1, 2)
        first, second = np.frombuffer(id, np.uint64)
        return bool(((rows[:, 0] == first) & (rows[:, 1] == second) & self.owned()).any())

    def passed(self) -> Passed:
        """For the trail."""
        return Passed(self.batch.ids, self.batch.numbers, self.batch.sides, self.batch.round_rows)

    def names(self, row: int) -> bool:
        """Whether a leg names this account."""
        return bool(((self.batch.debit_rows() == row) | (self.batch.credit_rows() == row)).any())

    def pack(self) -> list[Any]:
        """For a checkpoint."""
        return [self.batch.logged(), self.known.tobytes(), self.reserved.tobytes(), self.moved.tobytes()]

    @classmethod
    def unpack(cls, packed: list[Any]) -> Prepared:
        """Reads `pack`."""
        body, known, reserved, moved = packed
        known, reserved = np.frombuffer(known, np.bool_), np.frombuffer(reserved, np.bool_)
        return cls(Batch.of(body), known, reserved, np.frombuffer(moved, np.int64))
