"""Seeded bugs of time: clocks that are believed, lifetimes that end early or never."""

from __future__ import annotations

import pytest

from node.actors.clocks import Clocks
from node.actors.waiters import Waiters
from node.core.clocks import Stamp, Stamps
from node.core.ledger import Ledger
from node.core.ledger.history import History
from node.core.ledger.holds import Holds


def let_stamps_fall(patch: pytest.MonkeyPatch) -> None:
    """A new leader stamps what its clock shows, whatever its predecessor stamped."""
    honest = Stamps.lead

    def lead(self: Stamps, now_ns: int, aim_ns: int) -> None:
        honest(self, now_ns, aim_ns)
        self._given = Stamp(aim_ns, self._given.elapsed_ns)

    patch.setattr(Stamps, "lead", lead)


def stamp_anew(patch: pytest.MonkeyPatch) -> None:
    """The rows of each request begin at the time of its entry, whatever requests share it."""
    patch.setattr(History, "_take_stamps", lambda self, size, now_ns: now_ns)


def step_stamps(patch: pytest.MonkeyPatch) -> None:
    """Stamps follow the wall clock wherever it jumps, but for falling."""

    def now(self: Stamps, now_ns: int, aim_ns: int) -> Stamp:
        passed_ns = max(0, now_ns - self._given_at)
        return Stamp(max(aim_ns, self._given.timestamp_ns + 1), self._given.elapsed_ns + passed_ns)

    patch.setattr(Stamps, "now", now)


def expire_by_wall_clock(patch: pytest.MonkeyPatch) -> None:
    """Lifetimes go by what the leader's clock shows."""
    honest = Stamps.now

    def now(self: Stamps, now_ns: int, aim_ns: int) -> Stamp:
        return Stamp(honest(self, now_ns, aim_ns).timestamp_ns, max(aim_ns, self._given.elapsed_ns))

    patch.setattr(Stamps, "now", now)
    patch.setattr(Clocks, "true_ns", lambda self: self._clock.wall_ns())


def expire_too_soon(patch: pytest.MonkeyPatch) -> None:
    """Whoever looks for what is due looks a second ahead."""
    due, take = Ledger.due, Holds.take_due
    patch.setattr(Ledger, "due", lambda self, timestamp_ns, elapsed_ns: due(self, timestamp_ns, elapsed_ns + 10**9))
    patch.setattr(Holds, "take_due", lambda self, elapsed_ns: take(self, elapsed_ns + 10**9))


def count_from_the_start(patch: pytest.MonkeyPatch) -> None:
    """A new leader counts on from what its own monotonic clock shows, as if all machines had been started together."""
    honest = Stamps.lead

    def lead(self: Stamps, now_ns: int, aim_ns: int) -> None:
        honest(self, now_ns, aim_ns)
        self._given = Stamp(self._given.timestamp_ns, max(now_ns, self._given.elapsed_ns))

    patch.setattr(Stamps, "lead", lead)


def stop_counting(patch: pytest.MonkeyPatch) -> None:
    """Time stands still in a log whose stamps are ahead."""
    honest = Stamps.now

    def now(self: Stamps, now_ns: int, aim_ns: int) -> Stamp:
        stamp = honest(self, now_ns, aim_ns)
        return stamp if aim_ns > self._given.timestamp_ns else Stamp(stamp.timestamp_ns, self._given.elapsed_ns)

    patch.setattr(Stamps, "now", now)


def wait_for_the_dead(patch: pytest.MonkeyPatch) -> None:
    """Whoever stands in a lock's queue stays there, whether it asks or not."""
    patch.setattr(Waiters, "take_gone", lambda self: [])
