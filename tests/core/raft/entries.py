"""Entries of a log, as tests make them."""

from __future__ import annotations

from node.core.raft import Entry, EntryKind, chain_checksum


def chain(first: int, count: int, term: int = 1, checksum: int = 0, data: bytes = b"x") -> list[Entry]:
    """Entries from `first` on whose checksums are chained behind `checksum`."""
    entries = []
    for index in range(first, first + count):
        checksum = chain_checksum(checksum, term, index, EntryKind.normal, data)
        entries.append(Entry(term, index, EntryKind.normal, data, checksum))
    return entries
