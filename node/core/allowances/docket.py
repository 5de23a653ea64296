"""What allowances have to say in a batch of transfers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from node.core.allowances.columns import NONE, Columns, Int64s, Positions
from node.core.allowances.counted import Counted
from node.core.machine import NO_ROWS, Failure, Int32s, Marks, Payments, Statuses
from protocol.columns import Flag
from protocol.status import AMOUNT_MAX, Status

DEBIT_SIDE = 1
UNCOUNTED = int(Flag.capture | Flag.void)  # their hold has counted when it was opened
ENDS = int(Flag.void | Flag.final)
NOTHING: Sequence[tuple[int, int]] = ()


@dataclass(slots=True)
class Before:
    """An allowance as it was before a step of the transaction judged last."""

    allowance: int
    spent: int
    reserved: int
    held: int
    undo: Callable[[], None]  # takes the rest of the step back


@dataclass(slots=True)
class Taken:
    """What the transaction judged last counts for."""

    transaction: int
    before: list[Before] = field(default_factory=list)  # a step each
    ending: list[int] = field(default_factory=list)  # the allowance of each row of a round that ends a hold
    reserved: dict[int, int] = field(default_factory=dict)  # by allowance, in a round
    returning: dict[int, int] = field(default_factory=dict)  # likewise, what it gives back of holds of this day


class AllowancesDocket:
    """Rows that pay out of accounts with an allowance; implements `Docket`.

    What a round takes is reserved until it is decided; what a local batch takes is spent.
    """

    def __init__(
        self, columns: Columns, payments: Payments, counting: Counting, ending: Int32s, now_ns: int, counted: Counted
    ) -> None:
        """`ending` are the rows that end holds, all of them judged one by one.

        `counted` keeps what is taken, for a round's decision and for holds.
        """
        rows = counting.rows
        self._columns = columns
        self._batch_rows = rows
        self._now_ns = now_ns
        self._counted = counted
        self._of = counting.of
        self._amounts: Int64s = payments.amounts if counting.are_all else payments.amounts[rows]
        self._transactions: Int32s = rows if payments.numbers is None else payments.numbers[rows]
        # Where this batch counts, and the other of the two.
        self._column, self._other = columns.spent, columns.reserved
        if counted.round_id is not None:
            self._column, self._other = columns.reserved, columns.spent
        self._after: Int64s | None = None  # of `_column`, once all rows of the batch count
        # By transaction: each row that ends a hold, and its allowance.
        self._ending: dict[int, list[tuple[int, int]]] = {}
        for row in ending.tolist():
            number = row if payments.numbers is None else payments.numbers.item(row)
            self._ending.setdefault(number, []).append((row, columns.of_one(payments.debit.item(row))))
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
        if chosen is None:
            if not len(self._of):
                return
            assert self._after is not None, "rows are taken that nobody has summed"
            self._column[self._of] = self._after
            self._columns.touch(self._of)
            self._counted.add(self._transactions, self._of, self._amounts)
        elif (lines := np.flatnonzero(chosen[self._transactions])).size:
            of, amounts = self._of[lines], self._amounts[lines]
            np.add.at(self._column, of, amounts)
            self._columns.touch(of)
            self._counted.add(self._transactions[lines], of, amounts)

    def judge(self, number: int, *, may_be_given_back: bool) -> Failure | None:
        """See `Docket`. What open rounds have reserved may come back, and what they end holds of, but for the transaction's own part.

        What the transaction itself gives back is there for its rows behind that; within a shard also for all transactions behind it.
        """
        taken = self._taken = Taken(number)
        ending = self._ending.get(number, NOTHING)
        ended = 0
        for line in self._lines_of(number):
            row = self._batch_rows.item(line)
            while ended < len(ending) and ending[ended][0] < row:
                self._end(taken, *ending[ended])
                ended += 1
            status = self._judge_line(taken, line)
            if status:
                self.give_back(number)
                return row, status
        for row, allowance in ending[ended:]:
            self._end(taken, row, allowance)
        if self._counted.round_id is not None:
            taken.ending = [allowance for _, allowance in ending]
            self._counted.end_holds(taken.ending)
        return None

    def _lines_of(self, transaction: int) -> list[int]:
        if self._lines is None:
            self._lines = {}
            for line, number in enumerate(self._transactions.tolist()):
                self._lines.setdefault(number, []).append(line)
        return self._lines.get(transaction, [])

    def _end(self, taken: Taken, row: int, allowance: int) -> None:
        """The row ends a hold: what that gives back counts no more, if it has counted today."""
        rest = self._payments.rests.get(row)
        hold_id = self._payments.hold_ids[16 * row : 16 * row + 16]
        amount = self._counted.held_today(hold_id, allowance)
        if rest is None or amount is None:
            return
        if self._counted.round_id is not None:
            taken.returning[allowance] = taken.returning.get(allowance, 0) + rest
            return
        columns = self._columns
        self._note(taken, allowance, self._counted.reopen_one)
        columns.spent[allowance] -= rest
        columns.held[allowance] -= amount
        self._counted.end_now(hold_id)

    def _note(self, taken: Taken, allowance: int, undo: Callable[[], None]) -> None:
        """An allowance is about to change."""
        columns = self._columns
        spent, reserved, held = (
            columns.spent.item(allowance),
            columns.reserved.item(allowance),
            columns.held.item(allowance),
        )
        taken.before.append(Before(allowance, spent, reserved, held, undo))
        columns.touch_one(allowance)

    def _judge_line(self, taken: Taken, line: int) -> int:
        columns, allowance = self._columns, self._of.item(line)
        amount = self._payments.amounts.item(self._batch_rows.item(line))
        if columns.until_ns[allowance] <= self._now_ns:
            return Status.retry
        mine, returning = taken.reserved.get(allowance, 0), taken.returning.get(allowance, 0)
        paid, limit = columns.spent.item(allowance) + amount, columns.limit.item(allowance)
        if paid + mine - returning > limit:
            may_return = columns.held.item(allowance) if columns.ending[allowance] else returning
            return Status.undecided if paid + mine - may_return <= limit else Status.exceeds_allowance
        if paid + columns.reserved.item(allowance) - returning > limit:
            return Status.undecided
        hold_id = self._hold_at(line)
        self._note(taken, allowance, self._counted.forget_one)
        if self._counted.round_id is None:
            columns.spent[allowance] += amount
            columns.held[allowance] += amount if hold_id else 0
        else:
            columns.reserved[allowance] += amount
            taken.reserved[allowance] = mine + amount
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
        for before in reversed(self._taken.before):
            columns.spent[before.allowance] = before.spent
            columns.reserved[before.allowance] = before.reserved
            columns.held[before.allowance] = before.held
            before.undo()
        self._counted.keep_holds(self._taken.ending)
        self._taken = None

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
    are_all: bool  # whether these are all rows of the batch


def find_counting(columns: Columns, payments: Payments) -> Counting:
    """The rows that count against an allowance: not captures and voids, whose hold has counted."""
    of = columns.of(payments.debit)
    counts = _debits(of, payments)
    if payments.flags is not None:
        counts &= (payments.flags & UNCOUNTED) == 0
    if counts.all():
        return Counting(np.arange(len(of), dtype=np.int32), of, are_all=True)
    rows = np.flatnonzero(counts)
    return Counting(rows.astype(np.int32), of[rows], are_all=False)


def ending_rows(columns: Columns, payments: Payments) -> Int32s:
    """The rows of a batch that end holds of accounts with an allowance, so that their rest comes back. No part takes those by columns."""
    if payments.flags is None or not (ends := (payments.flags & ENDS) != 0).any():
        return NO_ROWS
    return np.flatnonzero(ends & _debits(columns.of(payments.debit), payments)).astype(np.int32)


def _debits(of: Positions, payments: Payments) -> Marks:
    """The rows whose debit account is here and has an allowance."""
    marks: Marks = of != NONE
    if payments.sides is not None:
        marks &= (payments.sides & DEBIT_SIDE) != 0
    return marks
