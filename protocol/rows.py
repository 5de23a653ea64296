"""Rows of requests and answers, by name: what a client and a node read them with."""

from __future__ import annotations

from typing import Any, NamedTuple


class NewAccount(NamedTuple):
    """An account to be opened. Limits in minor units, None for none."""

    id: str
    currency: str
    minimum: int | None = 0
    maximum: int | None = None
    owner: str = ""
    metadata: bytes = b""


class AccountRow(NamedTuple):
    """An account, or a share of a split one, in the answer to `balances`. Amounts in minor units."""

    id: str
    currency: str
    posted: int  # credits minus debits
    held: int
    incoming: int  # credits of rounds that are not decided
    minimum: int | None
    maximum: int | None
    state: int
    owner: str
    metadata: bytes
    version: int
    is_undecided: bool  # a round under way touches the account
    is_split: bool
    last_update: bytes  # id of the update that came last; empty for none

    def pack(self) -> list[Any]:
        """As it travels."""
        return list(self)

    @property
    def available(self) -> int | None:
        """What can be spent now; None without a lower limit."""
        return None if self.minimum is None else self.posted - self.held - self.minimum


class TransferRow(NamedTuple):
    """A transfer in the answers to `history` and `transfer`."""

    id: bytes
    debit: str | None  # None for an account that was not found
    credit: str | None
    amount: int
    code: int
    flags: int
    reference: str
    timestamp_ns: int
    status: int
    metadata: str = ""  # as `protocol.metadata` packs it
    # The id of the transfer that a reversal gives back, or of the hold of a capture or void; empty for none.
    named: bytes = b""
    rest: int | None = None  # of a hold that is open; only in the answer to `transfer`, as what follows
    ttl: int = 0  # seconds that a hold lives

    def pack(self) -> list[Any]:
        """In the answer to `transfer`."""
        return list(self)

    def pack_entry(self) -> list[Any]:
        """In that to `history`, which tells nothing of what only an open hold has."""
        return list(self[:-2])


class AllowanceRow(NamedTuple):
    """An account's allowance in the answer to `allowance`. Amounts in minor units."""

    amount: int | None  # None: it had one, and has none any more
    paid: int  # out of it today, holds included
    zone: str
    ends_ns: int  # the end of the day, since 1970
    last_change: bytes  # id of the change that came last
