"""Allowances: setting one once, whatever becomes of the request on its way, and reading it."""

from __future__ import annotations

from protocol.answers import allowance_of, status_of
from protocol.client.calls import Calls, Deed
from protocol.errors import Refused
from protocol.expected import EXPECTED_OF_ALLOWANCE
from protocol.operations import Operation
from protocol.requests import AllowanceRequest, SetAllowanceRequest
from protocol.rows import AllowanceRow
from protocol.status import AllowanceStatus
from protocol.views import Allowance

FIRST_ZONE = "UTC"


async def read(calls: Calls, account: str, deadline: float) -> Allowance | None:
    """The account's allowance, if it has one."""
    row = await _row(calls, account, deadline)
    if row is None or row.amount is None:
        return None
    return Allowance(account, row.amount, row.paid, row.zone, row.ends_ns)


async def _row(calls: Calls, account: str, deadline: float) -> AllowanceRow | None:
    asked = AllowanceRequest(account)
    return allowance_of(await calls.ask(Operation.allowance, [account], asked.pack(), calls.left(deadline)))


async def change(
    calls: Calls, account: str, amount: int | None, zone: str | None, id: bytes, deadline: float
) -> AllowanceStatus:
    """Follows whatever change came last, which it reads first, and again as long as it can not have happened.

    Raises Refused, and OutcomeUnknown where somebody else's change may have followed it.
    """
    deed = Deed("allowance", id)
    while True:
        row = await _row(calls, account, deadline)
        after, kept = (b"", FIRST_ZONE) if row is None else (row.last_change, row.zone)
        asked = SetAllowanceRequest(account, amount, kept if zone is None else zone, id, after)
        answer = await calls.ask(Operation.set_allowance, [account], asked.pack(), calls.left(deadline), deed)
        status = AllowanceStatus(status_of(answer))
        if status == AllowanceStatus.set:
            return status
        if status != AllowanceStatus.version_conflict:
            raise Refused(status.name, EXPECTED_OF_ALLOWANCE[status])
