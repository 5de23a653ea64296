"""What is told of allowances."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from protocol.events import EventKind


@dataclass(frozen=True, slots=True)
class AllowanceSet:
    """An account may pay out so much a day from now on."""

    kind: ClassVar[EventKind] = EventKind.allowances
    event: ClassVar[str] = "allowance_set"

    account: str
    amount: int | None  # minor units; None: as much as it has
    zone: str

    @property
    def subjects(self) -> tuple[str, ...]:
        """See `Fact`."""
        return (self.account,)

    def told(self) -> Mapping[str, Any]:
        """See `Fact`."""
        return {"account": self.account, "amount": self.amount, "zone": self.zone}
