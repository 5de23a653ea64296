"""A PREPARE: legs are judged, and what they need is set aside."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from node.core.ledger.batch import Batch
from node.core.ledger.books import Books
from node.core.ledger.exact import KIND
from node.core.ledger.fast import counted, in_question, is_other_currency, suspect_rows, versioned
from node.core.ledger.ids import sorted_run
from node.core.ledger.limits import CREDIT, CURRENCY_MASK, DEBIT, NOT_HERE, SMALL_BATCH, Codes, Marks, Positions
from node.core.ledger.origins import REVERSAL
from node.core.ledger.prepared import Prepared
from node.core.ledger.repeats import known_outcomes
from node.core.ledger.reserving import Reserving
from node.core.ledger.transfers import lines_of, small_lines
from node.core.machine.docket import NOT_TOLD, SETTLED, Failure, Payments, Statuses
from node.core.machine.part import At
from protocol.columns import BALANCING
from protocol.status import Status


class LegsDocket:
    """Legs of a PREPARE; implements `Docket`.

    Closed, it gives each row's currency code here (uint16, 0: unknown), then each row's own status, then `_apart`. A row whose id is
    known here, from the record or from an open round, has `SETTLED` in its status. Of a transaction that fails, only the first
    failing row has a status; of one that happened before, every row is `exists`.
    """

    def __init__(self, books: Books, round_id: int, batch: Batch, at: At) -> None:
        self._books = books
        self._round_id = round_id
        self._batch = batch
        self._at = at
        self._numbers = batch.number_rows()
        self._is_stale = books.is_stale(batch.through)
        self._suspect: Marks | None = None
        self._known: Marks = np.zeros(batch.count, np.bool_)
        self._moved = batch.amounts().copy()
        self._reasons: Statuses = np.zeros(batch.count, np.uint8)
        self._exact: Reserving | None = None
        self._rows: Positions = np.zeros(0, np.intp)  # of the batch, on the exact path, by transaction
        self._spans: dict[int, list[int]] = {}  # the first and the last line of each transaction on the exact path

    def few(self) -> Sequence[int] | None:
        """See `Docket`: small batches, in plain Python."""
        batch = self._batch
        if batch.count >= SMALL_BATCH or self._is_stale:
            return None
        self._begin_exact(np.argsort(self._numbers, kind="stable"))
        return list(self._spans)

    def sort(self, statuses: Statuses) -> Marks | None:
        """See `Docket`."""
        books, batch, numbers = self._books, self._batch, self._numbers
        if self._is_stale:
            statuses[numbers] = Status.retry
            self._reasons[:] = Status.retry
            return None
        question: Marks = np.zeros(len(statuses), np.bool_)
        self._suspect = suspect_rows(books, batch, *sorted_run(batch.ids))
        outcomes = known_outcomes(books.accounts, books.history, batch, self._suspect)
        rows = _questions(books, batch, len(statuses), self._suspect, outcomes)
        if outcomes is not None:
            self._known = (outcomes > 0) & (np.bincount(numbers)[numbers] == 1)
            rows &= ~self._known
            self._answer_known(np.flatnonzero(self._known), outcomes, statuses)
        question[numbers[rows]] = True
        return question if question.any() else None

    def _answer_known(self, rows: Positions, outcomes: Codes, statuses: Statuses) -> None:
        """Transactions of one row here whose outcome is known; the exact path says the same of them."""
        told = outcomes[rows]
        statuses[self._numbers[rows]] = told
        is_settled = ((self._batch.side_bits()[rows] & DEBIT) != 0) & (told != Status.exists)
        self._reasons[rows] = told | np.where(is_settled, SETTLED, 0).astype(np.uint8)

    def take(self, chosen: Marks | None) -> None:
        """See `Docket`."""
        if self._is_stale:
            return
        batch, numbers = self._batch, self._numbers
        if chosen is None:
            _reserve_rows(self._books, batch, np.arange(batch.count))
            return
        marks = chosen[numbers]
        _reserve_rows(self._books, batch, np.flatnonzero(marks))
        rest = np.flatnonzero(~marks & ~self._known)
        if len(rest):
            self._begin_exact(rest[np.argsort(numbers[rest], kind="stable")])

    def _begin_exact(self, rows: Positions) -> None:
        batch, self._rows = self._batch, rows
        is_few = len(rows) == batch.count < SMALL_BATCH
        if is_few and (np.diff(rows) > 0).all():
            lines = small_lines(batch)
        else:
            lines = lines_of(batch, rows, np.ones(batch.count, np.bool_) if is_few else self._suspect)
        self._exact = Reserving(self._books, batch, lines, self._at)
        for line, number in enumerate(self._numbers[rows].tolist()):
            self._spans.setdefault(number, [line, line])[1] = line + 1

    def judge(self, number: int, *, may_be_given_back: bool) -> Failure | None:
        """See `Docket`."""
        if self._exact is None or number not in self._spans:
            return None
        first, last = self._spans[number]
        failure = self._exact.transact(first, last, keeps_journal=may_be_given_back)
        return None if failure is None else (self._exact.lines.positions[failure[0]], failure[1])

    def give_back(self, number: int) -> None:
        """See `Docket`."""
        if self._exact is not None and number in self._spans:
            self._exact.undo()

    def refuse(self, number: int, failure: Failure) -> None:
        """See `Docket`."""
        if self._exact is None or number not in self._spans:
            return
        exact, (row, status) = self._exact, failure
        # Of the others the id is not settled here, whatever is wrong with their form.
        is_debit = self._batch.sides[row] & DEBIT
        self._reasons[row] = status if is_debit else status & ~SETTLED
        first, last = self._spans[number]
        if status & ~SETTLED == Status.exists and exact.has_happened:
            debits = [exact.lines.positions[line] for line in range(first, last) if exact.lines.sides[line] & DEBIT]
            self._reasons[debits] = Status.exists

    def close(self, statuses: Statuses) -> bytes:
        """See `Docket`. The round is open here from now on."""
        books, batch = self._books, self._batch
        if self._is_stale:
            return bytes(2 * batch.count) + self._reasons.tobytes() + self._apart()
        if self._exact is not None:
            self._exact.sheet.write(None)
            self._known[self._rows], self._moved[self._rows] = self._exact.known, self._exact.moved
        prepared = Prepared(batch, self._known, statuses[self._numbers] == 0, self._moved)
        books.rounds.setdefault(self._round_id, []).append(prepared)
        books.changed_rounds[self._round_id] = None
        return _currencies(books, batch) + self._reasons.tobytes() + self._apart()

    def _apart(self) -> bytes:
        """Where a row is balancing, of each row how far the amount that was tried is from what bounds it here."""
        if not self._batch.is_balancing:
            return b""
        apart = np.full(self._batch.count, NOT_TOLD, np.int64)
        if self._exact is not None:
            apart[list(self._exact.apart)] = list(self._exact.apart.values())
        return apart.tobytes()

    def payments(self) -> Payments:
        """See `Docket`."""
        return self._batch.payments()


def _currencies(books: Books, batch: Batch) -> bytes:
    rows = np.where(batch.side_bits() & DEBIT, batch.debit_rows(), batch.credit_rows())
    if not books.accounts.count:
        return bytes(2 * batch.count)
    codes = books.accounts.currency_and_state[np.maximum(rows, 0)] & CURRENCY_MASK
    codes[rows < 0] = 0
    return codes.astype(np.uint16).tobytes()


def _questions(books: Books, batch: Batch, count: int, suspect: Marks | None, outcomes: Codes | None) -> Marks:
    """Rows for the exact path: whole transactions."""
    accounts, n = books.accounts, batch.count
    if not accounts.count:
        return np.ones(n, np.bool_)
    sides, debit, credit = batch.side_bits(), batch.debit_rows(), batch.credit_rows()
    has_debit, has_credit = (sides & DEBIT) != 0, (sides & CREDIT) != 0
    question: Marks = (has_debit & (debit < 0)) | (has_credit & (credit < 0))
    for marks in (suspect, outcomes):
        if marks is not None:
            question |= marks > 0
    if batch.flags:
        question |= (batch.flag_bits() & (KIND | REVERSAL)) != 0
    debit_rows, credit_rows = np.maximum(debit, 0).astype(np.intp), np.maximum(credit, 0).astype(np.intp)
    if batch.if_version:
        question |= versioned(accounts, debit_rows[batch.is_versioned() & has_debit], debit_rows, credit_rows)
    if batch.is_balancing:
        rows = (batch.flag_bits() & BALANCING) != 0
        wanting = np.concatenate((debit_rows[rows & has_debit], credit_rows[rows & has_credit]))
        question |= rows | versioned(
            accounts, wanting, np.where(has_debit, debit_rows, -1), np.where(has_credit, credit_rows, -1)
        )
    if accounts.has_shares:
        question |= has_debit & accounts.only_takes[debit_rows]
    debit_currencies, credit_currencies = (
        accounts.currency_and_state[debit_rows],
        accounts.currency_and_state[credit_rows],
    )
    if batch.currency:
        question |= (has_debit & is_other_currency(batch, debit_currencies)) | (
            has_credit & is_other_currency(batch, credit_currencies)
        )
    question |= (has_debit & (debit_currencies > CURRENCY_MASK)) | (has_credit & (credit_currencies > CURRENCY_MASK))
    question |= has_debit & has_credit & (debit_currencies != credit_currencies)
    amounts = batch.amounts()
    if question.any():
        amounts = counted(batch, amounts, (debit == NOT_HERE) | (credit == NOT_HERE), outcomes)
    tight = in_question(
        accounts, debit_rows[has_debit], credit_rows[has_credit], amounts[has_debit], amounts[has_credit]
    )
    if tight is None:
        return np.ones(n, np.bool_)
    question[has_debit] |= tight[0]
    question[has_credit] |= tight[1]
    if question.any():
        in_question_numbers = np.zeros(count, np.bool_)
        in_question_numbers[batch.number_rows()[question]] = True
        question = in_question_numbers[batch.number_rows()]
    return question


def _reserve_rows(books: Books, batch: Batch, rows: Positions) -> None:
    """Reserves ordinary legs that are proven safe."""
    accounts, amounts, sides = books.accounts, batch.amounts()[rows], batch.side_bits()[rows]
    has_debit, has_credit = (sides & DEBIT) != 0, (sides & CREDIT) != 0
    debit_rows, credit_rows = (
        batch.debit_rows()[rows][has_debit].astype(np.intp),
        batch.credit_rows()[rows][has_credit].astype(np.intp),
    )
    np.add.at(accounts.held, debit_rows, amounts[has_debit])
    np.add.at(accounts.unsettled, debit_rows, amounts[has_debit])
    np.add.at(accounts.incoming, credit_rows, amounts[has_credit])
    accounts.note_reserved(debit_rows)
    accounts.note_reserved(credit_rows)
