"""A batch of transfers of this shard: columns where proven safe, one by one where not, small ones in plain Python."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from node.core.ledger.batch import Batch
from node.core.ledger.books import Books
from node.core.ledger.exact import Lines
from node.core.ledger.fast import post_rows, questions_of, suspect_rows, with_chains
from node.core.ledger.ids import sorted_run
from node.core.ledger.limits import BOTH, SMALL_BATCH, Codes, Int32s, Keys, Marks, Positions
from node.core.ledger.posting import Posting
from node.core.ledger.repeats import known_outcomes
from node.core.ledger.segment import NO_EXTRA
from node.core.machine.docket import SETTLED, Failure, Payments, Statuses
from node.core.machine.part import At
from protocol.columns import Flag
from protocol.status import REPEATED, Status

RECORDED: Marks = np.zeros(256, np.bool_)
RECORDED_CODES = frozenset(int(status) for status in Status if status.is_recorded)
RECORDED[list(RECORDED_CODES)] = True
REFUSED = RECORDED.copy()
REFUSED[int(Status.created)] = False
NO_CODES: Codes = np.zeros(0, np.uint8)
NO_MARKS: Marks = np.zeros(0, np.bool_)
NO_POSITIONS: Positions = np.zeros(0, np.intp)


class TransfersDocket:
    """Implements `Docket`. Closed, it gives one status a row, with `REPEATED` where it was on record."""

    def __init__(self, books: Books, batch: Batch, at: At) -> None:
        self._books = books
        self._batch = batch
        self._at = at
        self._numbers = batch.transactions()
        self._are_few = False
        self._keys: Keys | None = None
        self._suspect: Marks | None = None
        self._is_stale = books.is_stale(batch.through)
        self._statuses: Codes = NO_CODES  # one a row, where they are many
        self._known: Marks = NO_MARKS  # rows whose outcome is on record already, likewise
        self._are_all_taken = False
        self._exact: Posting | None = None
        self._rows: Positions = NO_POSITIONS  # of the batch, on the exact path, likewise
        self._firsts: dict[int, int] = {}  # the first line of each transaction on the exact path

    def few(self) -> Sequence[int] | None:
        """See `Docket`: small batches, in plain Python."""
        batch = self._batch
        if batch.count >= SMALL_BATCH or self._is_stale:
            return None
        self._are_few = True
        numbers = range(batch.count) if self._numbers is None else self._numbers.tolist()
        self._begin_exact(small_lines(batch), numbers)
        return list(self._firsts)

    def sort(self, statuses: Statuses) -> Marks | None:
        """See `Docket`."""
        books, batch = self._books, self._batch
        if self._is_stale:
            statuses[:] = Status.retry
            return None
        self._statuses, self._known = np.zeros(batch.count, np.uint8), np.zeros(batch.count, np.bool_)
        keys, run = sorted_run(batch.ids)
        self._keys, self._suspect = run.keys, suspect_rows(books, batch, keys, run)
        outcomes = known_outcomes(books.accounts, books.history, batch, self._suspect)
        question = questions_of(books, batch, self._suspect, outcomes)
        if outcomes is not None:
            self._known = (outcomes > 0) & ~with_chains(self._known, batch.flag_bits())
            self._statuses[self._known] = outcomes[self._known]
            question &= ~self._known
            statuses[self._transactions(self._known)] = outcomes[self._known]
        return self._of_transactions(question) if question.any() else None

    def _transactions(self, rows: Marks) -> Positions | Int32s:
        return np.flatnonzero(rows) if self._numbers is None else self._numbers[rows]

    def _of_transactions(self, rows: Marks) -> Marks:
        if self._numbers is None:
            return rows
        marks = np.zeros(self._batch.transaction_count(), np.bool_)
        marks[self._numbers[rows]] = True
        return marks

    def take(self, chosen: Marks | None) -> None:
        """See `Docket`."""
        if self._is_stale:
            return
        books, batch = self._books, self._batch
        debit, credit = batch.debit_rows().astype(np.intp), batch.credit_rows().astype(np.intp)
        if chosen is None:
            self._are_all_taken = True
            post_rows(books, debit, credit, batch.amounts(), self._at.index)
            return
        marks = chosen if self._numbers is None else chosen[self._numbers]
        plain = np.flatnonzero(marks)
        if len(plain):
            post_rows(books, debit[plain], credit[plain], batch.amounts()[plain], self._at.index)
        rest = np.flatnonzero(~marks & ~self._known)
        if len(rest):
            self._rows = rest
            numbers = rest if self._numbers is None else self._numbers[rest]
            self._begin_exact(lines_of(batch, rest, self._suspect), numbers.tolist())

    def _begin_exact(self, lines: Lines, numbers: Sequence[int]) -> None:
        self._exact = Posting(self._books, self._batch, lines, self._at)
        for line, number in enumerate(numbers):
            self._firsts.setdefault(number, line)

    def _span(self, number: int) -> tuple[int, int]:
        """The lines of a transaction: those of a chain lie side by side."""
        assert self._exact is not None
        first, flags = self._firsts[number], self._exact.lines.flags
        last = first + 1
        if self._numbers is None:
            return first, last
        while flags[last - 1] & Flag.linked and last < len(flags):
            last += 1
        return first, last

    def judge(self, number: int, *, may_be_given_back: bool) -> Failure | None:
        """See `Docket`."""
        if self._exact is None or number not in self._firsts:
            return None
        first, last = self._span(number)
        failure = self._exact.transact(first, last, keeps_journal=may_be_given_back)
        return None if failure is None else (self._exact.lines.positions[failure[0]], failure[1])

    def give_back(self, number: int) -> None:
        """See `Docket`."""
        if self._exact is not None and number in self._firsts:
            self._exact.undo()

    def refuse(self, number: int, failure: Failure) -> None:
        """See `Docket`."""
        if self._exact is None or number not in self._firsts:
            return
        (first, last), (row, status) = self._span(number), failure
        self._exact.fail(first, last, first + row - self._exact.lines.positions[first], status & ~SETTLED)

    def close(self, statuses: Statuses) -> bytes:
        """See `Docket`. Records what has an outcome."""
        if self._is_stale:
            return bytes([Status.retry]) * self._batch.count
        if self._exact is not None:
            self._exact.sheet.write(self._at.index)
        if self._are_few and self._exact is not None:
            answer = self._record_few(self._exact)
        else:
            answer = self._record()
        self._books.seal()
        return answer

    def _record(self) -> bytes:
        batch, history, stamp = self._batch, self._books.history, self._at.timestamp_ns
        statuses, known, moved = self._statuses, self._known, batch.amounts()
        if self._are_all_taken:
            history.append(batch, statuses, None, moved, stamp, keys=self._keys)
            return statuses.tobytes()
        if self._exact is not None:
            moved = moved.copy()
            rows, exact = self._rows, self._exact
            statuses[rows], known[rows], moved[rows] = exact.statuses, exact.known, exact.moved
        recorded = RECORDED[statuses] & ~known
        chosen = None if recorded.all() else np.flatnonzero(recorded)
        history.append(batch, statuses, chosen, moved, stamp, keys=self._keys)
        statuses[known & REFUSED[statuses]] |= REPEATED
        return statuses.tobytes()

    def _record_few(self, exact: Posting) -> bytes:
        """The same, without numpy's fixed cost."""
        batch, lines, statuses, history = self._batch, exact.lines, exact.statuses, self._books.history
        recorded = [line for line, status in enumerate(statuses) if status in RECORDED_CODES and not exact.known[line]]
        shift = history.append_others(batch) if recorded else 0
        has_extra = bool(batch.hold_ids or batch.ttl)
        for line in recorded:
            credit = lines.credit[line]
            extra = (batch.hold_id(line), batch.ttl_seconds(line)) if has_extra else NO_EXTRA
            history.append_one(
                batch.id_at(line), lines.debit[line], credit - shift if credit <= -2 else credit, exact.moved[line],
                batch.code_at(line), lines.flags[line], statuses[line], self._at.timestamp_ns, batch.reference_at(line), extra,
                batch.metadata_at(line),
            )  # fmt: skip
        if not any(exact.known):
            return bytes(statuses)
        answered = zip(statuses, exact.known, strict=True)
        return bytes(status | REPEATED if known and REFUSED[status] else status for status, known in answered)

    def payments(self) -> Payments:
        """See `Docket`."""
        return self._batch.payments()


def lines_of(batch: Batch, rows: Positions, suspect: Marks | None) -> Lines:
    """The given rows as plain lists."""
    sides = batch.side_bits()[rows].tolist() if batch.sides else [BOTH] * len(rows)
    return Lines(
        rows.tolist(), batch.debit_rows()[rows].tolist(), batch.credit_rows()[rows].tolist(),
        batch.amounts()[rows].tolist(), batch.flag_bits()[rows].tolist(), sides,
        [False] * len(rows) if suspect is None else suspect[rows].tolist(),
    )  # fmt: skip


def small_lines(batch: Batch) -> Lines:
    """All rows as plain lists, without numpy's fixed cost."""
    n = batch.count
    return Lines(
        list(range(n)), batch.ints(batch.debit, "i"), batch.ints(batch.credit, "i"), batch.ints(batch.amount, "q"),
        batch.ints(batch.flags, "H"), list(batch.sides) if batch.sides else [BOTH] * n, [True] * n,
    )  # fmt: skip
