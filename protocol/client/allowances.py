"""Allowances: setting one once, whatever becomes of the request on its way, and reading it."""

from __future__ import annotations

from typing import Any

from protocol.answers import allowance_of, status_of
from protocol.client.calls import Calls, Deed
from protocol.errors import Refused
from protocol.expected import EXPECTED_OF_ALLOWANCE
from protocol.operations import Operation
from protocol.status import AllowanceStatus
from protocol.views import Allowance


async def read(calls: Calls, account: str, deadline: float) -> tuple[Allowance | None, bytes]:
    """The account's allowance, if it has one, and the id of the change that came last, empty for none."""
    row = allowance_of(await calls.ask(Operation.allowance, [account], [account], calls.left(deadline)))
    if row is None:
        return None, b""
    if row.amount is None:
        return None, row.last_change
    return Allowance(account, row.amount, row.paid, row.zone, row.ends_ns), row.last_change


async def change(
    calls: Calls, account: str, amount: int | None, zone: str, id: bytes, deadline: float
) -> AllowanceStatus:
    """Follows whatever change came last, which it reads first, and again as long as it can not have happened.

    Raises Refused, and OutcomeUnknown where somebody else's change may have followed it.
    """
    deed = Deed("allowance", id)
    while True:
        _, after = await read(calls, account, deadline)
        body: list[Any] = [account, amount, zone, id, after]
        answer = await calls.ask(Operation.set_allowance, [account], body, calls.left(deadline), deed)
        status = AllowanceStatus(status_of(answer))
        if status == AllowanceStatus.set:
            return status
        if status != AllowanceStatus.version_conflict:
            raise Refused(status.name, EXPECTED_OF_ALLOWANCE[status])
