"""What an account is opened and kept with: its form, its limits, and what differs between two that should be alike."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import msgpack

from node.core.ledger.accounts import Accounts
from node.core.ledger.limits import NO_MAXIMUM, NO_MINIMUM
from protocol.money import is_currency
from protocol.names import is_shown
from protocol.status import ACCOUNT_ID_BYTES_MAX, METADATA_BYTES_MAX, OWNER_BYTES_MAX, AccountStatus

DIGEST_BYTES = 8  # of what an account was opened with

Terms = tuple[str, int | None, int | None, str, bytes]
"""Currency, minimum, maximum, owner, metadata."""


def is_typed(row: Any) -> bool:
    """Whether [id, currency, minimum, maximum, owner, metadata] holds values of the right types."""
    id, currency, minimum, maximum, owner, metadata = row
    texts = isinstance(id, str) and isinstance(currency, str) and isinstance(owner, str)
    return texts and is_limit(minimum) and is_limit(maximum) and isinstance(metadata, bytes)


def is_limit(value: object) -> bool:
    """Minor units, or None for no limit."""
    return value is None or (isinstance(value, int) and not isinstance(value, bool))


def form_status(
    id: str, currency: str, minimum: int | None, maximum: int | None, owner: str, metadata: bytes
) -> AccountStatus | None:
    """What is wrong with an account whatever the books hold."""
    if not id:
        return AccountStatus.id_must_not_be_empty
    if len(id.encode(errors="replace")) > ACCOUNT_ID_BYTES_MAX:
        return AccountStatus.id_too_long
    if not is_shown(id):
        return AccountStatus.id_has_invalid_characters
    if not is_currency(currency):
        return AccountStatus.currency_unknown
    if status := limits_status(floor_of(minimum), ceiling_of(maximum), 0, 0):
        return status
    return text_status(owner, metadata)


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


def difference(have: Terms, wanted: Terms) -> AccountStatus:
    """The first term that differs, or `exists`."""

    def plain(row: Terms) -> tuple[Any, ...]:
        return row[0], floor_of(row[1]), ceiling_of(row[2]), row[3], row[4]

    for status, mine, other in zip(
        (
            AccountStatus.exists_with_different_currency, AccountStatus.exists_with_different_minimum_balance,
            AccountStatus.exists_with_different_maximum_balance, AccountStatus.exists_with_different_owner,
            AccountStatus.exists_with_different_metadata,
        ),
        plain(have), plain(wanted), strict=True,
    ):  # fmt: skip
        if mine != other:
            return status
    return AccountStatus.exists


def terms_of(accounts: Accounts, row: int) -> Terms:
    """An account's terms now."""
    return (
        accounts.currency(row), int(accounts.minimum[row]), int(accounts.maximum[row]), accounts.owners.get(row, ""),
        accounts.metadata.get(row, b""),
    )  # fmt: skip


def digest_of(terms: Terms) -> bytes:
    """Of what an account is opened with, whichever way no limit is written."""
    currency, minimum, maximum, owner, metadata = terms
    plain = [currency, floor_of(minimum), ceiling_of(maximum), owner, metadata]
    return blake2b(msgpack.packb(plain), digest_size=DIGEST_BYTES).digest()
