"""The replicated log in memory: all behind the compaction point, with cursors of what was written and applied."""

from __future__ import annotations

from collections.abc import Sequence

from node.core.raft.membership import SnapshotMeta
from node.core.raft.types import ENTRY_OVERHEAD_BYTES, Entry, LogEnd, chain_checksum

ENTRIES_AT_ONCE_MAX = 8_192  # in one message, however short they are: half of what a list on the wire may hold


class Log:
    """Entries from `base_index` + 1 on. Invariant: base <= applied <= applying <= commit <= last, stable <= last.

    `stable` is the highest index known to be durable, `handed` the highest that was given to the shell to write.
    """

    __slots__ = (
        "applied", "applying", "base_checksum", "base_index", "base_term", "commit", "entries", "handed",
        "pending_snapshot", "stable",
    )  # fmt: skip

    def __init__(self, snapshot: SnapshotMeta, entries: Sequence[Entry], commit: int, applied: int) -> None:
        """Starts from durable entries that continue the snapshot's chain (`intact_prefix`); the commit index is cut to what is there."""
        self.base_index = snapshot.index
        self.base_term = snapshot.term
        self.base_checksum = snapshot.checksum
        self.entries = list(entries)
        self.commit = min(max(commit, snapshot.index), self.last_index)
        self.applied = self.applying = applied
        self.stable = self.handed = self.last_index
        self.pending_snapshot: SnapshotMeta | None = None
        assert snapshot.index <= applied <= self.commit, "applied entries are not in the log"

    @property
    def first_index(self) -> int:
        """Lowest index whose entry is still here (or would be the first to come)."""
        return self.base_index + 1

    @property
    def last_index(self) -> int:
        """Highest index of the log."""
        return self.base_index + len(self.entries)

    @property
    def last_term(self) -> int:
        """Term of the last entry."""
        return self.entries[-1].term if self.entries else self.base_term

    @property
    def last_checksum(self) -> int:
        """Chain checksum of the last entry."""
        return self.entries[-1].checksum if self.entries else self.base_checksum

    @property
    def end(self) -> LogEnd:
        """Where the log ends."""
        return LogEnd(self.last_term, self.last_index)

    @property
    def durable_end(self) -> LogEnd:
        """Where it ends on disk."""
        return LogEnd(self.term_at(self.stable) or 0, self.stable)

    def term_at(self, index: int) -> int | None:
        """Term of the entry at an index; None if it is cut away or still to come."""
        position = index - self.base_index - 1
        if 0 <= position < len(self.entries):
            return self.entries[position].term
        return self.base_term if position == -1 else None

    def checksum_at(self, index: int) -> int:
        """Chain checksum at an index between the base and the end."""
        return self.base_checksum if index == self.base_index else self.entries[index - self.base_index - 1].checksum

    def slice(self, first: int, last: int, bytes_max: int) -> tuple[Entry, ...]:
        """Entries from `first` to `last`, as many as fit into the bytes and a message, one at least."""
        base = self.base_index + 1
        found = self.entries[first - base : min(last + 1, first + ENTRIES_AT_ONCE_MAX) - base]
        size = 0
        for position, entry in enumerate(found):
            size += len(entry.data) + ENTRY_OVERHEAD_BYTES
            if size > bytes_max and position:
                return tuple(found[:position])
        return tuple(found)

    def conflict_by_term(self, index: int, term: int) -> tuple[int, int]:
        """Highest index at or below `index` whose term is at most `term`, with that term; 0 where it is cut away."""
        while index > 0:
            own = self.term_at(index)
            if own is None or own <= term:
                return index, own or 0
            index -= 1
        return 0, 0

    def append(self, entries: Sequence[Entry]) -> None:
        """Appends behind the end, or replaces the log from the first entry's index on; never at or below commit."""
        first = entries[0].index
        assert self.commit < first <= self.last_index + 1, "the log must not change at or below the commit index"
        if first <= self.last_index:
            del self.entries[first - self.base_index - 1 :]
            self.stable = min(self.stable, first - 1)
            self.handed = min(self.handed, first - 1)
        self.entries.extend(entries)

    def first_conflict(self, entries: Sequence[Entry]) -> int:
        """Position of the first entry that is new or of another term here; the number of entries if none is."""
        base = self.base_index + 1
        for position, entry in enumerate(entries):
            if entry.index > self.last_index:
                return position
            own = self.entries[entry.index - base]
            if own.term != entry.term:
                return position
            assert own.checksum == entry.checksum, "two entries have one index and term"
        return len(entries)

    def commit_to(self, index: int) -> None:
        """Raises the commit index; it never falls."""
        if index > self.commit:
            assert index <= self.last_index, "the log ends before the commit index: entries are lost"
            self.commit = index

    def stable_to(self, index: int, term: int) -> None:
        """The shell made entries durable up to one of this index and term; ignored if that is another one by now."""
        if index > self.stable and index <= self.handed and self.term_at(index) == term:
            self.stable = index

    def next_committed(self, bytes_max: int, may_be_unstable: bool) -> tuple[Entry, ...]:
        """Committed entries not yet handed out for applying; durable ones only unless told otherwise."""
        last = self.commit if may_be_unstable else min(self.commit, self.stable)
        if last <= self.applying or self.pending_snapshot is not None:
            return ()
        return self.slice(self.applying + 1, last, bytes_max)

    def compact(self, index: int) -> None:
        """Cuts the log at an applied index; the entry there stays known by term and checksum."""
        assert index <= self.applied, "only applied entries may be cut away"
        if index <= self.base_index:
            return
        cut = self.entries[index - self.base_index - 1]
        del self.entries[: index - self.base_index]
        self.base_index, self.base_term, self.base_checksum = index, cut.term, cut.checksum
        self.stable = max(self.stable, index)
        self.handed = max(self.handed, index)

    def restore(self, snapshot: SnapshotMeta) -> None:
        """Replaces everything by a snapshot that is ahead of the commit index."""
        assert snapshot.index > self.commit, "a snapshot must not take back committed entries"
        self.base_index, self.base_term, self.base_checksum = snapshot.index, snapshot.term, snapshot.checksum
        self.entries = []
        self.commit = self.stable = self.handed = snapshot.index
        self.pending_snapshot = snapshot

    def installed(self, snapshot: SnapshotMeta) -> None:
        """The shell installed a snapshot durably."""
        if self.pending_snapshot == snapshot:
            self.pending_snapshot = None
        self.applied = max(self.applied, snapshot.index)
        self.applying = max(self.applying, snapshot.index)


def intact_prefix(snapshot: SnapshotMeta, entries: Sequence[Entry]) -> list[Entry]:
    """The entries up to the first whose index, term or checksum does not follow from the one before."""
    count = count_chained(snapshot.index, snapshot.term, snapshot.checksum, entries)
    return list(entries[:count])


def count_chained(index: int, term: int, checksum: int, entries: Sequence[Entry]) -> int:
    """How many entries continue the chain that ends with the given index, term and checksum."""
    for position, entry in enumerate(entries):
        index += 1
        checksum = chain_checksum(checksum, entry.term, entry.index, entry.kind, entry.data)
        if entry.index != index or entry.term < term or entry.checksum != checksum:
            return position
        term = entry.term
    return len(entries)
