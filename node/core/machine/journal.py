"""The journal of a group: its facts that no record holds, numbered from 0 without a gap, in pages.

A fact is kept with the row of the record that it stands before, so that the record, which is not written twice, and the journal have one
order. The open page is in memory and part of every checkpoint; a full one never changes again, is stored once, and read when asked for.
How many of the last facts are kept is a setting: whole pages that are older are deleted with a checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgpack

from node.core.machine.digest import digest_of
from node.core.machine.facts import Fact
from node.core.machine.part import Change, Loaded, Need, Rows

TABLE = "journal"  # one row: the numbers and the open page
PAGES = "journal_pages"
PAGE_FACTS = 1_024  # some 100 kB as a stored row
PAGES_IN_MEMORY = 2  # full ones, ready to be told to readers that are not far behind
FACTS_KEPT = 1_000_000  # where no setting says another number: a hundred megabytes a shard

Row = Sequence[Any]
"""[row of the record that it stands before, timestamp_ns, kind, event, subjects, what is told]."""


class Journal:
    """Owned by a machine. What it keeps is a function of the log alone, and of the setting."""

    def __init__(self, kept: int = FACTS_KEPT) -> None:
        """`kept`: the last facts that are there at the least."""
        self._kept = kept
        self._open: list[Row] = []
        self._pages = 0  # that are full
        self._chain = 0  # digest over them
        self._packed: dict[int, bytes] = {}  # full pages that no checkpoint holds yet
        self._recent: dict[int, list[Row]] = {}  # the last full pages, not packed
        self._saved = 0  # full pages that the last `changes` has handed out, or an earlier one
        self._deleted = 0  # likewise pages that were deleted
        self._has_changed = True

    @property
    def count(self) -> int:
        """Facts so far."""
        return self._pages * PAGE_FACTS + len(self._open)

    @property
    def oldest(self) -> int:
        """The first fact that is still kept."""
        return max(self._deleted, max(0, self.count - self._kept) // PAGE_FACTS) * PAGE_FACTS

    def append(self, facts: Sequence[Fact], recorded: int, timestamp_ns: int) -> None:
        """Keeps facts that stand behind so many rows of the record."""
        self._has_changed = True
        for fact in facts:
            self._open.append([
                recorded, timestamp_ns, fact.kind.value, fact.event, list(fact.subjects), dict(fact.told()),
            ])  # fmt: skip
            if len(self._open) == PAGE_FACTS:
                self._seal()

    def _seal(self) -> None:
        packed: bytes = msgpack.packb(self._open)
        self._chain = digest_of(packed, self._chain)
        self._packed[self._pages], self._recent[self._pages] = packed, self._open
        self._pages += 1
        self._open = []
        self._recent.pop(self._pages - 1 - PAGES_IN_MEMORY, None)

    def read(self, first: int, most: int, loaded: Loaded) -> Sequence[Row] | Need:
        """Facts from that number on, `most` at the most, of one page: fewer only at its end."""
        page, place = divmod(first, PAGE_FACTS)
        if page == self._pages:
            rows = self._open
        elif page in self._recent:
            rows = self._recent[page]
        elif (packed := self._packed.get(page)) is not None:
            rows = msgpack.unpackb(packed)
        elif (PAGES, page) not in loaded:
            return Need(((PAGES, page),))
        else:
            stored = loaded[PAGES, page]
            assert stored is not None, f"page {page} of the journal is not in the store"
            rows = msgpack.unpackb(stored)
        return rows[place : place + most]

    def digest(self, seed: int) -> int:
        """Over all facts, kept or not."""
        return digest_of([self._pages, self._chain, self._open], seed)

    def changes(self) -> list[Change]:
        """What has changed since the last call."""
        if not self._has_changed:
            return []
        self._has_changed = False
        oldest_page = self.oldest // PAGE_FACTS
        changes = [Change(PAGES, page, None) for page in range(self._deleted, min(oldest_page, self._saved))]
        changes += [Change(PAGES, page, packed) for page, packed in self._packed.items() if page >= oldest_page]
        self._saved, self._deleted = self._pages, oldest_page
        own: bytes = msgpack.packb([self._pages, self._chain, self._deleted, self._open])
        return [*changes, Change(TABLE, 0, own)]

    def saved(self) -> None:
        """What `changes` has handed out last is readable in the store."""
        self._packed = {page: packed for page, packed in self._packed.items() if page >= self._saved}

    def restore(self, rows: Rows) -> None:
        """Loads a checkpoint into a fresh journal."""
        for _, value in rows(TABLE):
            self._pages, self._chain, self._deleted, self._open = msgpack.unpackb(value)
            self._saved = self._pages
            self._has_changed = False
