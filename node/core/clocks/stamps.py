"""The two times of one log's entries: known on every replica, stamped by the leader."""

from __future__ import annotations

from dataclasses import dataclass

PACE = 0.5  # by which timestamps run slower or faster than time until they are true: half, so that they still rise like time
QUIET_NS = 10 * 10**9  # between two entries of a log with open lifetimes: at most so much time is not counted


@dataclass(frozen=True, slots=True)
class Stamp:
    """When an entry was made, by both times, in nanoseconds."""

    timestamp_ns: int  # since 1970
    elapsed_ns: int  # counted in this log


class Stamps:
    """One log's. `now_ns` is the monotonic clock here, `aim_ns` what the wall's time should be."""

    def __init__(self) -> None:
        self._applied, self._applied_at = Stamp(0, 0), 0
        self._given, self._given_at = Stamp(0, 0), 0

    def applied(self, stamp: Stamp, now_ns: int) -> None:
        """The log's last stamped entry has been applied here; the same one again changes nothing."""
        if stamp != self._applied:
            self._applied, self._applied_at = stamp, now_ns

    def lead(self, now_ns: int, aim_ns: int) -> None:
        """From here on this replica stamps, behind what has been applied. Timestamps may step forward, this once."""
        self._given, self._given_at = self._applied, self._applied_at
        slewed = self.now(now_ns, aim_ns)
        self._given, self._given_at = Stamp(max(slewed.timestamp_ns, aim_ns), slewed.elapsed_ns), now_ns

    def now(self, now_ns: int, aim_ns: int) -> Stamp:
        """What an entry would be stamped with."""
        passed_ns = max(0, now_ns - self._given_at)
        slowest = self._given.timestamp_ns + int(passed_ns * (1 - PACE))
        fastest = self._given.timestamp_ns + int(passed_ns * (1 + PACE))
        return Stamp(min(max(aim_ns, slowest + 1), fastest + 1), self._given.elapsed_ns + passed_ns)

    def take(self, now_ns: int, aim_ns: int) -> Stamp:
        """The stamp of the next entry."""
        self._given = self.now(now_ns, aim_ns)
        self._given_at = max(self._given_at, now_ns)
        return self._given

    def elapsed_ns(self, now_ns: int) -> int:
        """What has been counted until now, at the leader."""
        return self.now(now_ns, 0).elapsed_ns

    def quiet_ns(self, now_ns: int) -> int:
        """How long ago the last entry was stamped, at the leader."""
        return now_ns - self._given_at
