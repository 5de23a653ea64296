"""Facts: what has happened in a part, typed, as the other parts observe it, the journal keeps it, and readers are told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from protocol.events import EventKind


class Fact(Protocol):
    """One thing that has happened. Frozen; the same on every replica."""

    kind: ClassVar[EventKind]  # by which readers choose
    event: ClassVar[str]  # what it is called where it is told

    @property
    def subjects(self) -> tuple[str, ...]:
        """The accounts, or the lock, that it is about: readers choose by how their names begin."""
        ...

    def told(self) -> Mapping[str, Any]:
        """What readers are told of it, by name: numbers, texts and bytes."""
        ...


@dataclass(frozen=True, slots=True)
class HoldEnded:
    """A hold is over: captured, voided or expired."""

    kind: ClassVar[EventKind] = EventKind.holds
    event: ClassVar[str] = "hold_ended"

    id: bytes  # of the transfer that opened it
    rest: int  # minor units that no capture took; they are free again
    reason: str  # captured, voided or expired
    debit: str
    credit: str
    currency: str

    @property
    def subjects(self) -> tuple[str, ...]:
        """See `Fact`."""
        return self.debit, self.credit

    def told(self) -> Mapping[str, Any]:
        """See `Fact`."""
        return {
            "hold": self.id,
            "rest": self.rest,
            "reason": self.reason,
            "debit": self.debit,
            "credit": self.credit,
            "currency": self.currency,
        }
