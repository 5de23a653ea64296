"""Commands that are not transfers but settle them: cancelling an id of unknown outcome, and expiring holds."""

from __future__ import annotations

from node.core.ledger.books import Books
from node.core.ledger.commands import CancelCommand, OutcomeAnswer
from node.core.ledger.ids import Run, keys_of
from node.core.ledger.limits import NOT_HERE
from node.core.ledger.segment import Columns
from node.core.ledger.stored import SEGMENTS, stored_segment
from node.core.machine.part import SEARCHED, At, Loaded, Need
from protocol.requests import OutcomeRequest
from protocol.status import Status

SEGMENTS_AT_ONCE = 4  # looked through in one step, a millisecond or two: others want the loop, too


def find_anywhere(books: Books, id: bytes, loaded: Loaded) -> tuple[Columns, int] | Need | None:
    """The record of an id in the tail, the window or an old segment; a few of those are looked through at a time."""
    history = books.history
    if (found := history.find(id, 0)) is not None:
        return found
    missing: list[tuple[str, int]] = []
    searched: list[tuple[str, int]] = []
    for number in history.old_segments(Run(keys_of(id))):
        key = (SEGMENTS, number)
        if (retired := history.retired.get(number)) is not None:
            segment: Columns = retired.segment
        elif key not in loaded:
            missing.append(key)
            continue
        elif loaded[key] == SEARCHED:
            continue
        else:
            searched.append(key)
            segment = stored_segment(number, loaded)
        if (position := segment.find(id)) >= 0:
            return segment, position
    return Need(tuple(missing[:SEGMENTS_AT_ONCE]), tuple(searched)) if missing else None


def resolve_cancel(books: Books, asked: OutcomeRequest, loaded: Loaded) -> CancelCommand | Need:
    """With what sealed segments know."""
    found = find_anywhere(books, asked.id, loaded)
    if isinstance(found, Need):
        return found
    return CancelCommand(asked, books.history.sealed, None if found is None else _outcome_at(*found))


def _outcome_at(source: Columns, position: int) -> OutcomeAnswer:
    return OutcomeAnswer(Status(source.status.item(position)), source.timestamp_ns.item(position))


def apply_cancel(books: Books, command: CancelCommand, at: At) -> OutcomeAnswer:
    """Of the id's record, which is `cancelled` if it had none."""
    id, row = command.asked.id, books.accounts.rows.get(command.asked.debit, NOT_HERE)
    if row >= 0 and books.accounts.only_takes[row]:
        return OutcomeAnswer(Status.elsewhere)
    if command.known is not None:
        return command.known
    if id in (bytes(16), b"\xff" * 16):
        return OutcomeAnswer(Status.id_must_not_be_int_max if id[0] else Status.id_must_not_be_zero)
    if books.is_stale(command.through):
        return OutcomeAnswer(Status.retry)
    if (found := books.history.find(id, 0)) is not None:
        return _outcome_at(*found)
    if books.find_prepared(id):
        return OutcomeAnswer(Status.undecided)
    cancelled = Status.cancelled
    stamp = books.history.append_one(id, row, NOT_HERE, 0, 0, 0, int(cancelled), at.timestamp_ns)
    return OutcomeAnswer(cancelled, stamp)


def apply_expire(books: Books, at: At) -> int:
    """Ends holds whose time has passed; those in an open round end with it. How many were due."""
    due = books.holds.take_due(at.elapsed_ns)
    for hold in due:
        if hold.is_reserved:
            hold.lapse()
            books.holds.touch(hold)
            continue
        books.end_hold(hold, Status.hold_expired)
        books.accounts.touch_one(hold.debit, at.index)
    return len(due)
