"""Accounts in columns: one row an account, a dictionary from id to row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node.core.ledger.limits import (
    CURRENCY_MASK,
    NOT_HERE,
    PAGE_ACCOUNTS,
    STATE_SHIFT,
    Int32s,
    Int64s,
    Marks,
    Positions,
    currency_text,
)  # fmt: skip
from protocol.status import AccountState

COLUMNS = (
    "posted",
    "held",
    "incoming",
    "unsettled",
    "minimum",
    "maximum",
    "version",
    "currency_and_state",
    "is_share",
    "only_takes",
)
"""What a balance page holds, in this order."""


@dataclass(frozen=True, slots=True)
class LastUpdate:
    """What came last of an account's updates, and how it was opened."""

    id: bytes  # chosen by its sender; empty where a share followed its home share
    status: int  # the `AccountStatus` that it was answered
    version: int  # of the account then; of a share that followed: of its home share
    opened: bytes  # digest of the terms that the account was opened with, before any update

    def pack(self) -> list[Any]:
        """For a checkpoint and a digest."""
        return [self.id, int(self.status), self.version, self.opened]


class Accounts:
    """Growable columns. `unsettled` is what open rounds have reserved of debits: it may yet come back or leave."""

    def __init__(self) -> None:
        self.count = 0
        self.capacity = 0
        self.rows: dict[str, int] = {}
        self.names: list[str] = []
        self.owners: dict[int, str] = {}
        self.metadata: dict[int, bytes] = {}
        self.updates: dict[int, LastUpdate] = {}  # of accounts that have ever been updated
        self.posted: Int64s = np.zeros(0, np.int64)
        self.held: Int64s = np.zeros(0, np.int64)
        self.incoming: Int64s = np.zeros(0, np.int64)
        self.unsettled: Int64s = np.zeros(0, np.int64)
        self.minimum: Int64s = np.zeros(0, np.int64)
        self.maximum: Int64s = np.zeros(0, np.int64)
        self.version: Int64s = np.zeros(0, np.int64)  # log index of the last change, reservations apart
        self.currency_and_state: Int32s = np.zeros(0, np.int32)
        self.is_share: Marks = np.zeros(0, np.bool_)  # of a split account, whose id has a row in every shard
        self.only_takes: Marks = np.zeros(0, np.bool_)  # such a share that is not the home share
        self.has_shares = False
        self.debit_sum: Int64s = np.zeros(0, np.int64)  # scratch, zero between commands
        self.credit_sum: Int64s = np.zeros(0, np.int64)
        self.tight: Marks = np.zeros(0, np.bool_)
        self.dirty_pages: Marks = np.zeros(0, np.bool_)
        self.dirty_statics: Marks = np.zeros(0, np.bool_)

    def add(
        self,
        names: Sequence[str],
        currencies_and_states: Sequence[int],
        minimums: Sequence[int],
        maximums: Sequence[int],
    ) -> int:
        """Appends accounts with new ids; the first one's row."""
        first, last = self.count, self.count + len(names)
        self._reserve(last)
        self.rows.update(zip(names, range(first, last), strict=True))
        self.names.extend(names)
        self.currency_and_state[first:last] = currencies_and_states
        self.minimum[first:last] = minimums
        self.maximum[first:last] = maximums
        pages = slice(first // PAGE_ACCOUNTS, (last - 1) // PAGE_ACCOUNTS + 1)
        self.dirty_pages[pages] = True
        self.dirty_statics[pages] = True
        self.count = last
        return first

    def _reserve(self, count: int) -> None:
        if count <= self.capacity:
            return
        wanted = max(count, self.capacity + self.capacity // 4)
        self.capacity = -(-wanted // PAGE_ACCOUNTS) * PAGE_ACCOUNTS
        for name in (*COLUMNS, "debit_sum", "credit_sum", "tight"):
            setattr(self, name, _grown(getattr(self, name), self.capacity))
        pages = self.capacity // PAGE_ACCOUNTS
        self.dirty_pages = _grown(self.dirty_pages, pages)
        self.dirty_statics = _grown(self.dirty_statics, pages)

    def rows_of(self, names: Sequence[str]) -> Int32s:
        """The row of each id, -1 where there is none."""
        if len(names) > 1:
            try:
                return np.array(itemgetter(*names)(self.rows), np.int32)
            except KeyError:
                pass
        get = self.rows.get
        if len(names) == 1:
            return np.array((get(names[0], NOT_HERE),), np.int32)
        return np.array([get(name, NOT_HERE) for name in names], np.int32)

    def put_state(self, row: int, state: AccountState) -> None:
        """Keeps the currency as it is."""
        self.currency_and_state[row] = int(self.currency_and_state[row]) & CURRENCY_MASK | state << STATE_SHIFT

    def currency(self, row: int) -> str:
        """ISO 4217 letters."""
        return currency_text(int(self.currency_and_state[row]) & CURRENCY_MASK)

    def state(self, row: int) -> AccountState:
        """Open, frozen or closed."""
        return AccountState(int(self.currency_and_state[row]) >> STATE_SHIFT)

    def assert_sound(self, rows: Int32s | Positions | slice) -> None:
        """What holds and open rounds have taken of these rows was never given back twice."""
        reserved = np.minimum(np.minimum(self.held[rows], self.incoming[rows]), self.unsettled[rows])
        assert np.min(reserved, initial=0) >= 0, "more was given back than had been reserved"

    def assert_sound_one(self, row: int) -> None:
        """`assert_sound` for a single account."""
        is_sound = self.held[row] >= 0 and self.incoming[row] >= 0 and self.unsettled[row] >= 0
        assert is_sound, "more was given back than had been reserved"

    def note_reserved(self, rows: Int32s | Positions) -> None:
        """Reservations of these accounts have changed; their version stays."""
        self.dirty_pages[rows // PAGE_ACCOUNTS] = True

    def note_reserved_one(self, row: int) -> None:
        """`note_reserved` for a single account."""
        self.dirty_pages[row // PAGE_ACCOUNTS] = True

    def touch(self, rows: Int32s | Positions, index: int) -> None:
        """These accounts were changed by the entry at `index`."""
        self.version[rows] = index
        self.dirty_pages[rows // PAGE_ACCOUNTS] = True

    def touch_one(self, row: int, index: int) -> None:
        """`touch` for a single account."""
        self.version[row] = index
        self.dirty_pages[row // PAGE_ACCOUNTS] = True


def _grown(column: NDArray[Any], size: int) -> NDArray[Any]:
    grown = np.zeros(size, column.dtype)
    grown[: len(column)] = column
    return grown
