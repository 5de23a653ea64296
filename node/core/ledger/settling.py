"""Commands that are not transfers but settle them: cancelling an id of unknown outcome, and expiring holds."""

from __future__ import annotations

from typing import Any

from node.core.ledger.books import Books
from node.core.ledger.ids import Run, keys_of
from node.core.ledger.limits import NOT_HERE
from node.core.ledger.segment import Columns
from node.core.ledger.stored import SEGMENTS, stored_segment
from node.core.machine.operation import Body
from node.core.machine.part import SEARCHED, At, Loaded, Need
from protocol.errors import ProtocolError
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


def resolve_cancel(books: Books, body: Body, loaded: Loaded) -> Body | Need:
    """["cancel", id, debit account id] with what sealed segments know: [..., through, status or -1, timestamp]."""
    if len(body) != 3 or not isinstance(body[1], bytes) or len(body[1]) != 16 or not isinstance(body[2], str):
        raise ProtocolError("cancel: expected a 16-byte id and the debit account's id")
    found = find_anywhere(books, body[1], loaded)
    if isinstance(found, Need):
        return found
    row = books.accounts.rows.get(body[2], NOT_HERE)
    status, timestamp_ns = (-1, 0) if found is None else outcome_at(*found)
    return ["cancel", body[1], row, books.history.sealed, status, timestamp_ns]


def outcome_at(source: Columns, position: int) -> tuple[int, int]:
    """Status and time of a record."""
    return int(source.status[position]), int(source.timestamp_ns[position])


def apply_cancel(books: Books, body: Body, at: At) -> list[Any]:
    """["outcome", status, timestamp_ns]: of the id's record, which is `cancelled` if it had none."""
    _, id, row, through, status, timestamp_ns = body
    if row >= 0 and books.accounts.only_takes[row]:
        return ["outcome", int(Status.elsewhere), 0]
    if status >= 0:
        return ["outcome", status, timestamp_ns]
    if id in (bytes(16), b"\xff" * 16):
        wrong = Status.id_must_not_be_int_max if id[0] else Status.id_must_not_be_zero
        return ["outcome", int(wrong), 0]
    if books.is_stale(through):
        return ["outcome", int(Status.retry), 0]
    if (found := books.history.find(id, 0)) is not None:
        return ["outcome", *outcome_at(*found)]
    if books.find_prepared(id):
        return ["outcome", int(Status.undecided), 0]
    cancelled = int(Status.cancelled)
    return ["outcome", cancelled, books.history.append_one(id, row, NOT_HERE, 0, 0, 0, cancelled, at.timestamp_ns)]


def apply_expire(books: Books, at: At) -> int:
    """Ends holds whose time has passed; those in an open round end with it. How many were due."""
    due = books.holds.take_due(at.elapsed_ns)
    for hold in due:
        if hold.undecided or hold.voiding:
            hold.expired = True
            books.holds.touch(hold)
            continue
        books.end_hold(hold, Status.hold_expired)
        books.accounts.touch_one(hold.debit, at.index)
    return len(due)
