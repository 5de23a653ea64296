"""What an account is opened and kept with: its form, its limits, and what differs between two that should be alike."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

import msgpack

from node.core.ledger.accounts import Accounts
from node.core.ledger.limits import NO_MAXIMUM, NO_MINIMUM
from protocol.money import is_currency
from protocol.names import is_shown
from protocol.rows import NewAccount
from protocol.status import ACCOUNT_ID_BYTES_MAX, METADATA_BYTES_MAX, OWNER_BYTES_MAX, AccountStatus

DIGEST_BYTES = 8  # of what an account was opened with


@dataclass(frozen=True, slots=True)
class Terms:
    """What an account is kept by."""

    currency: str
    floor: int  # as the columns hold them, whichever way no limit is written
    ceiling: int
    owner: str
    metadata: bytes

    @staticmethod
    def wanted(account: NewAccount) -> Terms:
        """Of an account to be opened."""
        floor, ceiling = floor_of(account.minimum), ceiling_of(account.maximum)
        return Terms(account.currency, floor, ceiling, account.owner, account.metadata)

    @staticmethod
    def now(accounts: Accounts, row: int) -> Terms:
        """Of an account as it is."""
        return Terms(
            accounts.currency(row), int(accounts.minimum[row]), int(accounts.maximum[row]), accounts.owners.get(row, ""),
            accounts.metadata.get(row, b""),
        )  # fmt: skip

    @property
    def minimum(self) -> int | None:
        """None: none."""
        return None if self.floor == NO_MINIMUM else self.floor

    @property
    def maximum(self) -> int | None:
        """None: none."""
        return None if self.ceiling == NO_MAXIMUM else self.ceiling

    def difference(self, wanted: Terms) -> AccountStatus:
        """The first term that differs, or `exists`."""
        if self.currency != wanted.currency:
            return AccountStatus.exists_with_different_currency
        if self.floor != wanted.floor:
            return AccountStatus.exists_with_different_minimum_balance
        if self.ceiling != wanted.ceiling:
            return AccountStatus.exists_with_different_maximum_balance
        if self.owner != wanted.owner:
            return AccountStatus.exists_with_different_owner
        return (
            AccountStatus.exists if self.metadata == wanted.metadata else AccountStatus.exists_with_different_metadata
        )

    def digest(self) -> bytes:
        """Of what an account is opened with."""
        plain = [self.currency, self.floor, self.ceiling, self.owner, self.metadata]
        return blake2b(msgpack.packb(plain), digest_size=DIGEST_BYTES).digest()


def form_status(account: NewAccount) -> AccountStatus | None:
    """What is wrong with an account whatever the books hold."""
    if not account.id:
        return AccountStatus.id_must_not_be_empty
    if len(account.id.encode(errors="replace")) > ACCOUNT_ID_BYTES_MAX:
        return AccountStatus.id_too_long
    if not is_shown(account.id):
        return AccountStatus.id_has_invalid_characters
    if not is_currency(account.currency):
        return AccountStatus.currency_unknown
    if status := limits_status(floor_of(account.minimum), ceiling_of(account.maximum), 0, 0):
        return status
    return text_status(account.owner, account.metadata)


def limits_status(floor: int, ceiling: int, lowest: int, highest: int) -> AccountStatus | None:
    """Whether limits hold together and leave room for the balance, from its lowest to its highest."""
    if floor > ceiling:
        return AccountStatus.minimum_exceeds_maximum_balance
    if floor < NO_MINIMUM or ceiling > NO_MAXIMUM:
        return AccountStatus.balance_limit_out_of_range
    if floor > lowest or ceiling < highest:
        return AccountStatus.limit_excludes_balance
    return None


def text_status(owner: str, metadata: bytes) -> AccountStatus | None:
    """What is wrong with the texts of an account."""
    if len(owner.encode(errors="replace")) > OWNER_BYTES_MAX:
        return AccountStatus.owner_too_long
    if len(metadata) > METADATA_BYTES_MAX:
        return AccountStatus.metadata_too_large
    return None


def floor_of(minimum: int | None) -> int:
    """As the column holds it."""
    return NO_MINIMUM if minimum is None else minimum


def ceiling_of(maximum: int | None) -> int:
    """As the column holds it."""
    return NO_MAXIMUM if maximum is None else maximum
