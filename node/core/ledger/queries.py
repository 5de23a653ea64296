"""Questions about the applied state."""

from __future__ import annotations

import numpy as np

from node.core.ledger.accounts import COLUMNS
from node.core.ledger.books import Books
from node.core.ledger.checkpoint import LINKS
from node.core.ledger.limits import (
    CREDIT_LEG,
    CURRENCY_MASK,
    NO_MAXIMUM,
    NO_MINIMUM,
    NOT_HERE,
    POSITION_BITS,
    STATE_SHIFT,
    Positions,
    currency_text,
)  # fmt: skip
from node.core.ledger.origins import NAMING
from node.core.ledger.questions import AccountsQuestion
from node.core.ledger.segment import Columns, Links
from node.core.ledger.settling import find_anywhere
from node.core.ledger.stored import SEGMENTS, stored_segment
from node.core.machine.operation import Body
from node.core.machine.part import Answer, Loaded, Need
from node.core.machine.questions import PartTrace, TransferRecord
from protocol.errors import ProtocolError
from protocol.rows import AccountRow, TransferRow
from protocol.status import HISTORY_ROWS_MAX

LAST_POSITION = (1 << POSITION_BITS) - 1
LINKS_A_PAGE = 32  # segments asked whether they hold the account; their links are about 80 kB each
IDS_MAX = 1_000  # of an open round that are told: enough to know whose it is
FEW = 4  # accounts whose values are read one by one: selecting from a column takes as long as reading ten values
CURRENCY_AND_STATE = COLUMNS.index("currency_and_state")
SEGMENTS_A_PAGE = 8  # segments read for one page, about 1 MB each: a page takes milliseconds, however long the record


def account_rows(books: Books, ids: list[str]) -> list[AccountRow | None]:
    """Of each id, None where there is no such account."""
    accounts = books.accounts
    if not accounts.count:
        return [None] * len(ids)
    rows = accounts.rows_of(ids)
    numbers = rows.tolist()
    whole = [getattr(accounts, name) for name in COLUMNS]
    is_few = len(ids) <= FEW
    columns = [[column.item(row) for row in numbers] if is_few else column[rows].tolist() for column in whole]
    told = {both: (currency_text(both & CURRENCY_MASK), both >> STATE_SHIFT) for both in columns[CURRENCY_AND_STATE]}
    owners, metadata, updates = accounts.owners, accounts.metadata, accounts.updates
    return [
        None if row == NOT_HERE else AccountRow(
            id, told[both][0], posted, held, incoming,
            None if minimum == NO_MINIMUM else minimum, None if maximum == NO_MAXIMUM else maximum,
            told[both][1], owners.get(row, ""), metadata.get(row, b""), version, bool(incoming or unsettled), is_share,
            updates[row].id if row in updates else b"",
        )
        for id, row, posted, held, incoming, unsettled, minimum, maximum, version, both, is_share, _ in zip(
            ids, numbers, *columns, strict=True
        )
    ]  # fmt: skip


def answer_accounts(books: Books, asked: AccountsQuestion) -> Answer:
    """A row an account."""
    rows = account_rows(books, asked.accounts)
    return Answer(asked.answer(rows), is_undecided=any(row is not None and row.is_undecided for row in rows))


def answer_transfer(books: Books, body: Body, loaded: Loaded) -> Answer | Need:
    """["transfer", row or None]: a row as in history, then what is left of its hold (None: not open) and its seconds to live."""
    id = body[1]
    if not isinstance(id, bytes) or len(id) != 16:
        raise ProtocolError("transfer: expected a 16-byte id")
    found = find_anywhere(books, id, loaded)
    if isinstance(found, Need):
        return found
    if found is None:
        return Answer(["transfer", None], is_undecided=books.find_prepared(id))
    hold = books.holds.open.get(id)
    is_settling = hold is not None and hold.is_reserved  # a client may know its round's outcome
    source, place = found
    row = _row(books, source, place)
    row = row._replace(rest=None if hold is None else hold.rest, ttl=source.extra_at(place)[1])
    return Answer(["transfer", row.pack()], is_undecided=is_settling)


def trace(books: Books, id: bytes, loaded: Loaded) -> PartTrace | Need:
    """What is known of a transfer, undecided or not; rounds that nobody remembers are left out."""
    found = find_anywhere(books, id, loaded)
    if isinstance(found, Need):
        return found
    record = None
    if found is not None:
        row = _row(books, *found)
        record = TransferRecord(row.status, row.timestamp_ns, row.debit, row.credit)
    opened = ((round_id, [prepared.passed() for prepared in legs]) for round_id, legs in books.rounds.items())
    sightings = [
        passed.sighting(round_id, row)
        for round_id, legs in (*books.trail, *opened)
        for passed in legs
        if (row := passed.find(id)) >= 0
    ]
    return PartTrace(record, sightings)


def open_ids(books: Books, round_id: int) -> bytes:
    """The first ids of an open round."""
    ids = b"".join(prepared.batch.ids for prepared in books.rounds.get(round_id, ()))
    return ids[: 16 * IDS_MAX]


def _row(books: Books, source: Columns, place: int) -> TransferRow:
    flags = source.flags.item(place)
    return TransferRow(
        source.id_at(place), _name(books, source, source.debit.item(place)), _name(books, source, source.credit.item(place)),
        source.amount.item(place), source.code.item(place), flags & ~CREDIT_LEG, source.references.at(place),
        source.timestamp_ns.item(place), source.status.item(place), source.metadata.at(place),
        source.extra_at(place)[0] if flags & NAMING else b"",
    )  # fmt: skip


def _name(books: Books, source: Columns, value: int) -> str | None:
    if value >= 0:
        return books.accounts.names[value]
    return None if value == NOT_HERE else source.others.at(-2 - value)


class Pages:
    """Reads an account's history segment by segment, collecting what must be loaded first."""

    def __init__(self, books: Books, row: int, loaded: Loaded) -> None:
        self.books = books
        self.row = row
        self.loaded = loaded
        self.used: list[tuple[str, int]] = []

    def links(self, number: int) -> Links | None:
        """The links of a sealed segment, None if they must be loaded."""
        history = self.books.history
        if (sealed := history.window.get(number) or history.retired.get(number)) is not None:
            return sealed.links
        self.used.append((LINKS, number))
        packed = self.loaded.get((LINKS, number))
        return None if packed is None else Links.unpack(packed)

    def segment(self, number: int) -> Columns | None:
        """A segment or the tail, None if it must be loaded."""
        history = self.books.history
        if number == history.sealed:
            return history.tail
        if (sealed := history.window.get(number) or history.retired.get(number)) is not None:
            return sealed.segment
        self.used.append((SEGMENTS, number))
        return stored_segment(number, self.loaded) if (SEGMENTS, number) in self.loaded else None

    def members(self, start: int, step: int) -> tuple[list[int], int | None] | None:
        """The next segments from `start` on that hold the account, and where to go on; None if links must be loaded.

        Both are bounded, so a page may be short, or even empty, before the end.
        """
        tail = self.books.history.sealed
        block = range(start, tail + 1 if step > 0 else -1, step)[:LINKS_A_PAGE]
        links = {number: self.links(number) for number in block if number != tail}
        if any(link is None for link in links.values()):
            return None
        members = [number for number in block if number == tail or self._holds(links[number])]
        if len(members) > SEGMENTS_A_PAGE:
            return members[:SEGMENTS_A_PAGE], members[SEGMENTS_A_PAGE]
        following = start + step * len(block)
        return members, following if 0 <= following <= tail else None

    def _holds(self, links: Links | None) -> bool:
        return links is not None and links.holds(self.row)

    def rows_in_memory(self, with_failed: bool) -> int:
        """Of the account, in the newest sealed segment: about as many as in any other one."""
        newest = self.books.history.window.get(self.books.history.sealed - 1)
        return 0 if newest is None else len(_places(newest.segment, self.row, with_failed))


def answer_history(books: Books, body: Body, loaded: Loaded) -> Answer | Need:
    """["history", rows, cursor of the next page or None]; rows are None for an account that does not exist.

    With one item more, true, for a share of a split account.
    """
    _, id, cursor, limit, is_newest_first, with_failed = [*body, False][:6]
    row = books.accounts.rows.get(id) if isinstance(id, str) else None
    is_cursor = cursor is None or (isinstance(cursor, int) and cursor >= 0)
    if not isinstance(limit, int) or not 1 <= limit <= HISTORY_ROWS_MAX or not is_cursor:
        raise ProtocolError(f"history: expected a cursor or None and a limit of 1 to {HISTORY_ROWS_MAX}")
    if row is None:
        return Answer(["history", None, None])
    is_undecided = _has_undecided(books, row)
    if is_undecided and is_newest_first and cursor is None:
        # It begins with what is open: no use in reading the rest.
        return Answer(["history", [], None], is_undecided=True)
    pages = Pages(books, row, loaded)
    page = _page(pages, cursor, limit, -1 if is_newest_first else 1, bool(with_failed))
    if page is None:
        return Need(tuple(dict.fromkeys(pages.used)))
    found, following = page
    rows = [_row(books, source, place).pack_entry() for source, places in found for place in places]
    of_share = [True] if books.accounts.is_share[row] else []
    reaches_end = following is None and not is_newest_first
    return Answer(["history", rows, following, *of_share], is_undecided=is_undecided and reaches_end)


def _has_undecided(books: Books, row: int) -> bool:
    """Whether an open round may yet add to the account's history."""
    return any(prepared.names(row) for legs in books.rounds.values() for prepared in legs)


Places = list[tuple[Columns, list[int]]]
"""Rows of the record: their segments, and where they are there."""


def _page(
    pages: Pages, cursor: int | None, limit: int, step: int, with_failed: bool
) -> tuple[Places, int | None] | None:
    """Up to `limit` places from the cursor on, and the next cursor; None if something must be loaded."""
    start = (0 if step > 0 else pages.books.history.sealed) if cursor is None else cursor >> POSITION_BITS
    start = min(start, pages.books.history.sealed)
    edge = (0 if step > 0 else LAST_POSITION) if cursor is None else cursor & LAST_POSITION
    members = pages.members(start, step)
    if members is None:
        return None
    numbers, following = members
    found: Places = []
    left = limit
    for place, number in enumerate(numbers):
        source = pages.segment(number)
        if source is None:
            read, rows = (place, limit - left) if place else (1, pages.rows_in_memory(with_failed))
            # As many more as the rest takes if the account comes as often there; as many again if it did not come at all.
            ahead = read * left // rows if rows else place
            for further in numbers[place + 1 : place + 1 + ahead]:
                pages.segment(further)
            return None
        places = _places(source, pages.row, with_failed)
        if number == start:
            places = places[places >= edge] if step > 0 else places[places <= edge]
        places = places[::step]
        found.append((source, places[:left].tolist()))
        if len(places) > left:
            return found, number << POSITION_BITS | int(places[left])
        left -= len(places)
    if following is None:
        return found, None
    return found, following << POSITION_BITS | (0 if step > 0 else LAST_POSITION)


def _places(source: Columns, row: int, with_failed: bool) -> Positions:
    n = source.count
    here = (source.debit[:n] == row) | (source.credit[:n] == row)
    if not with_failed:
        here &= source.status[:n] == 0
    return np.flatnonzero(here)
