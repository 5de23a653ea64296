"""What the ledger tells of accounts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from protocol.events import EventKind


@dataclass(frozen=True, slots=True)
class AccountOpened:
    """An account is there, with these terms."""

    kind: ClassVar[EventKind] = EventKind.accounts
    event: ClassVar[str] = "account_opened"

    account: str
    currency: str
    minimum: int | None  # minor units; None: there is no limit
    maximum: int | None
    status: str  # open, frozen or closed
    owner: str
    metadata: bytes
    version: int
    is_split: bool

    @property
    def subjects(self) -> tuple[str, ...]:
        """See `Fact`."""
        return (self.account,)

    def told(self) -> Mapping[str, Any]:
        """See `Fact`."""
        return {
            "account": self.account, "currency": self.currency, "minimum": self.minimum, "maximum": self.maximum,
            "status": self.status, "owner": self.owner, "metadata": self.metadata, "version": self.version,
            "split": self.is_split,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class AccountUpdated(AccountOpened):
    """An account has these terms from now on."""

    event: ClassVar[str] = "account_updated"
