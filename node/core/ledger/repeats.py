"""Ids that were used before: what a repeat of the same request is answered, and what another request under its id.

A client that got no answer sends its whole batch again, so repeats come by thousands, just when a leader has died. They
are found and compared by columns; field by field only where something seems to differ, or the row is no plain transfer.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from node.core.ledger.accounts import Accounts
from node.core.ledger.batch import Batch
from node.core.ledger.history import History
from node.core.ledger.limits import CREDIT_LEG, CURRENCY_MASK, DEBIT, NOT_HERE, SMALL_BATCH, Codes, Marks, Positions
from node.core.ledger.segment import Columns
from protocol.columns import BALANCING, Flag
from protocol.status import Status

EXISTS = np.uint8(Status.exists)


def known_outcomes(accounts: Accounts, history: History, batch: Batch, suspect: Marks | None) -> Codes | None:
    """What rows are answered whose outcome the leader or the record knows, 0 for all others; None if all are 0.

    `suspect` marks rows whose ids may be in the record; a few of them are left to the exact path.
    """
    is_worth = suspect is not None and int(np.count_nonzero(suspect)) >= SMALL_BATCH
    if not is_worth and not batch.hints:
        return None
    outcomes = np.zeros(batch.count, np.uint8)
    if suspect is not None and is_worth:
        rows = np.flatnonzero(suspect & ((batch.side_bits() & DEBIT) != 0) if batch.sides else suspect)
        for source in history.searched(batch.through):
            outcomes[rows] |= recorded_statuses(accounts, source, batch, rows)
    outcomes[batch.hints[0::2]] = batch.hints[1::2]
    return outcomes


def recorded_statuses(accounts: Accounts, source: Columns, batch: Batch, rows: Positions) -> Codes:
    """`recorded_status` of each of these rows of the batch; 0 for those that the source does not hold."""
    statuses = np.zeros(len(rows), np.uint8)
    positions = source.find_all(np.frombuffer(batch.ids, np.uint64).reshape(-1, 2)[rows])
    found = np.flatnonzero(positions >= 0)
    if not len(found):
        return statuses
    rows, positions = rows[found], positions[found]
    answers = np.where(source.status[positions], source.status[positions], EXISTS)
    unlike = (source.status[positions] == 0) & ~_surely_repeat(accounts, source, positions, batch, rows)
    for place in np.flatnonzero(unlike).tolist():
        row = int(rows[place])
        debit, credit = int(batch.debit_rows()[row]), int(batch.credit_rows()[row])
        answers[place] = recorded_status(accounts, source, int(positions[place]), batch, row, debit, credit)
    statuses[found] = answers
    return statuses


def _surely_repeat(accounts: Accounts, source: Columns, positions: Positions, batch: Batch, rows: Positions) -> Marks:
    """Rows that surely repeat what is recorded: plain transfers alike in each column and each text."""
    flags, debit = source.flags[positions], batch.debit_rows()[rows]
    credit, recorded_credit = batch.credit_rows()[rows], source.credit[positions]
    is_abroad = (credit < NOT_HERE) & (recorded_credit < NOT_HERE)
    same: Marks = (
        (flags == batch.flag_bits()[rows])
        & (flags <= Flag.linked)
        & (source.amount[positions] == batch.amounts()[rows])
        & (source.code[positions] == batch.codes()[rows])
        & ((source.debit[positions] == debit) & (debit >= NOT_HERE))
        & (is_abroad | ((recorded_credit == credit) & (credit >= NOT_HERE)))
    )
    if batch.currency:
        wanted = batch.currencies()[rows]
        same &= (wanted == 0) | (wanted == (accounts.currency_and_state[source.debit[positions]] & CURRENCY_MASK))
    abroad = np.flatnonzero(same & is_abroad)
    pairs = zip(recorded_credit[abroad].tolist(), credit[abroad].tolist(), strict=True)
    same[abroad] = [source.others.at(-2 - recorded) == batch.other(value) for recorded, value in pairs]
    for texts, joined, text_at in (
        (source.references, batch.reference, batch.reference_at), (source.metadata, batch.metadata, batch.metadata_at)
    ):  # fmt: skip
        if joined or texts.chunks:
            alike = np.flatnonzero(same)
            pairs = zip(positions[alike].tolist(), rows[alike].tolist(), strict=True)
            same[alike] = [texts.at(position) == text_at(row) for position, row in pairs]
    return same


def recorded_status(
    accounts: Accounts, source: Columns, position: int, batch: Batch, row: int, debit: int, credit: int
) -> int:
    """What a repeated id is answered: the recorded failure, `exists`, or which field differs."""
    recorded = int(source.status[position])
    if recorded:
        return recorded
    flags = int.from_bytes(batch.flags[2 * row : 2 * row + 2], "little") if batch.flags else 0
    hold_id, ttl = source.extra_at(position)
    amount = int.from_bytes(batch.amount[8 * row : 8 * row + 8], "little", signed=True)
    differs = (
        (int(source.flags[position]) & ~CREDIT_LEG != flags, Status.exists_with_different_flags),
        (hold_id != batch.hold_id(row) and not flags & Flag.reversal, Status.exists_with_different_hold_id),
        (
            not is_one_account(accounts, source, int(source.debit[position]), batch, debit),
            Status.exists_with_different_debit_account,
        ),
        (
            not is_one_account(accounts, source, int(source.credit[position]), batch, credit),
            Status.exists_with_different_credit_account,
        ),
        (is_other_amount(int(source.amount[position]), amount, flags), Status.exists_with_different_amount),
        (int(source.code[position]) != batch.code_at(row), Status.exists_with_different_code),
        (source.references.at(position) != batch.reference_at(row), Status.exists_with_different_reference),
        (ttl != batch.ttl_seconds(row), Status.exists_with_different_ttl),
        (
            batch.currency_at(row)
            not in (0, accounts.currency_and_state.item(source.debit.item(position)) & CURRENCY_MASK),
            Status.exists_with_different_currency,
        ),
        (source.metadata.at(position) != batch.metadata_at(row), Status.exists_with_different_metadata),
        (hold_id != batch.hold_id(row), Status.exists_with_different_reverses),
    )
    return next((int(status) for is_different, status in differs if is_different), int(Status.exists))


def is_other_amount(moved: int, asked: int, flags: int) -> bool:
    """Whether a repeat asks for another amount than what was moved: of a balancing row for less, of a void for nothing."""
    if flags & BALANCING:
        return bool(asked) and moved > asked
    return moved != asked and not flags & Flag.void


def is_one_account(accounts: Accounts, source: Columns, recorded: int, batch: Batch, value: int) -> bool:
    """Whether two row values stand for one account. A split account may have been named as one of another shard."""
    if recorded >= -1 and value >= -1:
        return recorded == value
    return _name(accounts, recorded, source.others.at) == _name(accounts, value, lambda place: batch.other(-2 - place))


def _name(accounts: Accounts, value: int, other: Callable[[int], str]) -> str | None:
    if value >= 0:
        return accounts.names[value]
    return None if value == NOT_HERE else other(-2 - value)
