"""Applying a batch of transfers: columns where proven safe, one by one where not, small ones in plain Python."""

from __future__ import annotations

import numpy as np

from node.core.ledger.batch import Batch
from node.core.ledger.books import Books
from node.core.ledger.exact import Exact, Lines
from node.core.ledger.fast import post_rows, questions_of, sorted_run, suspect_rows, with_chains
from node.core.ledger.limits import BOTH, SMALL_BATCH, Marks, Positions
from node.core.ledger.repeats import known_outcomes
from node.core.machine.part import At
from protocol.status import REPEATED, Status

RECORDED: Marks = np.zeros(256, np.bool_)
RECORDED[[int(status) for status in Status if status.is_recorded]] = True
REFUSED = RECORDED.copy()
REFUSED[int(Status.created)] = False


def apply_transfers(books: Books, batch: Batch, at: At) -> bytes:
    """One status a row, with `REPEATED` where it was on record; the books changed accordingly."""
    if books.is_stale(batch.through):
        return bytes([Status.retry]) * batch.count
    if batch.count < SMALL_BATCH:
        return _apply_small(books, batch, at)
    return _apply_columns(books, batch, at)


def _apply_columns(books: Books, batch: Batch, at: At) -> bytes:
    n = batch.count
    keys, run = sorted_run(batch.ids)
    suspect = suspect_rows(books, batch, keys, run)
    outcomes = known_outcomes(books.accounts, books.history, batch, suspect)
    question = questions_of(books, batch, suspect, outcomes)
    statuses, known = np.zeros(n, np.uint8), np.zeros(n, np.bool_)
    if outcomes is not None:
        known = (outcomes > 0) & ~with_chains(known, batch.flag_bits())
        statuses[known] = outcomes[known]
        question &= ~known
    amounts = batch.amounts()
    debit, credit = batch.debit_rows().astype(np.intp), batch.credit_rows().astype(np.intp)
    if outcomes is None and not question.any():
        post_rows(books, debit, credit, amounts, at.index)
        books.history.append(batch, statuses, None, amounts, at.timestamp_ns, keys=run.keys)
        return statuses.tobytes()
    plain = np.flatnonzero(~question & ~known)
    if len(plain):
        post_rows(books, debit[plain], credit[plain], amounts[plain], at.index)
    moved = amounts.copy()
    if question.any():
        rows = np.flatnonzero(question)
        exact = Exact(books, batch, lines_of(batch, rows, suspect), at)
        exact.run()
        exact.sheet.write(at.index)
        statuses[rows], known[rows], moved[rows] = exact.statuses, exact.known, exact.moved
    recorded = RECORDED[statuses] & ~known
    chosen = None if recorded.all() else np.flatnonzero(recorded)
    books.history.append(batch, statuses, chosen, moved, at.timestamp_ns, keys=run.keys)
    statuses[known & REFUSED[statuses]] |= REPEATED
    return statuses.tobytes()


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


def _apply_small(books: Books, batch: Batch, at: At) -> bytes:
    lines = small_lines(batch)
    exact = Exact(books, batch, lines, at)
    exact.run()
    exact.sheet.write(at.index)
    statuses = exact.statuses
    recorded = [line for line, status in enumerate(statuses) if RECORDED[status] and not exact.known[line]]
    shift = books.history.append_others(batch) if recorded else 0
    for line in recorded:
        credit = lines.credit[line]
        books.history.append_one(
            batch.id_at(line), lines.debit[line], credit - shift if credit <= -2 else credit, exact.moved[line],
            batch.code_at(line), lines.flags[line], statuses[line], at.timestamp_ns, batch.reference_at(line),
            (batch.hold_id(line), batch.ttl_seconds(line)),
        )  # fmt: skip
    answered = zip(statuses, exact.known, strict=True)
    return bytes(status | REPEATED if known and REFUSED[status] else status for status, known in answered)
