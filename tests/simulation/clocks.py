"""Hosts' clocks, and what goes wrong with them: a minority is wrong at a time, by up to an hour, or runs at another speed."""

from __future__ import annotations

from random import Random

from tests.simulation.loop import SimLoop

NANOSECONDS = 10**9
EPOCH_NS = 1_700_000_000 * NANOSECONDS  # where the wall clocks begin
UPTIME_SECONDS_MAX = 1e6  # of a host at its first start: monotonic clocks of two hosts have nothing in common
RATE_MAX = 1e-3  # by which a monotonic clock is fast or slow: ten times what a cheap quartz is
WRONG_SECONDS = (0.001, 1, 4, 60, 3_600)  # with 4 a node is not far off, and may lead
SMALL_SECONDS = 1.0  # by which any number of clocks may be wrong
WALL_RATES = (1e-3, 0.1, 0.5)


class SimClock:
    """A host's clocks: the wall clock can be moved, the other one only be fast or slow."""

    def __init__(self, loop: SimLoop, random: Random) -> None:
        self._loop = loop
        self._base = random.uniform(0, UPTIME_SECONDS_MAX)
        self._since = 0.0
        self._rate = 0.0
        self._wall_rate = 0.0
        self.offset_ns = 0  # of the wall clock, when its speed was changed last

    def wall_ns(self) -> int:
        """Nanoseconds since 1970, as this host believes."""
        return EPOCH_NS + self._error_ns() + int(self._loop.time() * NANOSECONDS)

    def monotonic(self) -> float:
        """Seconds since whenever."""
        now = self._loop.time()
        return self._base + now + (now - self._since) * self._rate

    def _error_ns(self) -> int:
        return self.offset_ns + int((self._loop.time() - self._since) * self._wall_rate * NANOSECONDS)

    @property
    def is_wrong(self) -> bool:
        """Whether the wall clock shows another time than it should, or soon will."""
        return abs(self._error_ns()) > SMALL_SECONDS * NANOSECONDS or self._wall_rate != 0

    def run(self, rate: float, wall_rate: float) -> None:
        """From now on the clocks gain so many seconds a second."""
        now = self._loop.time()
        self._base, self.offset_ns = self.monotonic() - now, self._error_ns()
        self._since, self._rate, self._wall_rate = now, rate, wall_rate

    def set_right(self) -> None:
        """The wall clock shows the time, and both go as they should."""
        self.run(0.0, 0.0)
        self.offset_ns = 0


class ClockFaults:
    """What is done to the clocks of a cluster's hosts."""

    def __init__(self, loop: SimLoop, clocks: list[SimClock], random: Random) -> None:
        self._loop = loop
        self._clocks = clocks
        self._random = random
        self.right_since: float | None = 0.0  # all clocks

    def jump(self) -> None:
        """A clock is set to another time."""
        clock, may_be_wrong = self._choose()
        seconds = self._random.choice(WRONG_SECONDS if may_be_wrong else WRONG_SECONDS[:2])
        size = int(seconds * NANOSECONDS)
        clock.run(0.0, 0.0)
        clock.offset_ns = self._random.randint(-size, size)

    def drift(self) -> None:
        """A clock runs too fast or too slow, its wall clock more so where few are wrong."""
        clock, may_be_wrong = self._choose()
        wall_rate = self._random.choice(WALL_RATES) * self._random.choice((-1, 1)) if may_be_wrong else 0.0
        clock.run(self._random.uniform(-RATE_MAX, RATE_MAX), wall_rate)

    def _choose(self) -> tuple[SimClock, bool]:
        """A clock, and whether a minority of all would be wrong if it was."""
        self.right_since = None
        clock = self._random.choice(self._clocks)
        others = sum(other.is_wrong for other in self._clocks if other is not clock)
        return clock, 2 * (others + 1) < len(self._clocks)

    def heal(self) -> None:
        """All clocks are set right."""
        if self.right_since is None:
            self.right_since = self._loop.time()
        for clock in self._clocks:
            clock.set_right()
