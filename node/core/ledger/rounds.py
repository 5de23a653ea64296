"""Commit rounds: legs are judged and reserved at PREPARE, carried out or released at DECIDE."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from node.core.ledger.batch import Batch
from node.core.ledger.books import Books
from node.core.ledger.exact import CAPTURE, HOLD, KIND, Exact
from node.core.ledger.fast import counted, in_question, sorted_run, suspect_rows, versioned
from node.core.ledger.ids import Run
from node.core.ledger.limits import (
    CREDIT,
    CURRENCY_MASK,
    DEBIT,
    NANOSECONDS,
    NOT_HERE,
    SMALL_BATCH,
    Codes,
    Int32s,
    Int64s,
    Marks,
    Positions,
)  # fmt: skip
from node.core.ledger.repeats import known_outcomes
from node.core.ledger.transfers import RECORDED, lines_of, small_lines
from node.core.machine.decision import SETTLED
from node.core.machine.part import At, Body, Statuses
from protocol.status import Status


@dataclass(frozen=True, slots=True)
class Passed:
    """What the trail keeps of legs: four columns of their batch."""

    ids: bytes
    numbers: bytes
    sides: bytes
    places: bytes  # empty where each transaction is one transfer

    def find(self, id: bytes) -> int:
        """The row of an id, -1 if it is not here."""
        place = self.ids.find(id)
        while place > 0 and place % 16:  # these bytes begin inside another id
            place = self.ids.find(id, place + 1)
        return place // 16

    def sighting(self, round_id: int, row: int) -> list[int]:
        """`[round id, transaction, row of the round or -1, sides]`."""
        number = int.from_bytes(self.numbers[4 * row : 4 * row + 4], "little")
        place = int.from_bytes(self.places[4 * row : 4 * row + 4], "little") if self.places else -1
        return [round_id, number, place, self.sides[row]]


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
        return Passed(self.batch.ids, self.batch.numbers, self.batch.sides, self.batch.places)

    def names(self, row: int) -> bool:
        """Whether a leg names this account."""
        return bool(((self.batch.debit_rows() == row) | (self.batch.credit_rows() == row)).any())

    def pack(self) -> list[Any]:
        """For a checkpoint."""
        return [self.batch.logged("legs"), self.known.tobytes(), self.reserved.tobytes(), self.moved.tobytes()]

    @classmethod
    def unpack(cls, packed: list[Any]) -> Prepared:
        """Reads `pack`."""
        body, known, reserved, moved = packed
        known, reserved = np.frombuffer(known, np.bool_), np.frombuffer(reserved, np.bool_)
        return cls(Batch.of(body), known, reserved, np.frombuffer(moved, np.int64))


def prepare(books: Books, round_id: int, body: Body, count: int, at: At) -> tuple[Statuses, bytes]:
    """Votes, one a transaction; then each row's currency code here (uint16, 0: unknown), then each row's own status.

    A row whose id is known here, from the record or from an open round, has `SETTLED` in its status.
    Of a transaction that fails, only the first failing row has a status; of one that happened before, every row is `exists`.
    """
    batch = Batch.of(body)
    votes, reasons = np.zeros(count, np.uint8), np.zeros(batch.count, np.uint8)
    if books.is_stale(batch.through):
        votes[batch.number_rows()] = Status.retry
        reasons[:] = Status.retry
        return votes, bytes(2 * batch.count) + reasons.tobytes()
    prepared = _judge(books, batch, votes, reasons, at)
    books.rounds.setdefault(round_id, []).append(prepared)
    books.changed_rounds[round_id] = None
    return votes, _currencies(books, batch) + reasons.tobytes()


def _currencies(books: Books, batch: Batch) -> bytes:
    rows = np.where(batch.side_bits() & DEBIT, batch.debit_rows(), batch.credit_rows())
    if not books.accounts.count:
        return bytes(2 * batch.count)
    codes = books.accounts.kind[np.maximum(rows, 0)] & CURRENCY_MASK
    codes[rows < 0] = 0
    return codes.astype(np.uint16).tobytes()


def _judge(books: Books, batch: Batch, votes: Statuses, reasons: Statuses, at: At) -> Prepared:
    n, numbers = batch.count, batch.number_rows()
    known, moved = np.zeros(n, np.bool_), batch.amounts().copy()
    if n < SMALL_BATCH:
        lines, order = small_lines(batch), np.argsort(numbers, kind="stable")
        if (np.diff(order) < 0).any():
            lines = lines_of(batch, order, np.ones(n, np.bool_))
    else:
        suspect = suspect_rows(books, batch, *sorted_run(batch.ids))
        outcomes = known_outcomes(books.accounts, books.history, batch, suspect)
        question = _questions(books, batch, len(votes), suspect, outcomes)
        if outcomes is not None:
            known = (outcomes > 0) & (np.bincount(numbers)[numbers] == 1)
            question &= ~known
            _answer_known(batch, np.flatnonzero(known), outcomes, votes, reasons)
        _reserve_rows(books, batch, np.flatnonzero(~question & ~known))
        order = np.flatnonzero(question)
        order = order[np.argsort(numbers[order], kind="stable")]
        lines = lines_of(batch, order, suspect)
    if len(order):
        exact = Exact(books, batch, lines, at)
        _reserve_transactions(exact, numbers[order].tolist(), order.tolist(), votes, reasons)
        exact.sheet.write(None)
        known[order], moved[order] = exact.known, exact.moved
    return Prepared(batch, known, votes[numbers] == 0, moved)


def _answer_known(batch: Batch, rows: Positions, outcomes: Codes, votes: Statuses, reasons: Statuses) -> None:
    """Transactions of one row here whose outcome is known; the exact path says the same of them."""
    told = outcomes[rows]
    votes[batch.number_rows()[rows]] = told
    is_settled = ((batch.side_bits()[rows] & DEBIT) != 0) & (told != Status.exists)
    reasons[rows] = told | np.where(is_settled, SETTLED, 0).astype(np.uint8)


def _questions(books: Books, batch: Batch, count: int, suspect: Marks | None, outcomes: Codes | None) -> Marks:
    """Rows for the exact path: whole transactions."""
    accounts, n = books.accounts, batch.count
    if not accounts.count:
        return np.ones(n, np.bool_)
    sides, debit, credit = batch.side_bits(), batch.debit_rows(), batch.credit_rows()
    gives, takes = (sides & DEBIT) != 0, (sides & CREDIT) != 0
    question: Marks = (gives & (debit < 0)) | (takes & (credit < 0))
    for marks in (suspect, outcomes):
        if marks is not None:
            question |= marks > 0
    if batch.flags:
        question |= (batch.flag_bits() & KIND) != 0
    giver, taker = np.maximum(debit, 0).astype(np.intp), np.maximum(credit, 0).astype(np.intp)
    if batch.if_version:
        question |= versioned(accounts, giver[batch.is_versioned() & gives], giver, taker)
    if accounts.has_parts:
        question |= gives & accounts.only_takes[giver]
    giver_kinds, taker_kinds = accounts.kind[giver], accounts.kind[taker]
    question |= (gives & (giver_kinds > CURRENCY_MASK)) | (takes & (taker_kinds > CURRENCY_MASK))
    question |= gives & takes & (giver_kinds != taker_kinds)
    amounts = batch.amounts()
    if question.any():
        amounts = counted(batch, amounts, (debit == NOT_HERE) | (credit == NOT_HERE), outcomes)
    tight = in_question(accounts, giver[gives], taker[takes], amounts[gives], amounts[takes])
    if tight is None:
        return np.ones(n, np.bool_)
    question[gives] |= tight[0]
    question[takes] |= tight[1]
    if question.any():
        in_question_numbers = np.zeros(count, np.bool_)
        in_question_numbers[batch.number_rows()[question]] = True
        question = in_question_numbers[batch.number_rows()]
    return question


def _reserve_rows(books: Books, batch: Batch, rows: Positions) -> None:
    """Reserves ordinary legs that are proven safe."""
    accounts, amounts, sides = books.accounts, batch.amounts()[rows], batch.side_bits()[rows]
    gives, takes = (sides & DEBIT) != 0, (sides & CREDIT) != 0
    giver, taker = batch.debit_rows()[rows][gives].astype(np.intp), batch.credit_rows()[rows][takes].astype(np.intp)
    np.add.at(accounts.held, giver, amounts[gives])
    np.add.at(accounts.unsettled, giver, amounts[gives])
    np.add.at(accounts.incoming, taker, amounts[takes])
    accounts.mark(giver)
    accounts.mark(taker)


def _reserve_transactions(
    exact: Exact, numbers: list[int], rows: list[int], votes: Statuses, reasons: Statuses
) -> None:
    """Reserves transaction by transaction, each as a whole or not at all."""
    first = 0
    while first < len(numbers):
        last = first
        while last < len(numbers) and numbers[last] == numbers[first]:
            last += 1
        exact.journal, exact.own, exact.own_holds = [], {}, {}
        line, status, have_happened = _reserve_transaction(exact, first, last)
        if status:
            exact.undo()
            is_settled = exact.known[line] and exact.lines.sides[line] & DEBIT
            reasons[rows[line]] = status | SETTLED if is_settled else status
        if status == Status.exists and have_happened:
            reasons[[rows[one] for one in range(first, last) if exact.lines.sides[one] & DEBIT]] = Status.exists
        votes[numbers[first]] = status
        exact.end_transaction(first, last)
        first = last
    exact.journal = None


def _reserve_transaction(exact: Exact, first: int, last: int) -> tuple[int, int, bool]:
    """Where the transaction fails here, and why (0: not at all); whether `exists` is all that its debits here say.

    What is known of its ids comes before what is found now.
    """
    line, status, have_happened = exact.known_of_chain(first, last) if last - first > 1 else (first, 0, True)
    for one in range(first, last):
        if not status:
            line, status = one, int(exact.judge(one))
        if not status:
            exact.reserve(one)
        if not exact.known[one]:
            exact.note_waiting(one)
    return line, status, have_happened


# -- the decision -------------------------------------------------------------------------------------------------


def decide(books: Books, round_id: int, statuses: Statuses, at: At, failed: Int32s) -> None:
    """Carries out or releases every leg of the round; a round that is not open changes nothing."""
    parts = books.rounds.pop(round_id, [])
    for prepared in parts:
        books.changed_rounds[round_id] = None
        _settle(books, prepared, _final(prepared.batch, statuses, failed), at)
    if parts and round_id > 0:  # a round between shards
        rows = sum(prepared.batch.count for prepared in parts)
        books.trail.keep(round_id, rows, [prepared.passed() for prepared in parts])


def _final(batch: Batch, statuses: Statuses, failed: Int32s) -> Codes:
    """One status a leg: of a failed chain, one row has the reason, and the others nothing that is recorded."""
    numbers = batch.number_rows()
    final = statuses[numbers]
    if len(failed) and batch.places:
        final[(final != 0) & (failed[numbers] != batch.place_rows())] = Status.linked_event_failed
    return final


def _settle(books: Books, prepared: Prepared, final: Codes, at: At) -> None:
    if prepared.batch.count < SMALL_BATCH:
        _settle_few(books, prepared, final, at)
    else:
        _settle_columns(books, prepared, final, at)
    gives = (prepared.batch.side_bits() & DEBIT) != 0
    _record(books, prepared, final, gives, at)


def _settle_few(books: Books, prepared: Prepared, final: Codes, at: At) -> None:
    """The same as by columns, in plain integers: numpy's fixed costs would be most of its time."""
    batch = prepared.batch
    flags, giver, taker = batch.ints(batch.flags, "H"), batch.ints(batch.debit, "i"), batch.ints(batch.credit, "i")
    rows = zip(prepared.moved.tolist(), prepared.reserved.tolist(), final.tolist(), strict=True)
    for row, (amount, is_reserved, status) in enumerate(rows):
        assert status or is_reserved, "a transaction that was refused here cannot be decided to happen"
        if not is_reserved:
            continue
        if flags[row] & KIND:
            _settle_special(books, batch, row, amount, not status, at)
        else:
            _settle_one(books, batch.sides[row], (giver[row], taker[row]), amount, not status, at)


def _settle_one(books: Books, side: int, rows: tuple[int, int], amount: int, happens: bool, at: At) -> None:
    accounts = books.accounts
    debit, credit = rows
    if side & DEBIT:
        accounts.held[debit] -= amount
        accounts.unsettled[debit] -= amount
        accounts.mark_one(debit)
        if happens:
            accounts.posted[debit] -= amount
            accounts.version[debit] = at.index
            books.add_turnover(accounts.kind.item(debit) & CURRENCY_MASK, amount, 0)
    if side & CREDIT:
        accounts.incoming[credit] -= amount
        accounts.mark_one(credit)
        if happens:
            accounts.posted[credit] += amount
            accounts.version[credit] = at.index
            books.add_turnover(accounts.kind.item(credit) & CURRENCY_MASK, 0, amount)


def _settle_columns(books: Books, prepared: Prepared, final: Codes, at: At) -> None:
    batch = prepared.batch
    sides, moved = batch.side_bits(), prepared.moved
    gives, takes = (sides & DEBIT) != 0, (sides & CREDIT) != 0
    happens = final == 0
    assert not (happens & ~prepared.reserved).any(), "a transaction that was refused here cannot be decided to happen"
    special = (batch.flag_bits() & KIND) != 0
    for row in np.flatnonzero(special & prepared.reserved).tolist():
        _settle_special(books, batch, row, int(moved[row]), bool(happens[row]), at)
    plain = prepared.reserved & ~special
    _settle_plain(books, batch, plain & gives, plain & takes, happens, at)


def _settle_plain(books: Books, batch: Batch, debits: Marks, credits: Marks, happens: Marks, at: At) -> None:
    accounts, amounts = books.accounts, batch.amounts()
    giver, given = batch.debit_rows()[debits].astype(np.intp), amounts[debits]
    taker, taken = batch.credit_rows()[credits].astype(np.intp), amounts[credits]
    np.subtract.at(accounts.held, giver, given)
    np.subtract.at(accounts.unsettled, giver, given)
    np.subtract.at(accounts.incoming, taker, taken)
    accounts.mark(giver)
    accounts.mark(taker)
    paid, received = happens[debits], happens[credits]
    giver, given, taker, taken = giver[paid], given[paid], taker[received], taken[received]
    np.subtract.at(accounts.posted, giver, given)
    np.add.at(accounts.posted, taker, taken)
    accounts.version[giver] = at.index
    accounts.version[taker] = at.index
    books.add_turnovers(given, accounts.kind[giver], is_debit=True)
    books.add_turnovers(taken, accounts.kind[taker], is_debit=False)


def _settle_special(books: Books, batch: Batch, row: int, amount: int, happens: bool, at: At) -> None:
    accounts = books.accounts
    kind = int(batch.flag_bits()[row]) & KIND
    side, debit, credit = batch.sides[row], int(batch.debit_rows()[row]), int(batch.credit_rows()[row])
    if side & CREDIT and kind == CAPTURE:
        accounts.incoming[credit] -= amount
        accounts.mark_one(credit)
        if happens:
            accounts.posted[credit] += amount
            accounts.touch_one(credit, at.index)
            books.add_turnover(int(accounts.kind[credit]) & CURRENCY_MASK, 0, amount)
    if not side & DEBIT:
        return
    accounts.unsettled[debit] -= amount
    accounts.mark_one(debit)
    held = accounts.held.item(debit)
    if kind == HOLD:
        _settle_hold(books, batch, row, amount, happens, at)
    elif kind == CAPTURE:
        _settle_capture(books, batch.hold_id(row), debit, amount, happens)
    else:
        hold = books.holds.open[batch.hold_id(row)]
        hold.voiding = False
        books.holds.touch(hold)
        if happens:
            books.end_hold(hold, Status.hold_already_voided)
        elif hold.expired:
            books.end_hold(hold, Status.hold_expired)
    if happens or (kind != HOLD and accounts.held.item(debit) != held):
        accounts.touch_one(debit, at.index)


def _settle_hold(books: Books, batch: Batch, row: int, amount: int, happens: bool, at: At) -> None:
    if not happens:
        books.accounts.held[batch.debit_rows()[row]] -= amount
        return
    credit = int(batch.credit_rows()[row])
    other = "" if credit >= 0 else batch.other(credit)
    expiry_ns = at.elapsed_ns + batch.ttl_seconds(row) * NANOSECONDS
    books.holds.add(batch.id_at(row), int(batch.debit_rows()[row]), max(credit, -2), other, amount, expiry_ns)


def _settle_capture(books: Books, hold_id: bytes, debit: int, amount: int, happens: bool) -> None:
    accounts, hold = books.accounts, books.holds.open[hold_id]
    hold.undecided -= amount
    books.holds.touch(hold)
    if happens:
        accounts.posted[debit] -= amount
        accounts.held[debit] -= amount
        books.add_turnover(int(accounts.kind[debit]) & CURRENCY_MASK, amount, 0)
    else:
        hold.rest += amount
    if hold.undecided or hold.voiding:  # by the same transaction
        return
    if not hold.rest:
        books.end_hold(hold, Status.hold_already_captured)
    elif hold.expired:
        books.end_hold(hold, Status.hold_expired)


def _record(books: Books, prepared: Prepared, final: Codes, gives: Marks, at: At) -> None:
    """Both sides remember what happened; the debit side also remembers refusals, under the id."""
    recorded = RECORDED[final] & ~prepared.known & ((final == 0) | gives)
    chosen = None if recorded.all() else np.flatnonzero(recorded)
    books.history.append(prepared.batch, final, chosen, prepared.moved, at.timestamp_ns, credit_legs=~gives)
