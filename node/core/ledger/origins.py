"""What a reversal names: an earlier transfer that has moved what it gives back.

An id is found in the shard of its debit account, which is that of the reversal's credit account. So the credit's side judges, within a
shard and in rounds. What was recorded never changes: of sealed segments the leader finds it out, a few segments at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgpack
import numpy as np

from node.core.ledger.batch import Batch
from node.core.ledger.books import Books
from node.core.ledger.ids import key_of, sorted_run
from node.core.ledger.limits import CREDIT, POSITION_BITS
from node.core.ledger.repeats import is_one_account
from node.core.ledger.segment import Columns, Segment
from node.core.ledger.stored import SEGMENTS, stored_segment
from node.core.machine.part import SEARCHED, Loaded, Need
from protocol.columns import Flag
from protocol.status import Status

REVERSED = "ledger_reversed"  # by place in the record: what was given back, 8 bytes
NOTES = "ledger origins"  # no table: what was found in a segment that was looked through
SEGMENTS_AT_ONCE = 4  # read in one step, a megabyte each
REVERSAL = int(Flag.reversal)
NAMING = int(Flag.reversal | Flag.capture | Flag.void)


class Origin(NamedTuple):
    """An earlier transfer, as a reversal in one row of a batch finds it."""

    status: int  # why it cannot be reversed by this row, whatever else comes; 0: it can
    place: int = 0  # in the record
    amount: int = 0  # that it has moved
    reversed: int = 0  # of that, where nothing newer is in memory


def origin_at(books: Books, source: Columns, position: int, batch: Batch, row: int) -> Origin:
    """A record, of which no reversal is counted yet."""
    flags = int(source.flags[position])
    debit, credit = int(batch.debit_rows()[row]), int(batch.credit_rows()[row])
    debit_row, credit_row = int(source.debit[position]), int(source.credit[position])
    if source.status[position]:
        return Origin(int(Status.reversed_transfer_not_found))
    is_swapped = is_one_account(books.accounts, source, debit_row, batch, credit)
    if not is_swapped or not is_one_account(books.accounts, source, credit_row, batch, debit):
        return Origin(int(Status.reversed_transfer_has_different_accounts))
    if flags & (Flag.hold | Flag.void):
        return Origin(int(Status.hold_cannot_be_reversed))
    if flags & Flag.reversal:
        return Origin(int(Status.reversal_cannot_be_reversed))
    number = source.number if isinstance(source, Segment) else books.history.sealed
    return Origin(0, number << POSITION_BITS | position, int(source.amount[position]))


def sealed_origins(books: Books, batch: Batch, loaded: Loaded) -> list[int] | Need:
    """At the leader: row, status, place, amount, reversed, ... of the rows that reverse what a sealed segment holds."""
    if not batch.flags or not books.history.sealed:
        return []
    wanted = (batch.flag_bits() & REVERSAL) != 0
    if batch.sides:
        wanted = wanted & ((batch.side_bits() & CREDIT) != 0)
    rows = np.flatnonzero(wanted).tolist()
    if not rows:
        return []
    found = _search(books, batch, rows, loaded)
    if isinstance(found, Need):
        return found
    needed: list[tuple[str, int]] = []
    flat: list[int] = []
    for row, origin in sorted(found.items()):
        counter = books.reversals.recent.get(batch.hold_id(row))
        amount = counter.amount if counter is not None else books.reversals.unstored(origin.place)
        if amount is None and not origin.status:
            key = (REVERSED, origin.place)
            needed += [key] * (key not in loaded)
            amount = int.from_bytes(loaded.get(key) or b"", "little")
        flat += [row, origin.status, origin.place, origin.amount, amount or 0]
    return Need(tuple(dict.fromkeys(needed))) if needed else flat


def _search(books: Books, batch: Batch, rows: list[int], loaded: Loaded) -> dict[int, Origin] | Need:
    """By row. What is found in stored segments is noted, so that they need not be kept, but those that the batch's own ids need."""
    history = books.history
    _, run = sorted_run(b"".join(map(batch.hold_id, rows)))
    kept = set(history.old_segments(sorted_run(batch.ids)[1]))
    found: dict[int, Origin] = {}
    missing: list[tuple[str, int]] = []
    searched: list[tuple[str, int]] = []
    notes: list[tuple[tuple[str, int], bytes]] = []
    for number in [*history.old_segments(run), *history.window]:
        sealed = history.window.get(number) or history.retired.get(number)
        key = (SEGMENTS, number)
        if sealed is not None:
            has = [row for row in rows if sealed.run.has(key_of(batch.hold_id(row)))]
            found |= _found_in(books, sealed.segment, batch, has)
        elif note := loaded.get((NOTES, number)):
            found |= {row: Origin(*origin) for row, origin in msgpack.unpackb(note, strict_map_key=False).items()}
        elif loaded.get(key, SEARCHED) == SEARCHED:
            missing.append(key)
        else:
            here = _found_in(books, stored_segment(number, loaded), batch, rows)
            found |= here
            notes.append(((NOTES, number), msgpack.packb(here)))
            searched += [key] * (number not in kept)
    return Need(tuple(missing[:SEGMENTS_AT_ONCE]), tuple(searched), tuple(notes)) if missing else found


def _found_in(books: Books, segment: Segment, batch: Batch, rows: list[int]) -> dict[int, Origin]:
    places = ((row, segment.find(batch.hold_id(row))) for row in rows)
    return {row: origin_at(books, segment, place, batch, row) for row, place in places if place >= 0}


def origins_of(batch: Batch) -> dict[int, Origin]:
    """What the leader has found, by row."""
    flat = batch.origins
    return {flat[start]: Origin(*flat[start + 1 : start + 5]) for start in range(0, len(flat), 5)}


class Named:
    """The rows of a batch whose ids its reversals, captures and voids name: each is looked at once for all that name it."""

    def __init__(self, batch: Batch) -> None:
        self._flags = batch.flag_bits()
        naming = np.flatnonzero((self._flags & NAMING) != 0).tolist()
        self._rows: dict[bytes, list[int]] = {batch.hold_id(row): [] for row in naming}
        for row in range(batch.count):
            if (rows := self._rows.get(batch.id_at(row))) is not None:
                rows.append(row)
        numbers = batch.transactions()
        self._numbers: Sequence[int] = range(batch.count) if numbers is None else numbers.tolist()
        self._looked: dict[bytes, int] = {}  # how many of its rows were looked at
        self._found: set[bytes] = set()  # ids of which one may have happened
        self._among: dict[tuple[bytes, int], set[int]] = {}

    def before(self, id: bytes, row: int, may_happen: Callable[[int], bool]) -> bool:
        """Whether one of an earlier transaction than this row's may happen; those have been judged."""
        rows, looked = self._rows[id], self._looked.get(id, 0)
        while id not in self._found and looked < len(rows) and self._numbers[rows[looked]] < self._numbers[row]:
            if may_happen(rows[looked]):
                self._found.add(id)
            looked += 1
        self._looked[id] = looked
        return id in self._found

    def beside(self, id: bytes, flag: int, row: int, may_happen: Callable[[int], bool]) -> bool:
        """Whether one with this `Flag`, 0 for any, of another transaction than this row's may happen, in whatever order."""
        asked = id, flag
        if asked not in self._among:
            named = (other for other in self._rows[id] if self._flags[other] & flag == flag)
            self._among[asked] = {self._numbers[other] for other in named if may_happen(other)}
        among = self._among[asked]
        return len(among) > (self._numbers[row] in among)
