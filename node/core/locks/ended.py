"""Which claims are over, so that a late copy of a word does not begin one again.

The last `ENDED_MAX` claims are remembered by their ids, with what became of them. For those before, each word brings a *ticket*:
how many claims had ended when its sender last heard of it, before the claim was made. A claim that ended is behind its own
ticket, so once it is forgotten its ticket is too old to be taken: whatever is not remembered and has a ticket that is not too old
has never been here. That needs no clock, and bounded memory.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from itertools import islice

from node.core.locks.limits import ENDED_MAX
from node.core.machine import Change, digest_of
from protocol.status import LockStatus

TABLE = "lock_ended"
CLAIMS_PER_ROW = 1_024  # of a checkpoint, where only the rows that have changed are written
CLAIM_BYTES = 17  # an id and a status


class EndedClaims:
    """What became of the claims that ended last, in the order in which they did."""

    def __init__(self) -> None:
        self.count = 0  # of all that have ever ended: the ticket of who makes a claim now
        self._known: dict[bytes, LockStatus] = {}
        self._chain = 0  # over all that have ever ended
        self._saved = 0

    def note(self, claim_id: bytes, status: LockStatus) -> None:
        """A claim is over, or was refused: `status` is what whoever made it is told when it is given back, or made again."""
        if claim_id in self._known:
            return
        self._known[claim_id] = status
        self._chain = zlib.crc32(claim_id + bytes((status,)), self._chain)
        self.count += 1
        if len(self._known) > ENDED_MAX:
            del self._known[next(iter(self._known))]

    def find(self, claim_id: bytes) -> LockStatus | None:
        """What became of it, if it is remembered."""
        return self._known.get(claim_id)

    def is_too_old(self, ticket: int) -> bool:
        """Whether a claim with this ticket may have ended and be forgotten."""
        return ticket < self.count - len(self._known)

    def digest(self, seed: int) -> int:
        """Over the order of all that have ended."""
        return digest_of(self.pack(), seed)

    # -- checkpoints ----------------------------------------------------------------------------------------------

    def pack(self) -> list[int]:
        """For the counters of a checkpoint."""
        return [self.count, self._chain]

    def changes(self) -> list[Change]:
        """The rows that have changed since the last call, and those that are forgotten as a whole."""
        first = self.count - len(self._known)
        since = max(first, self._saved // CLAIMS_PER_ROW * CLAIMS_PER_ROW)
        rows: dict[int, bytearray] = {}
        for number, (claim_id, status) in enumerate(islice(self._known.items(), since - first, None), since):
            rows.setdefault(number // CLAIMS_PER_ROW, bytearray()).extend(claim_id + bytes((status,)))
        gone = range(max(0, self._saved - ENDED_MAX) // CLAIMS_PER_ROW, first // CLAIMS_PER_ROW)
        self._saved = self.count
        return [
            *(Change(TABLE, key, None) for key in gone),
            *(Change(TABLE, key, bytes(row)) for key, row in rows.items()),
        ]

    def restore(self, counters: list[int], rows: Iterable[tuple[int, bytes]]) -> None:
        """Loads a checkpoint."""
        self.count, self._chain = counters
        self._saved = self.count
        for _, row in rows:
            for start in range(0, len(row), CLAIM_BYTES):
                claim = row[start : start + CLAIM_BYTES]
                self._known[claim[:-1]] = LockStatus(claim[-1])
        while len(self._known) > ENDED_MAX:
            del self._known[next(iter(self._known))]
