"""The record of transfers as readers are told of it: columns of what has happened, each transfer by its debit account's shard alone."""

from __future__ import annotations

from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node.core.ledger.books import Books
from node.core.ledger.limits import CREDIT_LEG, CURRENCY_MASK, NOT_HERE, Int32s, Marks, Positions, currency_text
from node.core.ledger.segment import NO_ID, Columns, Texts
from node.core.ledger.stored import SEGMENTS, stored_segment
from node.core.machine.operation import Body
from node.core.machine.part import Answer, Loaded, Need
from protocol.columns import SEPARATOR, Flag
from protocol.events import KINDS_OF_ROWS, NAMING, EventKind, TransferEvents

HOLD_END = int(Flag.hold | Flag.void)  # rows that move nothing
FEW = 1_024  # rows whose texts are looked up one by one, chunk by chunk: splitting all of a segment takes as long
NOTHING = (NO_ID, 0)


def answer_record(books: Books, body: Body, loaded: Loaded) -> Answer | Need:
    """["record", the row to go on with, columns or None]. Rows of one segment, or of the tail, are looked at, `most` at the most."""
    _, first, stop, most, kinds, prefix = body
    if first >= stop:
        return Answer(["record", first, None])
    history = books.history
    number, start = history.locate(first)
    source: Columns
    if number == history.sealed:
        source = history.tail
    elif (sealed := history.window.get(number) or history.retired.get(number)) is not None:
        source = sealed.segment
    elif (SEGMENTS, number) not in loaded:
        return Need(((SEGMENTS, number),))
    else:
        source = stored_segment(number, loaded)
    low = first - start
    high = min(source.count, low + most, stop - start)
    chosen = _chosen(books, source, slice(low, high), kinds, prefix)
    if not chosen.any():
        return Answer(["record", start + high, None])
    return Answer(["record", start + high, _columns(books, source, low, high, chosen, first).pack()])


def _chosen(books: Books, source: Columns, rows: slice, kinds: list[str], prefix: str) -> Marks:
    """Which rows are told: what happened, where its id counts, and what the reader has asked for."""
    flags, status = source.flags[rows], source.status[rows]
    chosen: Marks = (status == 0) & ((flags & CREDIT_LEG) == 0)
    if EventKind.holds not in kinds:
        chosen &= (flags & HOLD_END) == 0
    elif EventKind.transfers not in kinds:
        chosen &= (flags & KINDS_OF_ROWS) != 0
    if books.accounts.has_shares and chosen.any():  # what moves between the shares of a split account is no event
        debits, credits = (_names(books, source, column[rows]) for column in (source.debit, source.credit))
        chosen &= np.fromiter((a != b for a, b in zip(debits, credits, strict=True)), np.bool_, len(debits))
    if prefix and chosen.any():
        chosen &= _begins(books, source, source.debit[rows], prefix) | _begins(
            books, source, source.credit[rows], prefix
        )
    return chosen


def _begins(books: Books, source: Columns, accounts: Int32s, prefix: str) -> Marks:
    """Whose names begin so; each account is looked at once."""
    distinct, places = np.unique(accounts, return_inverse=True)
    begins = np.array([name.startswith(prefix) for name in _names(books, source, distinct)], np.bool_)
    marks: Marks = begins[places]
    return marks


def _names(books: Books, source: Columns, accounts: Int32s) -> list[str]:
    """Their ids; of an account that nobody has opened, which only a refused transfer names, an empty one."""
    numbers, names = accounts.tolist(), books.accounts.names
    lowest = accounts.min(initial=0)
    if lowest == 0 and len(numbers) > 1:
        return list(itemgetter(*numbers)(names))
    if lowest == NOT_HERE or len(numbers) <= FEW:
        return [names[row] if row >= 0 else "" if row == NOT_HERE else source.others.at(-2 - row) for row in numbers]
    others = source.others.texts(source.others_count)
    return [names[row] if row >= 0 else "" if row == NOT_HERE else others[-2 - row] for row in numbers]


def _columns(books: Books, source: Columns, low: int, high: int, chosen: Marks, first: int) -> TransferEvents:
    places: Positions = np.arange(low, high)
    rows: Any = slice(low, high)
    offsets = b""
    if not chosen.all():
        rows = places = places[chosen]
        offsets = (places - low).astype("<u4").tobytes()
    flags, code = source.flags[rows], source.code[rows]
    hold_ids, ttl = _hold_columns(source, places, flags)
    return TransferEvents(
        first, offsets, source.ids[rows].tobytes(), SEPARATOR.join(_names(books, source, source.debit[rows])),
        SEPARATOR.join(_names(books, source, source.credit[rows])), source.amount[rows].tobytes(),
        source.timestamp_ns[rows].tobytes(), flags.tobytes() if flags.any() else b"",
        code.tobytes() if code.any() else b"", _texts(source.references, source.count, places), hold_ids, ttl,
        _texts(source.metadata, source.count, places), _currencies(books, source.debit[rows]),
    )  # fmt: skip


def _currencies(books: Books, debits: Int32s) -> str:
    """Of these accounts, which live here: three letters for all, or for each."""
    codes = books.accounts.currency_and_state[debits] & CURRENCY_MASK
    first = codes[0]
    if (codes == first).all():
        return currency_text(int(first))
    return "".join(map(currency_text, codes.tolist()))


def _texts(column: Texts, count: int, places: Positions) -> str:
    """Of the rows at these places, joined; empty where none has one."""
    if not column.chunks:
        return ""
    if len(places) <= FEW:
        texts = [column.at(place) for place in places.tolist()]
    else:
        whole = column.texts(count)
        texts = [whole[place] for place in places.tolist()]
    return SEPARATOR.join(texts) if any(texts) else ""


def _hold_columns(source: Columns, places: Positions, flags: NDArray[np.uint16]) -> tuple[bytes, bytes]:
    """What a capture, void or reversal names, and how long a hold lives; both empty where all transfers are plain."""
    special = (flags & NAMING) != 0
    if not special.any():
        return b"", b""
    extras = [
        source.extra_at(place) if marked else NOTHING
        for place, marked in zip(places.tolist(), special.tolist(), strict=True)
    ]
    return b"".join(hold_id for hold_id, _ in extras), np.array([ttl for _, ttl in extras], "<u4").tobytes()
