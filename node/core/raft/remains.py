"""What a disk still held when its node started, compared with what peers remember that it had acknowledged."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

from node.core.raft.ready import Restored
from node.core.raft.types import LogEnd


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """What a replica has acknowledged to a leader: its log, up to an entry."""

    term: int
    """Term of the leader."""
    index: int
    """Of the last entry."""
    entry_term: int
    """Term of that entry; 0 where the leader did not know it any more."""


class Remains:
    """One replica at one start."""

    def __init__(self, restored: Restored) -> None:
        self._term = restored.hard_state.term
        self._lost = restored.lost
        self._base = restored.snapshot.index
        self._last = self._base + len(restored.entries)
        self._firsts: list[int] = []  # where each term begins
        self._terms: list[int] = []
        for entry in restored.entries:
            if not self._terms or self._terms[-1] != entry.term:
                self._firsts.append(entry.index)
                self._terms.append(entry.term)

    def cover(self, told: Acknowledged) -> bool:
        """Whether the disk knew of this acknowledgement, as every disk does that has not been put back.

        It knows the term of whoever it acknowledged anything to. Within that term nothing acknowledged is taken back, and after a
        later term nothing is owed; a loss that it knows of already may be just this.
        """
        if self._term != told.term:
            return self._term > told.term
        if self._lost is not None and self._lost >= LogEnd(told.entry_term or told.term, told.index):
            return True
        if told.index <= self._base:
            return True
        return told.index <= self._last and told.entry_term in (0, self._term_at(told.index))

    def _term_at(self, index: int) -> int:
        return self._terms[bisect_right(self._firsts, index) - 1]
