"""Facts: what has happened in a part, typed, as the other parts observe it and readers follow it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HoldEnded:
    """A hold is over: captured, voided or expired."""

    id: bytes  # of the transfer that opened it
    rest: int  # minor units that no capture took; they are free again


Fact = HoldEnded
