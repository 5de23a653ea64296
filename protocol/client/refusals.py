"""What a refused transfer is told: what was expected now, or that its id has been refused before and keeps that."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from protocol import ids
from protocol.client.calls import Calls
from protocol.errors import Refused, RingpayError
from protocol.expected import EXPECTED
from protocol.operations import Operation
from protocol.rows import TransferRow
from protocol.status import Status
from protocol.views import Account

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DETAIL_SECONDS = 0.5  # longer than a fail-over; what is known already is not kept back for more


async def refusal(
    calls: Calls, id: int, debit: str, status: Status, deadline: float, *, is_repeat: bool, leg: int | None = None
) -> Refused:
    """For a refused transfer, or `leg` of a transaction. `is_repeat`: the refusal was on record, and is told with the time of that."""
    expected = EXPECTED.get(status, "")
    if is_repeat:
        row = await _ask(calls, Operation.transfer, debit, [ids.pack(id), debit], deadline)
        recorded = None if row is None else TransferRow(*row)
        is_told = recorded is not None and recorded.status == status
        first = EPOCH + timedelta(microseconds=recorded.timestamp_ns // 1_000) if recorded and is_told else None
        return Refused(status.name, expected, is_repeat=True, first_refused_at=first, leg=leg)
    if status != Status.version_conflict:
        return Refused(status.name, expected, leg=leg)
    row = await _ask(calls, Operation.balances, debit, [debit], deadline)
    return Refused(status.name, expected, None if row is None else Account.unpack(row).version, leg=leg)


def refused(status: Status) -> Refused:
    """For what is known before anything is sent."""
    return Refused(status.name, EXPECTED.get(status, ""))


async def _ask(calls: Calls, operation: Operation, debit: str, body: list[Any], deadline: float) -> Any:
    """The one row of an answer, None where there is none soon."""
    try:
        (row,) = await calls.ask(operation, [debit], body, min(DETAIL_SECONDS, calls.left(deadline)))
    except RingpayError:
        return None
    return row
