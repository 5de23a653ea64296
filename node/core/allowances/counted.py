"""What was counted and is not final yet: the reservations of rounds, and the holds whose rest may come back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgpack
import numpy as np

from node.core.allowances.columns import Columns, Int64s, Positions
from node.core.machine import Change, Int32s, Rows, Statuses

ROUNDS, HOLDS = "allowance_rounds", "allowance_holds"
SERIAL_KEY = 0  # of the row of `HOLDS` that says which serial was given last; holds have those from 1


@dataclass(frozen=True, slots=True)
class Reserved:
    """Reservations of a round, in columns."""

    transactions: Int32s
    allowances: Int32s
    amounts: Int64s
    days: Int64s  # of the allowances, when it was reserved
    holds: list[tuple[int, bytes]]  # that rows here open: (place in the columns, id)

    def pack(self) -> list[Any]:
        """For a checkpoint and a digest."""
        return [
            *(column.tobytes() for column in (self.transactions, self.allowances, self.amounts, self.days)),
            self.holds,
        ]

    @classmethod
    def unpack(cls, packed: list[Any]) -> Reserved:
        """Reads `pack`."""
        *columns, holds = packed
        kinds = (np.int32, np.int32, np.int64, np.int64)
        read = (np.frombuffer(column, kind) for column, kind in zip(columns, kinds, strict=True))
        transactions, allowances, amounts, days = read
        return cls(transactions, allowances, amounts, days, [(place, id) for place, id in holds])


@dataclass(frozen=True, slots=True)
class Opened:
    """A hold whose amount was counted, and on which day."""

    serial: int  # of its checkpoint row
    id: bytes
    allowance: int
    amount: int
    day: int

    def pack(self) -> list[Any]:
        """For a checkpoint and a digest."""
        return [self.serial, self.id, self.allowance, self.amount, self.day]


class Pending:
    """Open reservations of rounds, and open holds."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._rounds: dict[int, list[Reserved]] = {}
        self._ending: dict[int, list[int]] = {}  # by round: the allowance of each of its rows that end a hold
        self._holds: dict[bytes, Opened] = {}
        self._last_serial = SERIAL_KEY
        self._changed_rounds: dict[int, None] = {}
        self._changed_holds: dict[int, bytes] = {}

    @property
    def has_holds(self) -> bool:
        """Whether any hold counts."""
        return bool(self._holds)

    def reserve(self, round_id: int, reserved: Reserved) -> None:
        """Keeps what a round has reserved."""
        self._rounds.setdefault(round_id, []).append(reserved)
        self._changed_rounds[round_id] = None

    def end_later(self, round_id: int, allowances: list[int]) -> None:
        """A round ends holds of these, one each, if it is decided so: `Columns.ending` has them."""
        self._ending.setdefault(round_id, []).extend(allowances)
        self._changed_rounds[round_id] = None

    def decide(self, round_id: int, statuses: Statuses) -> None:
        """What happens is spent, all else is given back; of a day that is over, nobody counts any more."""
        columns = self._columns
        for reserved in self._rounds.pop(round_id, []):
            self._changed_rounds[round_id] = None
            allowances = reserved.allowances.astype(np.intp)
            is_today = columns.day[allowances] == reserved.days
            happens = is_today & (statuses[reserved.transactions] == 0)
            np.subtract.at(columns.reserved, allowances[is_today], reserved.amounts[is_today])
            np.add.at(columns.spent, allowances[happens], reserved.amounts[happens])
            self._assert_sound(allowances)
            columns.touch(allowances)
            for place, id in reserved.holds:
                if statuses[reserved.transactions[place]] == 0:
                    self._open_of(reserved, place, id)
        for allowance in self._ending.pop(round_id, []):
            self._changed_rounds[round_id] = None
            columns.ending[allowance] -= 1
            columns.touch_one(allowance)

    def _open_of(self, reserved: Reserved, place: int, id: bytes) -> None:
        allowance, amount = reserved.allowances.item(place), reserved.amounts.item(place)
        day = reserved.days.item(place)
        if self._columns.day[allowance] == day:
            self._columns.held[allowance] += amount
        self.open(id, allowance, amount, day)

    def _assert_sound(self, allowances: Positions) -> None:
        spent, reserved = self._columns.spent[allowances], self._columns.reserved[allowances]
        assert not (spent < 0).any() and not (reserved < 0).any(), "an allowance gives back more than it has counted"

    def find(self, id: bytes) -> Opened | None:
        """A hold that has counted and is not over."""
        return self._holds.get(id)

    def open(self, id: bytes, allowance: int, amount: int, day: int) -> None:
        """A hold exists; what it gives back counts on this day alone. `Columns.held` has it already."""
        assert id not in self._holds, "a hold is opened twice"
        self._last_serial += 1
        self._holds[id] = Opened(self._last_serial, id, allowance, amount, day)
        self._changed_holds[self._last_serial] = id

    def forget(self, id: bytes) -> Opened | None:
        """A hold is over, and has given its rest back if it had counted."""
        opened = self._holds.pop(id, None)
        if opened is not None:
            self._changed_holds[opened.serial] = id
        return opened

    def end(self, id: bytes, rest: int) -> None:
        """A hold is over: its rest may be paid out again, if it is still the day on which it has counted."""
        opened = self.forget(id)
        if opened is None:
            return
        columns, allowance = self._columns, opened.allowance
        if columns.day[allowance] == opened.day:
            columns.spent[allowance] -= rest
            columns.held[allowance] -= opened.amount
            assert columns.spent[allowance] >= 0 and columns.held[allowance] >= 0, (
                "an allowance gives back more than it has counted"
            )
            columns.touch_one(allowance)

    def state(self) -> list[Any]:
        """Everything, for a digest."""
        rounds = [[id, self._packed_round(id)] for id in sorted({*self._rounds, *self._ending})]
        return [rounds, [opened.pack() for opened in self._holds.values()], self._last_serial]

    def changes(self) -> list[Change]:
        """A row a round and a hold, and the last serial."""
        changes = [Change(ROUNDS, round_id, self._packed_round(round_id)) for round_id in self._changed_rounds]
        for serial, id in self._changed_holds.items():
            opened = self._holds.get(id)
            is_there = opened is not None and opened.serial == serial
            changes.append(Change(HOLDS, serial, msgpack.packb(opened.pack()) if opened and is_there else None))
        if self._changed_holds:
            changes.append(Change(HOLDS, SERIAL_KEY, msgpack.packb(self._last_serial)))
        self._changed_rounds.clear()
        self._changed_holds.clear()
        return changes

    def _packed_round(self, round_id: int) -> bytes | None:
        kept, ending = self._rounds.get(round_id, []), self._ending.get(round_id, [])
        if not kept and not ending:
            return None
        packed: bytes = msgpack.packb([[reserved.pack() for reserved in kept], ending])
        return packed

    def restore(self, rows: Rows) -> None:
        """Loads a checkpoint."""
        for round_id, value in rows(ROUNDS):
            kept, ending = msgpack.unpackb(value)
            if kept:
                self._rounds[round_id] = [Reserved.unpack(packed) for packed in kept]
            if ending:
                self._ending[round_id] = ending
        for key, value in rows(HOLDS):
            if key == SERIAL_KEY:
                self._last_serial = msgpack.unpackb(value)
            else:
                opened = Opened(*msgpack.unpackb(value))
                self._holds[opened.id] = opened
        self._assert_sound(np.arange(self._columns.count))


@dataclass(slots=True)
class CountedRows:
    """Rows that were taken by columns."""

    transactions: Int32s
    allowances: Int32s
    amounts: Int64s


@dataclass(slots=True)
class CountedRow:
    """A row that was taken alone."""

    transaction: int
    allowance: int
    amount: int
    hold_id: bytes  # of the hold that it opens, or empty


@dataclass(slots=True)
class Counted:
    """What one batch counts; `close` hands it on."""

    pending: Pending
    columns: Columns
    round_id: int | None
    _pieces: list[CountedRows] = field(default_factory=list)
    _single: list[CountedRow] = field(default_factory=list)
    _ending: list[int] = field(default_factory=list)
    _opening: dict[bytes, int] = field(default_factory=dict)  # amounts of the holds among `_single`
    _ended: list[bytes] = field(default_factory=list)  # holds whose rest was given back, in a local batch

    def add(self, transactions: Int32s, allowances: Positions, amounts: Int64s) -> None:
        """Rows that were taken by columns; none of them opens a hold."""
        if self.round_id is not None:
            self._pieces.append(CountedRows(transactions, allowances.astype(np.int32), amounts))

    def add_one(self, transaction: int, allowance: int, amount: int, hold_id: bytes) -> None:
        """A row that was taken alone."""
        self._single.append(CountedRow(transaction, allowance, amount, hold_id))
        if hold_id:
            self._opening[hold_id] = amount

    def forget_one(self) -> None:
        """The row that was added last has been given back."""
        row = self._single.pop()
        if row.hold_id:
            del self._opening[row.hold_id]

    def held_today(self, hold_id: bytes, allowance: int) -> int | None:
        """What a hold of the account was opened with, if it has counted for the day under way, in this batch or before; else None."""
        opened = self.pending.find(hold_id)
        if opened is None:
            return self._opening.get(hold_id)
        return opened.amount if opened.day == self.columns.day[allowance] else None

    def end_now(self, hold_id: bytes) -> None:
        """A hold that a local batch ends; what it gives back was taken off what is spent."""
        self._ended.append(hold_id)

    def reopen_one(self) -> None:
        """The hold that was ended last is open again."""
        self._ended.pop()

    def end_holds(self, allowances: list[int]) -> None:
        """Rows of a round that end a hold of each of these were taken."""
        for allowance in allowances:
            self.columns.ending[allowance] += 1
            self.columns.touch_one(allowance)
        self._ending += allowances

    def keep_holds(self, allowances: list[int]) -> None:
        """Those that were added last have been given back."""
        for allowance in allowances:
            self.columns.ending[allowance] -= 1
            self._ending.pop()

    def close(self) -> None:
        """Hands on what was not given back."""
        if self.round_id is None:
            for row in self._single:
                if row.hold_id:
                    self.pending.open(row.hold_id, row.allowance, row.amount, self.columns.day.item(row.allowance))
            for hold_id in self._ended:
                self.pending.forget(hold_id)
            return
        if self._ending:
            self.pending.end_later(self.round_id, self._ending)
        pieces = [*self._pieces, self._columns_of_single()]
        transactions = np.concatenate([piece.transactions for piece in pieces])
        allowances = np.concatenate([piece.allowances for piece in pieces])
        amounts = np.concatenate([piece.amounts for piece in pieces])
        order = transactions.argsort(kind="stable")  # whichever way a row was taken
        if len(order):
            allowances = allowances[order]
            single_from = len(order) - len(self._single)
            places = order.argsort()[single_from:].tolist()
            holds = [(place, row.hold_id) for place, row in zip(places, self._single, strict=True) if row.hold_id]
            reserved = Reserved(
                transactions[order], allowances, amounts[order], self.columns.day[allowances], sorted(holds)
            )
            self.pending.reserve(self.round_id, reserved)

    def _columns_of_single(self) -> CountedRows:
        rows = self._single
        return CountedRows(
            np.array([row.transaction for row in rows], np.int32), np.array([row.allowance for row in rows], np.int32),
            np.array([row.amount for row in rows], np.int64),
        )  # fmt: skip
