"""Checkpoints: what has changed as rows of tables, a fresh state from such rows, and the digest of the state."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import msgpack
import numpy as np

from node.core.ledger.accounts import COLUMNS, LastUpdate
from node.core.ledger.books import Books
from node.core.ledger.holds import stored_key
from node.core.ledger.limits import PAGE_ACCOUNTS
from node.core.ledger.origins import REVERSED
from node.core.ledger.prepared import Prepared
from node.core.ledger.resolve import ENDED_HOLDS
from node.core.ledger.segment import Sealed
from node.core.ledger.stored import SEGMENTS
from node.core.machine.part import Change, Rows
from protocol.columns import SEPARATOR

STATICS, BALANCES = "ledger_accounts", "ledger_balances"
WINDOW, LINKS, TAIL = "ledger_window", "ledger_links", "ledger_tail"
HOLDS, ROUNDS, COUNTERS = "ledger_holds", "ledger_rounds", "ledger_counters"
LIVE_TABLES = (COUNTERS, STATICS, BALANCES, WINDOW, TAIL, HOLDS, ROUNDS)
SEQUENCE_TABLES = (SEGMENTS, LINKS)
ARCHIVE_TABLES = (*SEQUENCE_TABLES, ENDED_HOLDS, REVERSED)
"""Grow with history; read row by row for a `Need`, never as a whole."""


class Saver:
    """Knows what the last checkpoint held."""

    def __init__(self) -> None:
        self.saved_segments = 0
        self.saved_retired = 0

    def changes(self, books: Books) -> list[Change]:
        """Everything that differs from the last call."""
        changes = [*_page_changes(books), *self._history_changes(books), *_hold_changes(books)]
        changes += _reversal_changes(books)
        for round_id in books.changed_rounds:
            legs = books.rounds.get(round_id)
            packed = None if legs is None else msgpack.packb([prepared.pack() for prepared in legs])
            changes.append(Change(ROUNDS, round_id, packed))
        books.changed_rounds.clear()
        changes.append(Change(COUNTERS, 0, _pack_counters(books)))
        return changes

    def forget_saved(self, books: Books) -> None:
        """Drops segments that the last checkpoint held, once it is readable: at its end, or when the next one begins."""
        retired = books.history.retired
        for number in [number for number in retired if number < self.saved_retired]:
            del retired[number]

    def _history_changes(self, books: Books) -> list[Change]:
        history = books.history
        changes: list[Change] = []
        self.forget_saved(books)
        for number, sealed in history.retired.items():
            changes.append(Change(SEGMENTS, number, sealed.segment.pack()))
            changes.append(Change(LINKS, number, sealed.links.pack()))
            if number < self.saved_segments:
                changes.append(Change(WINDOW, number, None))
        self.saved_retired = len(history.directory)
        for number, sealed in history.window.items():
            if number >= self.saved_segments:
                changes.append(Change(WINDOW, number, _pack_sealed(sealed)))
        self.saved_segments = history.sealed
        changes.append(Change(TAIL, 0, history.tail.pack()))
        return changes


def _pack_sealed(sealed: Sealed) -> bytes:
    packed: bytes = msgpack.packb([sealed.segment.pack(), sealed.links.pack()])
    return packed


def _page_changes(books: Books) -> list[Change]:
    accounts = books.accounts
    changes: list[Change] = []
    for page in np.flatnonzero(accounts.dirty_statics).tolist():
        first, last = page * PAGE_ACCOUNTS, min((page + 1) * PAGE_ACCOUNTS, accounts.count)
        rows = range(first, last)
        owners = [[row, accounts.owners[row]] for row in rows if row in accounts.owners]
        metadata = [[row, accounts.metadata[row]] for row in rows if row in accounts.metadata]
        updates = [[row, accounts.updates[row].pack()] for row in rows if row in accounts.updates]
        packed = msgpack.packb([SEPARATOR.join(accounts.names[first:last]), owners, metadata, updates])
        changes.append(Change(STATICS, page, packed))
    for page in np.flatnonzero(accounts.dirty_pages).tolist():
        first, last = page * PAGE_ACCOUNTS, min((page + 1) * PAGE_ACCOUNTS, accounts.count)
        accounts.assert_sound(slice(first, last))
        packed = b"".join(getattr(accounts, name)[first:last].tobytes() for name in COLUMNS)
        changes.append(Change(BALANCES, page, packed))
    accounts.dirty_statics[:] = False
    accounts.dirty_pages[:] = False
    return changes


def _hold_changes(books: Books) -> list[Change]:
    holds = books.holds
    changes: list[Change] = []
    for serial, id in holds.changed.items():
        hold = holds.open.get(id)
        is_open = hold is not None and hold.serial == serial
        changes.append(Change(HOLDS, serial, hold.pack() if hold is not None and is_open else None))
    for id, status in holds.unsaved_ended.items():
        changes.append(Change(ENDED_HOLDS, stored_key(id), id + bytes([status])))
    holds.changed.clear()
    holds.saving_ended, holds.unsaved_ended = holds.unsaved_ended, {}
    return changes


def _reversal_changes(books: Books) -> list[Change]:
    reversals = books.reversals
    changes = [Change(REVERSED, place, amount.to_bytes(8, "little")) for place, amount in reversals.unsaved.items()]
    reversals.saving, reversals.unsaved = reversals.unsaved, {}
    return changes


def _pack_counters(books: Books) -> bytes:
    history, holds = books.history, books.holds
    turnover = [[code, [*map(str, sums)]] for code, sums in sorted(books.turnover.items())]  # beyond 64 bits, in time
    packed: bytes = msgpack.packb([
        books.accounts.count, history.sealed, history.chain, history.directory, holds.next_serial,
        [sorted(ended.items()) for ended in holds.ended], turnover, books.accounts.has_shares, history.starts,
        books.reversals.pack(),
    ])  # fmt: skip
    return packed


def restore(books: Books, rows: Rows) -> None:
    """Loads a checkpoint into fresh books; an empty store leaves them fresh."""
    counters = dict(rows(COUNTERS))
    if not counters:
        return
    history, holds = books.history, books.holds
    (
        count, history.sealed, history.chain, directory, holds.next_serial, ended, turnover, has_shares, history.starts,
        reversals,
    ) = msgpack.unpackb(counters[0])  # fmt: skip
    books.reversals.load(reversals)
    books.accounts.has_shares = has_shares
    history.directory = [[(low, high) for low, high in ranges] for ranges in directory]
    holds.ended = [dict(items) for items in ended]
    books.turnover = {code: [*map(int, sums)] for code, sums in turnover}
    _restore_accounts(books, count, rows)
    history.load_window(list(rows(WINDOW)))
    for _, value in rows(TAIL):
        history.load_tail(value)
    for _, value in rows(HOLDS):
        holds.load(value)
    for round_id, value in rows(ROUNDS):
        books.rounds[round_id] = [Prepared.unpack(each) for each in msgpack.unpackb(value)]


def _restore_accounts(books: Books, count: int, rows: Rows) -> None:
    accounts = books.accounts
    for page, value in rows(STATICS):
        joined, owners, metadata, updates = msgpack.unpackb(value)
        names = joined.split(SEPARATOR)
        assert page * PAGE_ACCOUNTS == accounts.count, f"account page {page} is out of place"
        zeros = [0] * len(names)
        accounts.add(names, zeros, zeros, zeros)
        accounts.owners.update((row, owner) for row, owner in owners)
        accounts.metadata.update((row, data) for row, data in metadata)
        accounts.updates.update((row, LastUpdate(*packed)) for row, packed in updates)
    assert accounts.count == count, f"expected {count} accounts in the checkpoint, found {accounts.count}"
    for page, value in rows(BALANCES):
        first, last = page * PAGE_ACCOUNTS, min((page + 1) * PAGE_ACCOUNTS, count)
        start = 0
        for name in COLUMNS:
            column = getattr(accounts, name)
            size = (last - first) * column.itemsize
            column[first:last] = np.frombuffer(value[start : start + size], column.dtype)
            start += size
    accounts.assert_sound(slice(count))
    accounts.dirty_statics[:] = False
    accounts.dirty_pages[:] = False


def digest(books: Books, seed: int) -> int:
    """64 bits over all state that replicas share, chained from `seed`."""
    accounts, history = books.accounts, books.history
    state = blake2b(seed.to_bytes(8, "big"), digest_size=8)
    for name in COLUMNS:
        state.update(np.ascontiguousarray(getattr(accounts, name)[: accounts.count]).data)
    state.update(SEPARATOR.join(accounts.names).encode())
    holds = [books.holds.open[id].pack() for id in sorted(books.holds.open)]
    rounds = [[round_id, [prepared.pack() for prepared in books.rounds[round_id]]] for round_id in sorted(books.rounds)]
    rest: list[Any] = [
        _pack_counters(books), history.tail.pack(), holds, rounds, sorted(accounts.owners.items()),
        sorted(accounts.metadata.items()), [[row, accounts.updates[row].pack()] for row in sorted(accounts.updates)],
    ]  # fmt: skip
    state.update(msgpack.packb(rest))
    return int.from_bytes(state.digest(), "big")
