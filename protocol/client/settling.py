"""What became of a transfer whose outcome is unknown: settled for good by the question."""

from __future__ import annotations

from protocol.answers import outcome_of
from protocol.client.arguments import check_text, id_bytes
from protocol.client.calls import Calls, Deed
from protocol.client.opened import OpenedHolds
from protocol.errors import OutcomeUnknown, Refused, RingpayError
from protocol.operations import Operation
from protocol.requests import OutcomeRequest
from protocol.status import Status


async def settle(calls: Calls, holds: OpenedHolds, id: int, debit: str, deadline: float) -> Status:
    """See `Client.outcome`."""
    asked = OutcomeRequest(id_bytes(id), check_text(debit, "debit account"))
    deed = Deed("transfer", asked.id)
    answer = await calls.ask(Operation.outcome, [asked.debit], asked.pack(), calls.left(deadline), deed)
    status = outcome_of(answer)
    if status == Status.cancelled and (other := await _debit_now(calls, holds, id, debit, deadline)) != debit:
        expected = f"{other}, the debit account that this id happened with; with {debit} it is cancelled"
        raise Refused(Status.exists_with_different_debit_account.name, expected)
    return status


async def _debit_now(calls: Calls, holds: OpenedHolds, id: int, debit: str, deadline: float) -> str:
    """The debit account that an id happened with, `debit` if it did not: all shards have been asked."""
    try:
        found = await holds.find(id, calls.left(deadline))
    except RingpayError as error:
        text = f"with {debit} it is cancelled for good; whether it happened with another debit account is not known: {error}"
        raise OutcomeUnknown(id, text) from error
    return debit if found is None else found.debit
