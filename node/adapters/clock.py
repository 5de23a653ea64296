"""The machine's clock."""

from __future__ import annotations

import time


class SystemClock:
    """Implements `Clock`."""

    def wall_ns(self) -> int:
        """Nanoseconds since 1970."""
        return time.time_ns()

    def monotonic(self) -> float:
        """Seconds."""
        return time.monotonic()
