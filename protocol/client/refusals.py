"""What a refused transfer is told: what was expected now, or that its id has been refused before and keeps that."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from protocol import ids
from protocol.answers import accounts_of, transfer_of
from protocol.client.calls import Calls
from protocol.errors import Refused, RingpayError
from protocol.expected import EXPECTED
from protocol.operations import Body, Operation
from protocol.requests import BalancesRequest, TransferRequest
from protocol.rows import AccountRow
from protocol.status import Status

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
OF_CURRENCY = (
    Status.transfer_must_have_the_same_currency_as_accounts, Status.accounts_must_have_the_same_currency,
)  # fmt: skip
DETAIL_SECONDS = 0.5  # longer than a fail-over; what is known already is not kept back for more


async def refusal(
    calls: Calls,
    id: int,
    accounts: tuple[str, str],
    status: Status,
    deadline: float,
    *,
    is_repeat: bool,
    leg: int | None = None,
) -> Refused:
    """For a refused transfer between these accounts, the debit account first, or `leg` of a transaction.

    `is_repeat`: the refusal was on record, and is told with the time of that.
    """
    expected, debit = EXPECTED.get(status, ""), accounts[0]
    if is_repeat:
        asked = TransferRequest(ids.pack(id), debit)
        answer = await _ask(calls, Operation.transfer, debit, asked.pack(), deadline)
        recorded = None if answer is None else transfer_of(answer)
        is_told = recorded is not None and recorded.status == status
        first = EPOCH + timedelta(microseconds=recorded.timestamp_ns // 1_000) if recorded and is_told else None
        return Refused(status.name, expected, is_repeat=True, first_refused_at=first, leg=leg, id=id)
    if status in OF_CURRENCY:
        found = [await _account(calls, name, deadline) for name in accounts]
        rows = [row for row in found if row is not None]
        kept = ", ".join(f"{row.id} is kept in {row.currency}" for row in rows)
        return Refused(status.name, f"{expected}: {kept}" if kept else expected, leg=leg, id=id)
    if status != Status.version_conflict:
        return Refused(status.name, expected, leg=leg, id=id)
    account = await _account(calls, debit, deadline)
    return Refused(status.name, expected, None if account is None else account.version, leg=leg, id=id)


def refused(status: Status) -> Refused:
    """For what is known before anything is sent."""
    return Refused(status.name, EXPECTED.get(status, ""))


async def _account(calls: Calls, name: str, deadline: float) -> AccountRow | None:
    answer = await _ask(calls, Operation.balances, name, BalancesRequest([name]).pack(), deadline)
    (row,) = (None,) if answer is None else accounts_of(answer)
    return row


async def _ask(calls: Calls, operation: Operation, account: str, body: Body, deadline: float) -> Body | None:
    """The answer, None where there is none soon."""
    try:
        return await calls.ask(operation, [account], body, min(DETAIL_SECONDS, calls.left(deadline)))
    except RingpayError:
        return None
