"""What allowances have to say in a batch of transfers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from node.core.allowances.columns import NONE, Columns, Int64s, Positions
from node.core.allowances.counted import Counted
from node.core.machine import NO_ROWS, Failure, Int32s, Marks, Payments, Statuses
from protocol.columns import Flag
from protocol.status import AMOUNT_MAX, Status

DEBIT_SIDE = 1
UNCOUNTED = int(Flag.capture | Flag.void)  # their hold has counted when it was opened
ENDS = int(Flag.void | Flag.final)


@dataclass(slots=True)
class Taken:
    """What the transaction judged last counts for."""

    transaction: int
    rows: list[int]  # of the docket
    before: list[tuple[int, int, int, int]]  # allowance, and what was spent, reserved and held of it
    ending: list[int]  # the allowance of each row that ends a hold


class AllowancesDocket:
    """Rows that pay out of accounts with an allowance; implements `Docket`.

    What a round takes is reserved, and `closed` with it; what a local batch takes is spent.
    """

    def __init__(
        self, columns: Columns, payments: Payments, counting: Counting, ending: Int32s, now_ns: int, counted: Counted
    ) -> None:
        """`ending` are the rows of a round that end holds; `counted` keeps what is taken, for a round's decision and for holds."""
        rows = counting.rows
        self._columns = columns
        self._batch_rows = rows
        self._now_ns = now_ns
        self._counted = counted
        self._of = counting.of
        self._amounts: Int64s = payments.amounts if counting.are_all else payments.amounts[rows]
        self._transactions: Int32s = rows if payments.numbers is None else payments.numbers[rows]
        # What a local batch spends, and a round reserves: also with all rows of each account, once that is found to fit.
        self._column, self._other = columns.spent, columns.reserved
        if counted.round_id is not None:
            self._column, self._other = columns.reserved, columns.spent
        self._after: Int64s | None = None
        self._ending: dict[int, list[int]] = {}  # by transaction: the allowance of each row that ends a hold
        for row in ending.tolist():
            number = row if payments.numbers is None else payments.numbers.item(row)
            self._ending.setdefault(number, []).append(columns.of_one(payments.debit.item(row)))
        self._lines: dict[int, list[int]] | None = None  # of each transaction, once one is judged
        self._taken: Taken | None = None
        self._payments = payments

    def few(self) -> None:
        """See `Docket`: others open them."""

    def sort(self, statuses: Statuses) -> Marks | None:
        """See `Docket`: in question are the allowances that all of it would exceed, and those whose day is over."""
        of, amounts = self._of, self._amounts
        if not len(of):
            return None
        if int(amounts.min()) < 0 or int(amounts.max()) * len(amounts) > AMOUNT_MAX:
            tight = np.ones(len(of), np.bool_)
        else:
            over = self._over()
            if not over.any():
                return None
            tight = self._columns.with_all_rows(of, over)
        marks = np.zeros(len(statuses), np.bool_)
        marks[self._transactions[tight]] = True
        return marks

    def _over(self) -> Marks:
        columns, of = self._columns, self._of
        np.add.at(columns.sums, of, self._amounts)
        self._after = self._column[of] + columns.sums[of]
        columns.sums[of] = 0
        over: Marks = self._after > columns.limit[of] - self._other[of]
        if columns.earliest_ns() <= self._now_ns:
            over |= columns.until_ns[of] <= self._now_ns
        if self._payments.flags is not None:
            over |= self._payments.is_open(self._batch_rows)
        return over

    def take(self, chosen: Marks | None) -> None:
        """See `Docket`."""
        if chosen is None and self._after is not None:
            self._column[self._of] = self._after
            self._columns.touch(self._of)
            self._counted.add(self._transactions, self._of, self._amounts)
        elif chosen is not None and (lines := np.flatnonzero(chosen[self._transactions])).size:
            of, amounts = self._of[lines], self._amounts[lines]
            np.add.at(self._column, of, amounts)
            self._columns.touch(of)
            self._counted.add(self._transactions[lines], of, amounts)
        for number, ending in self._ending.items():
            if chosen is None or chosen[number]:
                self._counted.end_holds(ending)

    def judge(self, number: int, *, may_be_given_back: bool) -> Failure | None:
        """See `Docket`. What open rounds have reserved may come back, and what they end holds of, but for the transaction's own part."""
        lines = self._lines_of(number)
        self._taken = Taken(number, lines, [], [])
        own: dict[int, int] = {}
        for line in lines:
            status = self._judge_line(line, own)
            if status:
                self.give_back(number)
                return int(self._batch_rows[line]), status
        self._taken.ending = self._ending.get(number, [])
        self._counted.end_holds(self._taken.ending)
        return None

    def _lines_of(self, transaction: int) -> list[int]:
        if self._lines is None:
            self._lines = {}
            for line, number in enumerate(self._transactions.tolist()):
                self._lines.setdefault(number, []).append(line)
        return self._lines.get(transaction, [])

    def _judge_line(self, line: int, own: dict[int, int]) -> int:
        assert self._taken is not None
        columns, allowance, amount = (
            self._columns,
            int(self._of[line]),
            self._payments.amounts.item(self._batch_rows[line]),
        )
        spent, reserved = int(columns.spent[allowance]), int(columns.reserved[allowance])
        limit, mine = int(columns.limit[allowance]), own.get(allowance, 0)
        if columns.until_ns[allowance] <= self._now_ns:
            return Status.retry
        held = int(columns.held[allowance])
        if spent + mine + amount > limit:
            may_return = held if columns.ending[allowance] else 0
            return Status.undecided if spent - may_return + mine + amount <= limit else Status.exceeds_allowance
        if spent + reserved + amount > limit:
            return Status.undecided
        self._taken.before.append((allowance, spent, reserved, held))
        hold_id = self._hold_at(line)
        if self._counted.round_id is None:
            columns.spent[allowance] = spent + amount
            columns.held[allowance] = held + (amount if hold_id else 0)
        else:
            columns.reserved[allowance] = reserved + amount
            own[allowance] = mine + amount
        columns.touch_one(allowance)
        self._counted.add_one(self._transactions.item(line), allowance, amount, hold_id)
        return 0

    def _hold_at(self, line: int) -> bytes:
        """The id of the hold that the row opens, or nothing."""
        flags, row = self._payments.flags, int(self._batch_rows[line])
        is_hold = flags is not None and bool(flags[row] & Flag.hold)
        return self._payments.ids[16 * row : 16 * row + 16] if is_hold else b""

    def give_back(self, number: int) -> None:
        """See `Docket`."""
        assert self._taken is not None and self._taken.transaction == number, "only the transaction judged last"
        columns = self._columns
        for allowance, spent, reserved, held in reversed(self._taken.before):
            columns.spent[allowance], columns.reserved[allowance], columns.held[allowance] = spent, reserved, held
            self._counted.forget_one()
        self._counted.keep_holds(self._taken.ending)
        self._taken.before, self._taken.ending = [], []

    def refuse(self, number: int, failure: Failure) -> None:
        """See `Docket`."""

    def close(self, statuses: Statuses) -> bytes:
        """See `Docket`."""
        self._counted.close()
        return b""

    def payments(self) -> Payments | None:
        """See `Docket`."""
        return None


@dataclass(frozen=True, slots=True)
class Counting:
    """The rows of a batch that pay out of accounts with an allowance."""

    rows: Int32s
    of: Positions  # the allowance of each
    are_all: bool  # of the batch


def counting_rows(columns: Columns, payments: Payments) -> Counting:
    """Those that count, in columns."""
    of = columns.of(payments.debit)
    counts = _debits(of, payments)
    if payments.flags is not None:
        counts &= (payments.flags & UNCOUNTED) == 0
    if counts.all():
        return Counting(np.arange(len(of), dtype=np.int32), of, are_all=True)
    rows = np.flatnonzero(counts)
    return Counting(rows.astype(np.int32), of[rows], are_all=False)


def ending_rows(columns: Columns, payments: Payments) -> Int32s:
    """The rows of a batch that end holds of accounts with an allowance, so that their rest comes back."""
    if payments.flags is None or not (ends := (payments.flags & ENDS) != 0).any():
        return NO_ROWS
    return np.flatnonzero(ends & _debits(columns.of(payments.debit), payments)).astype(np.int32)


def _debits(of: Positions, payments: Payments) -> Marks:
    """The rows whose debit account is here and has an allowance."""
    marks: Marks = of != NONE
    if payments.sides is not None:
        marks &= (payments.sides & DEBIT_SIDE) != 0
    return marks
