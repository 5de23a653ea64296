"""The decision of a round: what was reserved is carried out or released."""

from __future__ import annotations

import numpy as np

from node.core.ledger.batch import Batch
from node.core.ledger.books import Books
from node.core.ledger.exact import CAPTURE, FINAL, HOLD, KIND
from node.core.ledger.holds import Hold
from node.core.ledger.limits import (
    CREDIT,
    CURRENCY_MASK,
    DEBIT,
    NANOSECONDS,
    SMALL_BATCH,
    Codes,
    Int32s,
    Int64s,
    Marks,
)  # fmt: skip
from node.core.ledger.origins import REVERSAL
from node.core.ledger.prepared import Prepared
from node.core.ledger.transfers import RECORDED
from node.core.machine.docket import Statuses
from node.core.machine.part import At
from protocol.status import Status


def decide(books: Books, round_id: int, statuses: Statuses, at: At, failed: Int32s) -> None:
    """Carries out or releases every leg of the round; a round that is not open changes nothing."""
    legs = books.rounds.pop(round_id, [])
    for prepared in legs:
        books.changed_rounds[round_id] = None
        _settle(books, prepared, _final(prepared.batch, statuses, failed), at)
    if legs and round_id > 0:  # a round between shards
        rows = sum(prepared.batch.count for prepared in legs)
        books.trail.keep(round_id, rows, [prepared.passed() for prepared in legs])


def _final(batch: Batch, statuses: Statuses, failed: Int32s) -> Codes:
    """One status a leg: of a failed chain, one row has the reason, and the others nothing that is recorded."""
    numbers = batch.number_rows()
    final = statuses[numbers]
    if len(failed) and batch.round_rows:
        final[(final != 0) & (failed[numbers] != batch.rows_of_round())] = Status.linked_event_failed
    return final


def _settle(books: Books, prepared: Prepared, final: Codes, at: At) -> None:
    if prepared.batch.count < SMALL_BATCH:
        _settle_few(books, prepared, final, at)
    else:
        _settle_columns(books, prepared, final, at)
    if prepared.batch.hold_ids:
        _settle_reversals(books, prepared, final)
    has_debit = (prepared.batch.side_bits() & DEBIT) != 0
    _record(books, prepared, final, has_debit, at)


def _settle_reversals(books: Books, prepared: Prepared, final: Codes) -> None:
    batch = prepared.batch
    here = ((batch.flag_bits() & REVERSAL) != 0) & ((batch.side_bits() & CREDIT) != 0) & prepared.reserved
    for row in np.flatnonzero(here).tolist():
        happens = not final[row]
        books.reversals.settle(batch.hold_id(row), int(prepared.moved[row]), books.history.sealed, happens=happens)


def _settle_few(books: Books, prepared: Prepared, final: Codes, at: At) -> None:
    """The same as by columns, in plain integers: numpy's fixed costs would be most of its time."""
    batch = prepared.batch
    flags, debit_rows, credit_rows = (
        batch.ints(batch.flags, "H"),
        batch.ints(batch.debit, "i"),
        batch.ints(batch.credit, "i"),
    )
    rows = zip(prepared.moved.tolist(), prepared.reserved.tolist(), final.tolist(), strict=True)
    for row, (amount, is_reserved, status) in enumerate(rows):
        assert status or is_reserved, "a transaction that was refused here cannot be decided to happen"
        if not is_reserved:
            continue
        if flags[row] & KIND:
            _settle_special(books, batch, row, amount, not status, at)
        else:
            _settle_one(books, batch.sides[row], (debit_rows[row], credit_rows[row]), amount, not status, at)


def _settle_one(books: Books, side: int, rows: tuple[int, int], amount: int, happens: bool, at: At) -> None:
    accounts = books.accounts
    debit, credit = rows
    if side & DEBIT:
        accounts.held[debit] -= amount
        accounts.unsettled[debit] -= amount
        accounts.assert_sound_one(debit)
        accounts.note_reserved_one(debit)
        if happens:
            accounts.posted[debit] -= amount
            accounts.version[debit] = at.index
            books.add_turnover(accounts.currency_and_state.item(debit) & CURRENCY_MASK, amount, 0)
    if side & CREDIT:
        accounts.incoming[credit] -= amount
        accounts.assert_sound_one(credit)
        accounts.note_reserved_one(credit)
        if happens:
            accounts.posted[credit] += amount
            accounts.version[credit] = at.index
            books.add_turnover(accounts.currency_and_state.item(credit) & CURRENCY_MASK, 0, amount)


def _settle_columns(books: Books, prepared: Prepared, final: Codes, at: At) -> None:
    batch = prepared.batch
    sides, moved = batch.side_bits(), prepared.moved
    has_debit, has_credit = (sides & DEBIT) != 0, (sides & CREDIT) != 0
    happens = final == 0
    assert not (happens & ~prepared.reserved).any(), "a transaction that was refused here cannot be decided to happen"
    special = (batch.flag_bits() & KIND) != 0
    for row in np.flatnonzero(special & prepared.reserved).tolist():
        _settle_special(books, batch, row, int(moved[row]), bool(happens[row]), at)
    plain = prepared.reserved & ~special
    _settle_plain(books, batch, moved, plain & has_debit, plain & has_credit, happens, at)


def _settle_plain(
    books: Books, batch: Batch, amounts: Int64s, debits: Marks, credits: Marks, happens: Marks, at: At
) -> None:
    accounts = books.accounts
    debit_rows, debited = batch.debit_rows()[debits].astype(np.intp), amounts[debits]
    credit_rows, credited = batch.credit_rows()[credits].astype(np.intp), amounts[credits]
    np.subtract.at(accounts.held, debit_rows, debited)
    np.subtract.at(accounts.unsettled, debit_rows, debited)
    np.subtract.at(accounts.incoming, credit_rows, credited)
    accounts.assert_sound(debit_rows)
    accounts.assert_sound(credit_rows)
    accounts.note_reserved(debit_rows)
    accounts.note_reserved(credit_rows)
    paid, received = happens[debits], happens[credits]
    debit_rows, debited, credit_rows, credited = (
        debit_rows[paid],
        debited[paid],
        credit_rows[received],
        credited[received],
    )
    np.subtract.at(accounts.posted, debit_rows, debited)
    np.add.at(accounts.posted, credit_rows, credited)
    accounts.version[debit_rows] = at.index
    accounts.version[credit_rows] = at.index
    books.add_turnovers(debited, accounts.currency_and_state[debit_rows], is_debit=True)
    books.add_turnovers(credited, accounts.currency_and_state[credit_rows], is_debit=False)


def _settle_special(books: Books, batch: Batch, row: int, amount: int, happens: bool, at: At) -> None:
    accounts = books.accounts
    kind = int(batch.flag_bits()[row]) & KIND
    side, debit, credit = batch.sides[row], int(batch.debit_rows()[row]), int(batch.credit_rows()[row])
    if side & CREDIT and kind == CAPTURE:
        accounts.incoming[credit] -= amount
        accounts.note_reserved_one(credit)
        if happens:
            accounts.posted[credit] += amount
            accounts.touch_one(credit, at.index)
            books.add_turnover(int(accounts.currency_and_state[credit]) & CURRENCY_MASK, 0, amount)
    if not side & DEBIT:
        return
    accounts.unsettled[debit] -= amount
    accounts.note_reserved_one(debit)
    held = accounts.held.item(debit)
    if kind == HOLD:
        _settle_hold(books, batch, row, amount, happens, at)
    elif kind == CAPTURE:
        hold = books.holds.open[batch.hold_id(row)]
        is_final = bool(hold.voiding and batch.flag_bits()[row] & FINAL)
        _settle_capture(books, hold, debit, amount, happens)
        if is_final:
            accounts.unsettled[debit] -= hold.voiding
            _settle_void(books, hold, Status.hold_already_captured, happens)
    else:
        _settle_void(books, books.holds.open[batch.hold_id(row)], Status.hold_already_voided, happens)
    if happens or (kind != HOLD and accounts.held.item(debit) != held):
        accounts.touch_one(debit, at.index)
    accounts.assert_sound_one(debit)


def _settle_hold(books: Books, batch: Batch, row: int, amount: int, happens: bool, at: At) -> None:
    if not happens:
        books.accounts.held[batch.debit_rows()[row]] -= amount
        return
    credit = int(batch.credit_rows()[row])
    other = "" if credit >= 0 else batch.other(credit)
    expiry_ns = at.elapsed_ns + batch.ttl_seconds(row) * NANOSECONDS
    books.holds.add(batch.id_at(row), int(batch.debit_rows()[row]), max(credit, -2), other, amount, expiry_ns)


def _settle_void(books: Books, hold: Hold, ended: Status, happens: bool) -> None:
    hold.release_rest()
    books.holds.touch(hold)
    if happens:
        books.end_hold(hold, ended)
    elif hold.expired:
        books.end_hold(hold, Status.hold_expired)


def _settle_capture(books: Books, hold: Hold, debit: int, amount: int, happens: bool) -> None:
    accounts = books.accounts
    hold.release(amount, happens=happens)
    books.holds.touch(hold)
    if happens:
        accounts.posted[debit] -= amount
        accounts.held[debit] -= amount
        books.add_turnover(int(accounts.currency_and_state[debit]) & CURRENCY_MASK, amount, 0)
    if hold.is_reserved:  # by the same transaction
        return
    if not hold.rest:
        books.end_hold(hold, Status.hold_already_captured)
    elif hold.expired:
        books.end_hold(hold, Status.hold_expired)


def _record(books: Books, prepared: Prepared, final: Codes, has_debit: Marks, at: At) -> None:
    """Both sides remember what happened; the debit side also remembers refusals, under the id."""
    recorded = RECORDED[final] & ~prepared.known & ((final == 0) | has_debit)
    chosen = None if recorded.all() else np.flatnonzero(recorded)
    books.history.append(prepared.batch, final, chosen, prepared.moved, at.timestamp_ns, credit_legs=~has_debit)
