"""The fast path: whole columns at once, wherever no order of the batch could break a limit.

`in_question` proves the worst case: every account pays all its debits of the batch before any credit comes, and takes
all its credits before any debit leaves. Rows of accounts that stand this are safe in any order, so they commute with
each other and with the rows in question, which go to the exact path.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from node.core.ledger.accounts import Accounts
from node.core.ledger.batch import Batch
from node.core.ledger.books import Books
from node.core.ledger.ids import Run
from node.core.ledger.limits import BALANCE_BOUND, CURRENCY_MASK, Codes, Int32s, Int64s, Keys, Marks, Positions
from protocol.columns import BALANCING, Flag

SPECIAL = ~int(Flag.linked) & 0xFFFF  # flags of a row that is no plain transfer
UNCOUNTED = int(Flag.void) | BALANCING  # which move nothing, or whose accounts are all in question


def in_question(
    accounts: Accounts, debit: Positions, credit: Positions, debited: Int64s, credited: Int64s
) -> tuple[Marks, Marks] | None:
    """Which debits and which credits touch an account that some order could take past a limit; None if any may."""
    if _may_wrap(debited) or _may_wrap(credited):
        return None
    a = accounts
    np.add.at(a.debit_sum, debit, debited)
    np.add.at(a.credit_sum, credit, credited)
    short = a.posted[debit] - a.held[debit] < a.minimum[debit] + a.debit_sum[debit]
    over = a.posted[credit] + a.incoming[credit] > a.maximum[credit] - a.credit_sum[credit]
    a.debit_sum[debit] = 0
    a.credit_sum[credit] = 0
    if not short.any() and not over.any():
        return short, over
    tight_debits, tight_credits = debit[short], credit[over]
    a.tight[tight_debits] = True
    a.tight[tight_credits] = True
    questions = a.tight[debit], a.tight[credit]
    a.tight[tight_debits] = False
    a.tight[tight_credits] = False
    return questions


def _may_wrap(amounts: Int64s) -> bool:
    """Whether the sum could leave the bound; also true for an amount below 0, which only unjudged rows have."""
    if not len(amounts):
        return False
    return int(amounts.min()) < 0 or int(amounts.max()) * len(amounts) >= BALANCE_BOUND


def repeated_keys(sorted_keys: Keys) -> Keys:
    """Keys that occur more than once."""
    repeated: Keys = sorted_keys[1:][sorted_keys[1:] == sorted_keys[:-1]]
    return repeated


def suspect_rows(books: Books, batch: Batch, keys: Keys, run: Run) -> Marks | None:
    """Rows whose id may be in the record, in an open round or twice in the batch; None if there is none."""
    twice = repeated_keys(run.keys)
    found = books.suspects(run, batch.through)
    if not len(twice) and not len(found):
        return None
    return np.isin(keys, np.concatenate((twice, found)))


def with_chains(question: Marks, flags: NDArray[np.uint16]) -> Marks:
    """The marks, and all rows of linked chains."""
    linked = (flags & Flag.linked) != 0
    if not linked.any():
        return question
    chained: Marks = question | linked
    chained[1:] |= linked[:-1]
    return chained


def questions_of(books: Books, batch: Batch, suspect: Marks | None, outcomes: Codes | None) -> Marks:
    """Rows of a local batch for the exact path.

    `suspect`: whose id may be known; `outcomes`: what rows are answered at once, see `repeats.known_outcomes`.
    """
    accounts, n = books.accounts, batch.count
    debit, credit = batch.debit_rows(), batch.credit_rows()
    if not accounts.count:
        return np.ones(n, np.bool_)
    question = np.zeros(n, np.bool_) if suspect is None else suspect.copy()
    if batch.flags:
        question |= (batch.flag_bits() & SPECIAL) != 0
        question = with_chains(question, batch.flag_bits())
    missing = (debit < 0) | (credit < 0)
    if missing.any():
        question |= missing
    amounts = batch.amounts()
    debit_rows, credit_rows = debit.astype(np.intp), credit.astype(np.intp)
    if question.any() or outcomes is not None:
        debit_rows, credit_rows = np.maximum(debit_rows, 0), np.maximum(credit_rows, 0)
        amounts = counted(batch, amounts, missing, outcomes)
    if batch.if_version:
        question |= versioned(accounts, debit_rows[batch.is_versioned()], debit_rows, credit_rows)
    if batch.is_balancing:
        rows = (batch.flag_bits() & BALANCING) != 0
        question |= versioned(accounts, np.concatenate((debit_rows[rows], credit_rows[rows])), debit_rows, credit_rows)
    if accounts.has_shares:
        question |= accounts.only_takes[debit_rows]
    if batch.currency:
        question |= is_other_currency(batch, accounts.currency_and_state[debit_rows]) | is_other_currency(
            batch, accounts.currency_and_state[credit_rows]
        )
    debit_currencies = accounts.currency_and_state[debit_rows]
    unlike = (debit_currencies != accounts.currency_and_state[credit_rows]) | (debit_currencies > CURRENCY_MASK)
    question |= unlike
    tight = in_question(accounts, debit_rows, credit_rows, amounts, amounts)
    return np.ones(n, np.bool_) if tight is None else question | tight[0] | tight[1]


def is_other_currency(batch: Batch, currencies_and_states: Int32s) -> Marks:
    """Rows that want another currency than that of these accounts, one a row."""
    wanted = batch.currencies()
    marks: Marks = (wanted != 0) & (wanted != (currencies_and_states & CURRENCY_MASK))
    return marks


def versioned(accounts: Accounts, wanting: Positions, debit_rows: Positions, credit_rows: Positions) -> Marks:
    """Rows of the accounts in `wanting`, whose version a row wants, or balance takes or settles: only their order tells what it finds."""
    accounts.tight[wanting] = True
    marks: Marks = accounts.tight[debit_rows] | accounts.tight[credit_rows]
    accounts.tight[wanting] = False
    return marks


def counted(batch: Batch, amounts: Int64s, missing: Marks, outcomes: Codes | None) -> Int64s:
    """Amounts for the worst case: rows that cannot move money count 0."""
    counted = amounts.copy()
    counted[missing] = 0
    if outcomes is not None:
        counted[outcomes > 0] = 0
    counted[(batch.flag_bits() & UNCOUNTED) != 0] = 0
    return counted


def post_rows(books: Books, debit: Positions, credit: Positions, amounts: Int64s, index: int) -> None:
    """Posts ordinary transfers that are proven safe."""
    accounts = books.accounts
    np.subtract.at(accounts.posted, debit, amounts)
    np.add.at(accounts.posted, credit, amounts)
    accounts.touch(debit, index)
    accounts.touch(credit, index)
    currencies_and_states = accounts.currency_and_state[debit]
    moved = int(amounts.sum())
    if (currencies_and_states == currencies_and_states[0]).all():
        books.add_turnover(int(currencies_and_states[0]), moved, moved)
        return
    for currency_and_state in np.unique(currencies_and_states).tolist():
        moved = int(amounts[currencies_and_states == currency_and_state].sum())
        books.add_turnover(currency_and_state, moved, moved)
