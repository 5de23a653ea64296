"""What is told of locks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from protocol.events import EventKind


@dataclass(frozen=True, slots=True)
class LockGranted:
    """Somebody holds the lock from now on."""

    kind: ClassVar[EventKind] = EventKind.locks
    event: ClassVar[str] = "lock_granted"

    lock: str
    token: int
    owner: bytes

    @property
    def subjects(self) -> tuple[str, ...]:
        """See `Fact`."""
        return (self.lock,)

    def told(self) -> Mapping[str, Any]:
        """See `Fact`."""
        return {"lock": self.lock, "token": self.token, "owner": self.owner}


@dataclass(frozen=True, slots=True)
class LockReleased(LockGranted):
    """The one who held it does not any more; a round that relies on it may still keep it from the next one."""

    event: ClassVar[str] = "lock_released"

    reason: str  # released, expired, or taken by an older owner

    def told(self) -> Mapping[str, Any]:
        """See `Fact`."""
        return {"lock": self.lock, "token": self.token, "owner": self.owner, "reason": self.reason}
