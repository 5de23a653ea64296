"""Which nodes' wall clocks agree, and which are far off, by the word of a majority."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SKEW_NS_MAX = 5 * 10**9  # far above what time services and busy networks leave, far below what people call wrong


@dataclass(frozen=True, slots=True)
class Reading:
    """A wall clock as seen from here."""

    epoch_ns: int  # what it showed when the monotonic clock here was at 0
    error_ns: int  # the truth lies within so much of it: half of the round trip

    def is_better_than(self, other: Reading) -> bool:
        """Whether this newer reading should replace the other: it is sharper, or says that the clock has been moved since."""
        return self.error_ns <= other.error_ns or max(_distance(self, other), _distance(other, self)) > 0


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the clocks say together."""

    agreed: Reading | None  # of the time that a majority agrees on; None where none does
    far_off: tuple[int, ...] = ()  # nodes, rising


def compare(readings: Mapping[int, Reading], nodes: int) -> Comparison:
    """Looks for a majority of all `nodes` whose clocks agree: the closest one, where there are several."""
    ordered = sorted(readings.values(), key=lambda reading: reading.epoch_ns)
    needed = nodes // 2 + 1
    groups = [ordered[first : first + needed] for first in range(len(ordered) - needed + 1)]
    agreeing = [group for group in groups if _distance(group[0], group[-1]) <= SKEW_NS_MAX]
    if not agreeing:
        return Comparison(None)
    closest = min(agreeing, key=lambda group: group[-1].epoch_ns - group[0].epoch_ns)
    first, last = closest[0], closest[-1]
    far_off = [
        node
        for node, reading in sorted(readings.items())
        if max(_distance(reading, first), _distance(last, reading)) > SKEW_NS_MAX
    ]
    return Comparison(closest[needed // 2], tuple(far_off))


def _distance(earlier: Reading, later: Reading) -> int:
    """By how much the second is ahead at the least."""
    return later.epoch_ns - later.error_ns - earlier.epoch_ns - earlier.error_ns
