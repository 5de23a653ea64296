"""Accounts: opened, changed and read, and how much they may pay out a day."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from protocol.errors import ProtocolError
from protocol.operations import Body
from protocol.requests.checks import expect, is_id, is_limit, is_version
from protocol.rows import NewAccount
from protocol.status import BALANCES_MAX, TRANSFERS_MAX

LIMIT = (is_limit, "an integer of minor units, or null")
FIELDS: dict[str, tuple[Callable[[object], bool], str]] = {
    "minimum": LIMIT,
    "maximum": LIMIT,
    "status": (lambda value: type(value) is int and 0 <= value <= 2, "0, 1 or 2"),
    "owner": (lambda value: type(value) is str, "text"),
    "metadata": (lambda value: type(value) is bytes, "bytes"),
    "if_version": (is_version, "an integer of 0 to 2^64 - 1"),
}
"""What an update may change: which values, and in words."""


def check_fields(fields: dict[str, Any]) -> None:
    """Raises ProtocolError, saying what was expected, for a field that no update has, or a value that none can have."""
    for name, value in fields.items():
        expect(name in FIELDS, f"a field of {', '.join(FIELDS)}, not {name}")
        holds, expected = FIELDS[name]
        expect(holds(value), f"{name} as {expected}")


@dataclass(frozen=True, slots=True)
class AccountsRequest:
    """Opens accounts."""

    accounts: list[NewAccount]

    def pack(self) -> Body:
        """A row an account."""
        return self.accounts

    @classmethod
    def unpack(cls, body: Body) -> AccountsRequest:
        """From `[[id, currency, minimum, maximum, owner, metadata], ...]`."""
        expect(1 <= len(body) <= TRANSFERS_MAX, f"1 to {TRANSFERS_MAX} accounts")
        return cls([_new_account(row) for row in body])

    def take(self, places: Sequence[int]) -> AccountsRequest:
        """Some of the accounts."""
        return AccountsRequest([self.accounts[place] for place in places])


@dataclass(frozen=True, slots=True)
class SplitRequest:
    """Opens a split account."""

    account: NewAccount

    def pack(self) -> Body:
        """`[id, currency, minimum, maximum, owner, metadata]`."""
        return list(self.account)

    @classmethod
    def unpack(cls, body: Body) -> SplitRequest:
        """From what `pack` gives."""
        return cls(_new_account(body))


def _new_account(row: Any) -> NewAccount:
    expect(type(row) is list and len(row) == 6, "[id, currency, minimum, maximum, owner, metadata] an account")
    id, currency, minimum, maximum, owner, metadata = row
    expect(type(id) is type(currency) is type(owner) is str, "id, currency and owner as text")
    expect(is_limit(minimum) and is_limit(maximum), "limits as integers of minor units, or null")
    expect(type(metadata) is bytes, "metadata as bytes")
    return NewAccount._make(row)


@dataclass(frozen=True, slots=True)
class UpdateRequest:
    """Changes an account."""

    account: str
    fields: dict[str, Any]  # some of FIELDS
    id: bytes
    after: bytes | None  # id of the update that it follows, empty for none; None where it names a version

    def pack(self) -> Body:
        """`[account id, {field: value}, id, after]`."""
        return [self.account, self.fields, self.id, self.after]

    @classmethod
    def unpack(cls, body: Body) -> UpdateRequest:
        """From what `pack` gives."""
        expect(len(body) == 4, "[account id, {field: value}, id, after]")
        account, fields, id, after = body
        expect(type(account) is str and type(fields) is dict, "[account id, {field: value}, id, after]")
        expect(is_id(id) and any(id), "an id of 16 bytes that are not all 0, another one for each update")
        is_after = after == b"" or is_id(after)
        expect(is_after or (after is None and bool(fields.get("if_version"))), "the id that it follows, or a version")
        check_fields(fields)
        return cls(account, fields, id, after)


@dataclass(frozen=True, slots=True)
class BalancesRequest:
    """Reads accounts, each by itself, so that more of them are several requests."""

    accounts: list[str]

    def pack(self) -> Body:
        """`[account id, ...]`."""
        return self.accounts

    @classmethod
    def unpack(cls, body: Body) -> BalancesRequest:
        """From what `pack` gives."""
        return cls(_account_ids(body, BALANCES_MAX))

    def take(self, places: Sequence[int]) -> BalancesRequest:
        """Some of the accounts."""
        return BalancesRequest([self.accounts[place] for place in places])


@dataclass(frozen=True, slots=True)
class SnapshotRequest:
    """Reads accounts at one cut."""

    accounts: list[str]

    def pack(self) -> Body:
        """`[account id, ...]`."""
        return self.accounts

    @classmethod
    def unpack(cls, body: Body) -> SnapshotRequest:
        """From what `pack` gives."""
        return cls(_account_ids(body, TRANSFERS_MAX))


def _account_ids(body: Body, most: int) -> list[str]:
    expect(1 <= len(body) <= most, f"1 to {most} account ids")
    expect(all(type(account) is str for account in body), "account ids as text")
    return body


@dataclass(frozen=True, slots=True)
class SetAllowanceRequest:
    """Gives an account another allowance."""

    account: str
    amount: int | None  # minor units; None: none any more
    zone: str  # whose midnight ends the day
    id: bytes
    after: bytes  # id of the change that it follows, empty for none

    def pack(self) -> Body:
        """`[account id, minor units or null, time zone, id, after]`."""
        return [self.account, self.amount, self.zone, self.id, self.after]

    @classmethod
    def unpack(cls, body: Body) -> SetAllowanceRequest:
        """From what `pack` gives."""
        expect(len(body) == 5, "[account id, minor units or null, time zone, id, after]")
        account, amount, zone, id, after = body
        expect(type(account) is str, "[account id, minor units or null, time zone, id, after]")
        expect(is_limit(amount), "an integer of minor units, or null")
        expect(type(zone) is str, "the name of a time zone as text")
        expect(is_id(id) and any(id), "an id of 16 bytes that are not all 0, another one for each change")
        expect(after == b"" or is_id(after), "the id of the change that it follows, or none")
        return cls(account, amount, zone, id, after)


@dataclass(frozen=True, slots=True)
class AllowanceRequest:
    """Reads an account's allowance."""

    account: str

    def pack(self) -> Body:
        """`[account id]`."""
        return [self.account]

    @classmethod
    def unpack(cls, body: Body) -> AllowanceRequest:
        """From what `pack` gives."""
        match body:
            case [str(account)]:
                return cls(account)
        raise ProtocolError("expected [account id]")
