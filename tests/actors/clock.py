"""A clock for tests of one actor."""

from __future__ import annotations


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def wall_ns(self) -> int:
        return 0

    def monotonic(self) -> float:
        return self.now
