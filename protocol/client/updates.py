"""Changing an account: once, whatever becomes of the request on its way."""

from __future__ import annotations

from typing import Any, Final, TypedDict

from protocol.answers import Updated, accounts_of
from protocol.client.arguments import check_bytes, check_limit, check_text, wrong
from protocol.client.calls import Calls, Deed
from protocol.client.guards import check_version
from protocol.errors import Refused
from protocol.expected import EXPECTED_OF_ACCOUNT
from protocol.operations import Operation
from protocol.requests import BalancesRequest, UpdateRequest
from protocol.status import AccountStatus
from protocol.views import ACCOUNT_STATES

NAMES: Final = {"minimum_balance": "minimum", "maximum_balance": "maximum"}


class Fields(TypedDict, total=False):
    """What may change; limits in minor units, None for none; status open, frozen or closed."""

    minimum_balance: int | None
    maximum_balance: int | None
    owner: str
    metadata: bytes
    status: str


def pack_fields(fields: Fields, if_version: int | None) -> dict[str, Any]:
    """The fields of an update as they travel. Raises ProtocolError(bad_request), saying what was expected."""
    if not fields:
        raise wrong("update: expected something to change, such as an owner")
    packed: dict[str, Any] = {}
    for name, value in fields.items():
        match name:
            case "minimum_balance" | "maximum_balance":
                packed[NAMES[name]] = check_limit(value, name)
            case "owner":
                packed[name] = check_text(value, name)
            case "metadata":
                packed[name] = check_bytes(value, name)
            case "status" if value in ACCOUNT_STATES:
                packed[name] = ACCOUNT_STATES.index(value)
            case "status":
                raise wrong(f"status {value!r:.80}: expected one of {', '.join(ACCOUNT_STATES)}")
            case _:
                expected = "minimum_balance, maximum_balance, owner, metadata or status"
                raise wrong(f"field {name!r:.80}: expected {expected}")
    if if_version is not None:
        packed["if_version"] = check_version(if_version)
    return packed


async def update(calls: Calls, account: str, fields: dict[str, Any], id: bytes, deadline: float) -> AccountStatus:
    """Without `if_version` among the fields it follows whatever update came last, which it reads first, and again as long as it
    can not have happened. Raises Refused, and OutcomeUnknown where somebody else's update may have followed it."""
    deed = Deed("update", id)
    while True:
        after = None if "if_version" in fields else await _last_update(calls, account, deadline)
        asked = UpdateRequest(account, fields, id, after)
        told = Updated.unpack(await calls.ask(Operation.update, [account], asked.pack(), calls.left(deadline), deed))
        is_conflict = told.status is AccountStatus.version_conflict
        if told.status is AccountStatus.updated:
            return told.status
        if not is_conflict or after is None:
            expected = EXPECTED_OF_ACCOUNT.get(told.status, "")
            raise Refused(told.status.name, expected, told.version if is_conflict else None)


async def _last_update(calls: Calls, account: str, deadline: float) -> bytes:
    asked = BalancesRequest([account])
    (row,) = accounts_of(await calls.ask(Operation.balances, [account], asked.pack(), calls.left(deadline)))
    if row is None:
        raise Refused(AccountStatus.account_not_found.name, "an account that was created")
    return row.last_update
