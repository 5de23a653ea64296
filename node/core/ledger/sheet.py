"""A few accounts as plain integers: what the exact path reads and writes instead of columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from node.core.ledger.accounts import Accounts
from node.core.ledger.limits import CURRENCY_MASK, NO_MAXIMUM, NO_MINIMUM, SMALL_BATCH, STATE_SHIFT
from protocol.status import AccountState, Status


@dataclass(slots=True)
class Own:
    """What the transaction of a round has reserved on one account so far."""

    incoming: int = 0
    unsettled: int = 0
    leaving: int = 0  # the part of `unsettled` that makes room: debits, not holds
    returning: int = 0  # the part of `unsettled` that holds give back, for the rows behind


NOTHING_OWN = Own()


class Cell:
    """One account's balances and limits."""

    __slots__ = ("changed", "currency", "held", "incoming", "maximum", "minimum", "posted", "state", "unsettled")

    def __init__(
        self, posted: int, held: int, incoming: int, unsettled: int, minimum: int, maximum: int, currency_and_state: int
    ) -> None:
        self.posted, self.held, self.incoming, self.unsettled = posted, held, incoming, unsettled
        self.minimum, self.maximum = minimum, maximum
        self.currency, self.state = currency_and_state & CURRENCY_MASK, currency_and_state >> STATE_SHIFT
        self.changed = False

    def debit_status(self, amount: int, own: Own) -> int:
        """Whether the account can give `amount`, counting what its own transaction has reserved."""
        free = self.posted - self.held - amount
        gained = own.incoming + own.returning
        if free >= NO_MINIMUM and free + gained >= self.minimum:
            return 0
        others = self.incoming - own.incoming + self.unsettled - own.unsettled
        if others and free + gained + others >= self.minimum:
            return Status.undecided
        return Status.overflows_debit_account if free < NO_MINIMUM else Status.insufficient_funds

    def credit_status(self, amount: int, own: Own) -> int:
        """Whether the account can take `amount`, counting what its own transaction has reserved."""
        full = self.posted + self.incoming + amount
        if full <= NO_MAXIMUM and full - own.leaving <= self.maximum:
            return 0
        others = self.incoming - own.incoming + self.unsettled - own.unsettled
        if others and full - own.leaving - others <= self.maximum:
            return Status.undecided
        return Status.overflows_credit_account if full > NO_MAXIMUM else Status.exceeds_maximum_balance

    def spendable(self, own: Own) -> tuple[int, int]:
        """What the account can give for sure, and how much open rounds may yet add to that."""
        free = self.posted - self.held
        others = self.incoming - own.incoming + self.unsettled - own.unsettled
        return min(free - NO_MINIMUM, free + own.incoming + own.returning - self.minimum), others

    def owed(self, own: Own) -> tuple[int, int]:
        """By how much the account is below 0 for sure, and how much open rounds may yet add to that."""
        others = self.incoming - own.incoming + self.unsettled - own.unsettled
        return own.leaving - self.posted - self.incoming, others

    @property
    def is_closed(self) -> bool:
        """Nothing moves any more."""
        return self.state == AccountState.closed

    @property
    def is_frozen(self) -> bool:
        """Nothing moves for now."""
        return self.state == AccountState.frozen


class Sheet:
    """Cells by row, read when first asked for, written back together."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        self.cells: dict[int, Cell] = {}

    def cell(self, row: int) -> Cell:
        """The account's cell."""
        cell = self.cells.get(row)
        if cell is None:
            a = self._accounts
            cell = self.cells[row] = Cell(
                a.posted.item(row), a.held.item(row), a.incoming.item(row), a.unsettled.item(row),
                a.minimum.item(row), a.maximum.item(row), a.currency_and_state.item(row),
            )  # fmt: skip
        return cell

    def load(self, rows: list[int]) -> None:
        """Reads many accounts at once."""
        if len(rows) < SMALL_BATCH:
            return
        wanted = np.unique(np.array(rows, np.int32))
        wanted = wanted[wanted >= 0]
        a = self._accounts
        columns = [column[wanted].tolist() for column in (
            a.posted, a.held, a.incoming, a.unsettled, a.minimum, a.maximum, a.currency_and_state,
        )]  # fmt: skip
        for row, *values in zip(wanted.tolist(), *columns, strict=True):
            self.cells[row] = Cell(*values)

    def write(self, index: int | None) -> None:
        """Writes changed cells back, as changed by the entry at `index`; None: only reservations, which leave the version."""
        a = self._accounts
        changed = [(row, cell) for row, cell in self.cells.items() if cell.changed]
        if len(changed) >= SMALL_BATCH:
            rows = np.array([row for row, _ in changed], np.int32)
            a.posted[rows] = [cell.posted for _, cell in changed]
            a.held[rows] = [cell.held for _, cell in changed]
            a.incoming[rows] = [cell.incoming for _, cell in changed]
            a.unsettled[rows] = [cell.unsettled for _, cell in changed]
            a.note_reserved(rows) if index is None else a.touch(rows, index)
            a.assert_sound(rows)
            return
        for row, cell in changed:
            a.posted[row] = cell.posted
            a.held[row] = cell.held
            a.incoming[row] = cell.incoming
            a.unsettled[row] = cell.unsettled
            a.note_reserved_one(row) if index is None else a.touch_one(row, index)
            a.assert_sound_one(row)
