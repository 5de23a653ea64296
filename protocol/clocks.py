"""What the clock at the other end of a connection shows.

No two clocks agree, so a request says by the receiver's own clock when it is void. That holds for a copy too that the network
keeps back for a minute: the receiver refuses it, however young it seems to be. Whoever answers puts its clock's time on the
answer; the time between the two clocks that this shows is too small by the answer's way, never too great. So a request is void
a little too early, never too late; but for a machine that was suspended: its clock stood still, and requests to it may be void too
late until an answer to a question that is still open contradicts what is known of it.
"""

from __future__ import annotations

import math
from typing import Final

DRIFT: Final = 0.000_2  # of two clocks against each other: twice what a kept one may be corrected by
MILLISECONDS: Final = 1_000


class RemoteClock:
    """Another clock in terms of our own; neither goes back. Ours is in seconds, theirs in milliseconds."""

    __slots__ = ("_ahead", "_heard_at")

    def __init__(self) -> None:
        self._ahead: float | None = None  # theirs before ours, in seconds
        self._heard_at = 0.0

    def hear(self, clock_ms: int, now: float, asked_at: float = -math.inf) -> None:
        """Their clock showed `clock_ms` between `asked_at` and `now`. Of all such words the one that was fastest counts, until one
        contradicts it."""
        ahead, at_most = clock_ms / MILLISECONDS - now, (clock_ms + 1) / MILLISECONDS - asked_at
        if self._ahead is None or ahead >= self._surely_ahead(now) or at_most < self._surely_ahead(now):
            self._ahead, self._heard_at = ahead, now

    def _surely_ahead(self, now: float) -> float:
        assert self._ahead is not None, "the other side has shown its clock"
        return self._ahead - DRIFT * (now - self._heard_at)

    def at(self, when: float, now: float) -> int:
        """What their clock shows at least when ours shows `when`."""
        return max(0, int((when + self._surely_ahead(now)) * MILLISECONDS))


def show(now: float) -> int:
    """Our clock for an answer."""
    return int(now * MILLISECONDS)
