"""Allowances in columns: one place each, by which all files here know it (`allowance`), found by the ledger's row of its account."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from node.core.machine import Change, Int32s, Marks, Rows

Int64s = NDArray[np.int64]
Positions = NDArray[np.intp]

PAGE_ROWS = 1_024  # a good size for one stored row: 56 kB
NONE = -1  # of an account without an allowance
NEVER_NS = 2**63 - 1
NUMBERS = ("limit", "spent", "reserved", "held", "ending", "until_ns", "day")
PAGES, TERMS = "allowance_pages", "allowance_terms"


@dataclass(frozen=True, slots=True)
class Terms:
    """What does not change from payment to payment."""

    account: str
    row: int  # of the account in the ledger
    zone: str
    is_set: bool  # False: taken back
    last_change: bytes  # the id of the request that changed it last

    def pack(self) -> list[Any]:
        """For a checkpoint and a digest."""
        return [self.account, self.row, self.zone, self.is_set, self.last_change]


class Columns:
    """Growable. An account keeps its place for ever, also while it has no allowance."""

    def __init__(self) -> None:
        self.count = 0
        self.terms: list[Terms] = []
        self._of_account: Int32s = np.full(2, NONE, np.int32)  # by the ledger's rows from -1 on; `NONE` at both ends
        self.limit: Int64s = np.zeros(0, np.int64)  # minor units a day
        self.spent: Int64s = np.zeros(0, np.int64)  # of this day
        self.reserved: Int64s = np.zeros(0, np.int64)  # likewise, by open rounds
        self.held: Int64s = np.zeros(0, np.int64)  # of `spent`, by holds that are open: as much as these opened with
        self.ending: Int64s = np.zeros(0, np.int64)  # rows of open rounds that end holds of the account
        self.until_ns: Int64s = np.zeros(0, np.int64)  # since 1970; when the day ends
        self.day: Int64s = np.zeros(0, np.int64)  # counts the days, so that a reservation knows its own
        self.sums: Int64s = np.zeros(0, np.int64)  # scratch, zero between batches
        self.tight: Marks = np.zeros(0, np.bool_)
        self._allowances: dict[str, int] = {}  # by account
        self._dirty_pages: Marks = np.zeros(0, np.bool_)
        self._dirty_terms: dict[int, None] = {}
        self._earliest_ns: int | None = None  # once it is asked for

    def find(self, account: str) -> int:
        """An account's allowance, `NONE` if it has never had one."""
        return self._allowances.get(account, NONE)

    def of(self, rows: Int32s) -> Positions:
        """The allowance of each account, by the ledger's rows; `NONE` for those that have none, or are not here."""
        return self._of_account.take(rows + 1, mode="clip").astype(np.intp)

    def of_one(self, row: int) -> int:
        """`of` for a single account that is here."""
        return self._of_account.item(min(row + 1, len(self._of_account) - 1))

    def put(self, terms: Terms, limit: int, until_ns: int) -> None:
        """Sets an allowance, or (`terms.is_set` false) takes it back. What was paid out today still counts."""
        allowance = self.find(terms.account)
        if allowance == NONE:
            allowance = self._add(terms)
        self.terms[allowance] = terms
        self.limit[allowance] = limit
        self.until_ns[allowance] = until_ns
        self._link(terms, allowance)
        self._dirty_terms[allowance] = None
        self.touch_one(allowance)
        self._earliest_ns = None

    def _add(self, terms: Terms) -> int:
        allowance, self.count = self.count, self.count + 1
        if self.count > len(self.limit):
            size = -(-max(self.count, self.count * 5 // 4) // PAGE_ROWS) * PAGE_ROWS
            for name in (*NUMBERS, "sums", "tight"):
                setattr(self, name, _grown(getattr(self, name), size))
            self._dirty_pages = _grown(self._dirty_pages, size // PAGE_ROWS)
        self._allowances[terms.account] = allowance
        self.terms.append(terms)
        return allowance

    def _link(self, terms: Terms, allowance: int) -> None:
        place = terms.row + 1
        if place + 1 >= len(self._of_account):
            before = len(self._of_account)
            self._of_account = _grown(self._of_account, max(place + 2, before * 2))
            self._of_account[before:] = NONE
        self._of_account[place] = allowance if terms.is_set else NONE

    def begin_day(self, allowance: int, until_ns: int, now_ns: int) -> None:
        """The next day begins, unless it has already, or is over itself."""
        if not self.until_ns[allowance] <= now_ns < until_ns:
            return
        self.spent[allowance] = self.reserved[allowance] = self.held[allowance] = 0
        self.until_ns[allowance] = until_ns
        self.day[allowance] += 1
        self.touch_one(allowance)
        self._earliest_ns = None

    def ended(self, now_ns: int) -> Positions:
        """The allowances whose day is over."""
        if self.earliest_ns() > now_ns:
            return np.zeros(0, np.intp)
        return np.flatnonzero(self.until_ns[: self.count] <= now_ns)

    def earliest_ns(self) -> int:
        """When the first of all days ends."""
        if self._earliest_ns is None:
            self._earliest_ns = int(self.until_ns[: self.count].min()) if self.count else NEVER_NS
        return self._earliest_ns

    def with_all_rows(self, allowances: Positions, chosen: Marks) -> Marks:
        """Marks the chosen places, and every other place of the same allowances."""
        self.tight[allowances[chosen]] = True
        marks: Marks = self.tight[allowances]
        self.tight[allowances[chosen]] = False
        return marks

    def touch(self, allowances: Positions) -> None:
        """Marks them as changed."""
        self._dirty_pages[allowances // PAGE_ROWS] = True

    def touch_one(self, allowance: int) -> None:
        """`touch` for a single one."""
        self._dirty_pages[allowance // PAGE_ROWS] = True

    def state(self) -> list[Any]:
        """Everything, for a digest."""
        columns = [getattr(self, name)[: self.count].tobytes() for name in NUMBERS]
        return [[terms.pack() for terms in self.terms], columns]

    def changes(self) -> list[Change]:
        """A row a page of numbers, and one for the terms of each allowance."""
        changes = [
            Change(TERMS, allowance, msgpack.packb(self.terms[allowance].pack())) for allowance in self._dirty_terms
        ]
        for page in np.flatnonzero(self._dirty_pages).tolist():
            rows = slice(page * PAGE_ROWS, min(self.count, (page + 1) * PAGE_ROWS))
            packed = [getattr(self, name)[rows].tobytes() for name in NUMBERS]
            changes.append(Change(PAGES, page, msgpack.packb(packed)))
        self._dirty_terms.clear()
        self._dirty_pages[:] = False
        return changes

    def restore(self, rows: Rows) -> None:
        """Loads a checkpoint into fresh columns."""
        for _, value in rows(TERMS):
            terms = Terms(*msgpack.unpackb(value))
            self._link(terms, self._add(terms))
        for page, value in rows(PAGES):
            for name, packed in zip(NUMBERS, msgpack.unpackb(value), strict=True):
                column = np.frombuffer(packed, np.int64)
                getattr(self, name)[page * PAGE_ROWS : page * PAGE_ROWS + len(column)] = column


def _grown(column: NDArray[Any], size: int) -> NDArray[Any]:
    grown = np.zeros(size, column.dtype)
    grown[: len(column)] = column
    return grown
