"""Payments whose amount follows from what is there, or owed: as flags of a transfer, and read from the books when they have happened."""

from __future__ import annotations

from typing import Literal

from protocol import ids
from protocol.answers import transfer_of
from protocol.client.arguments import check_bool, clamp, wrong
from protocol.client.calls import Calls
from protocol.columns import BALANCING, Flag
from protocol.errors import RingpayError
from protocol.operations import Operation
from protocol.requests import TransferRequest

Balancing = Literal["debit", "credit", "both"]
FLAGS: dict[str | None, Flag] = {
    None: Flag.none, "debit": Flag.balancing_debit, "credit": Flag.balancing_credit,
    "both": Flag.balancing_debit | Flag.balancing_credit,
}  # fmt: skip


def amount_and_flags(amount: object, balancing: object) -> tuple[int, Flag]:
    """The amount as it travels, 0 where a balancing payment has no limit; a limit is above 0. Raises ProtocolError(bad_request)."""
    if not (balancing is None or isinstance(balancing, str)) or balancing not in FLAGS:
        raise wrong(f"balancing {balancing!r:.80}: expected debit, credit or both, or None for an amount as it is")
    if balancing is None:
        return clamp(amount), Flag.none
    return limit_of(amount), FLAGS[balancing]


def capture_amount(amount: object, *, final: object) -> tuple[int, Flag]:
    """The same for a capture; None: all that is left of the hold."""
    ends = Flag.final if check_bool(final, "final") else Flag.none
    if amount is None:
        return 0, Flag.capture | Flag.balancing_debit | ends
    return clamp(amount), Flag.capture | ends


def limit_of(amount: object) -> int:
    """0 for none."""
    if amount is None:
        return 0
    if (limit := clamp(amount)) <= 0:
        raise wrong(f"amount {amount!r:.80}: expected a limit above 0, or None for none")
    return limit


def is_balancing(flags: int) -> bool:
    """Whether only the books know what has moved."""
    return flags & BALANCING != 0


async def amount_moved(calls: Calls, id: int, debit: str, deadline: float) -> int | None:
    """What an accepted payment has moved; None where the books do not say in time."""
    try:
        asked = TransferRequest(ids.pack(id), debit)
        answer = await calls.ask(Operation.transfer, [debit], asked.pack(), calls.left(deadline))
    except RingpayError:
        return None
    row = transfer_of(answer)
    return None if row is None else row.amount
