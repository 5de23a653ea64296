"""Who waits for a lock, and may be gone: whoever was told to ask again has not done it, or its connection has broken.

A client that waits always has a request here, but for moments. One that has been killed asks no more; its claim is withdrawn
after a while, so that it holds nobody up when its turn comes. Time is counted in ticks: a node that stood still itself, with the
questions of all in its sockets, must not take them for silent.

What a desk finds in the queues when it begins may have been told by the one before that it holds the lock, and says nothing until
it renews. So such a claim has its time to live at the least.
"""

from __future__ import annotations

from collections.abc import Iterable

from node.core.locks import Claim

ABSENT_MS = 3_000  # for who was told to ask again: a program that hangs for a moment keeps its place
GONE_MS = 2_000  # for who has lost its connection: it knows that at once, and finds the next node in tenths of a second

Key = tuple[str, bytes, bytes]
"""Name of the lock, claim, owner."""


class Waiters:
    """Of one desk."""

    def __init__(self, tick_ms: int) -> None:
        self._tick_ms = tick_ms
        self._now_ms = 0  # of ticks
        self._absent: dict[Key, int] = {}  # until when they may come back

    def begin(self, claims: Iterable[Claim]) -> None:
        """The desk opens, and has heard of none of these."""
        self._absent = {
            (claim.name, claim.id, claim.owner): self._now_ms + max(ABSENT_MS, claim.ttl_ms) for claim in claims
        }

    def left(self, key: Key, back_ms: int) -> None:
        """It has no request here any more, and may come back within so long."""
        self._absent[key] = self._now_ms + back_ms

    def came(self, key: Key) -> None:
        """It has said something."""
        self._absent.pop(key, None)

    def tick(self) -> None:
        """A tick of this node has passed."""
        self._now_ms += self._tick_ms

    def take_gone(self) -> list[Key]:
        """Those that did not come back."""
        gone = [key for key, until_ms in self._absent.items() if until_ms <= self._now_ms]
        for key in gone:
            del self._absent[key]
        return gone
