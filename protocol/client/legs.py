"""Legs of a transaction: transfers, holds, captures and voids that happen together or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any

from protocol.client.arguments import (
    check_reversed,
    clamp,
    currency_bytes,
    fixed,
    id_bytes,
    is_list,
    named_amount,
    one_line,
    wrong,
)
from protocol.client.balancing import Balancing, amount_and_flags, amount_moved, capture_amount, is_balancing
from protocol.client.batches import send
from protocol.client.calls import Calls
from protocol.client.guards import Guards, check_version
from protocol.client.opened import Accounts, OpenedHolds
from protocol.client.refusals import refusal
from protocol.columns import SEPARATOR, Flag, Transfers
from protocol.errors import BadArgument, ProtocolError, Refused
from protocol.metadata import Metadata
from protocol.metadata import pack as pack_metadata
from protocol.status import TRANSFERS_MAX, Status, split_status
from protocol.views import Receipt, TransactionReceipt

LOOKUPS_AT_ONCE = 64  # of the accounts of holds: each asks every shard


class Leg:
    """One of the four below."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Transfer(Leg):
    """Moves money. What each argument means is told with `Client.transfer`."""

    debit: str
    credit: str
    amount: int | None = None
    _: KW_ONLY
    balancing: Balancing | None = None
    code: int = 0
    reference: str = ""
    currency: str | None = None
    metadata: Metadata | None = None
    reverses: int | None = None
    if_version: int | None = None


@dataclass(frozen=True, slots=True)
class Hold(Leg):
    """Puts money aside, for at most `ttl` seconds. As `Client.hold`."""

    debit: str
    credit: str
    amount: int
    _: KW_ONLY
    ttl: int
    code: int = 0
    reference: str = ""
    currency: str | None = None
    metadata: Metadata | None = None
    if_version: int | None = None


@dataclass(frozen=True, slots=True)
class Capture(Leg):
    """Moves a part of a hold, or (None) all that is left; with `final` it gives the rest back. As `Client.capture`."""

    hold: int
    amount: int | None = None
    _: KW_ONLY
    final: bool = False
    debit: str | None = None
    credit: str | None = None
    reference: str = ""
    if_version: int | None = None


@dataclass(frozen=True, slots=True)
class Void(Leg):
    """Gives back what is left of a hold. As `Client.void`."""

    hold: int
    _: KW_ONLY
    debit: str | None = None
    credit: str | None = None
    amount: int | None = None
    if_version: int | None = None


Known = Transfer | Hold | Capture | Void
KINDS = {kind.__name__.lower(): kind for kind in (Transfer, Hold, Capture, Void)}


@dataclass(frozen=True, slots=True)
class Row:
    """A leg as it travels, of each column its part, but for the accounts."""

    amount: bytes
    flags: int
    code: bytes
    reference: str
    hold_id: bytes
    ttl: bytes
    if_version: bytes
    currency: bytes = bytes(3)
    metadata: str = ""


def check_legs(legs: Any) -> list[Known]:
    """1 to 8,192 legs, each of a known kind."""
    if not is_list(legs) or not 1 <= len(legs) <= TRANSFERS_MAX:
        got = len(legs) if is_list(legs) else f"{legs!r:.80}"
        raise wrong(f"transaction: expected a list of 1 to {TRANSFERS_MAX} legs, got {got}")
    for place, leg in enumerate(legs):
        if type(leg) not in KINDS.values():
            raise wrong(f"leg {place}: expected a Transfer, Hold, Capture or Void, got {leg!r:.80}")
    return list(legs)


def check_ids(ids: Any, count: int) -> list[int]:
    """One a leg, all different."""
    if not is_list(ids) or len(ids) != count:
        got = len(ids) if is_list(ids) else f"{ids!r:.80}"
        raise wrong(f"ids: expected {count}, one a leg, got {got}")
    places: dict[int, int] = {}
    for place, id in enumerate(ids):
        id_bytes(id)
        if id in places:
            raise wrong(f"legs {places[id]} and {place} have one id {id:032x}: expected an id of its own for each")
        places[id] = place
    return list(ids)


def pack_legs(legs: Sequence[Known]) -> list[Row]:
    """Raises ProtocolError(bad_request) that says which leg is wrong."""
    rows = []
    for place, leg in enumerate(legs):
        try:
            rows.append(_pack_leg(leg))
        except ProtocolError as error:
            raise _at_leg(place, error) from None
    return rows


def _pack_leg(leg: Known) -> Row:
    if isinstance(leg, Transfer | Hold):
        one_line(leg.debit, "debit")
        one_line(leg.credit, "credit")
    amount, flags = _amount_and_flags(leg)
    reference = "" if isinstance(leg, Void) else leg.reference
    version = 0 if leg.if_version is None else check_version(leg.if_version)
    row = Row(
        amount.to_bytes(8, "little", signed=True), int(flags), bytes(4), one_line(reference, "reference"),
        id_bytes(_named(leg)), bytes(4), version.to_bytes(8, "little"),
    )  # fmt: skip
    if not isinstance(leg, Transfer | Hold):
        return row
    return replace(
        row,
        code=fixed("code", leg.code, 4),
        ttl=fixed("ttl", leg.ttl, 4) if isinstance(leg, Hold) else row.ttl,
        currency=row.currency if leg.currency is None else currency_bytes(leg.currency),
        metadata="" if leg.metadata is None else pack_metadata(leg.metadata),
    )


def _named(leg: Known) -> int:
    """The hold that it ends, or the transfer that it reverses; 0 for neither."""
    match leg:
        case Capture() | Void():
            return leg.hold
        case Transfer() if leg.reverses is not None:
            return check_reversed(leg.reverses)
        case _:
            return 0


def _amount_and_flags(leg: Known) -> tuple[int, Flag]:
    match leg:
        case Transfer():
            amount, flags = amount_and_flags(leg.amount, leg.balancing)
            return amount, flags if leg.reverses is None else flags | Flag.reversal
        case Hold():
            return clamp(leg.amount), Flag.hold
        case Capture():
            return capture_amount(leg.amount, final=leg.final)
        case Void():
            return named_amount(leg.amount), Flag.void


def _at_leg(place: int, error: ProtocolError) -> BadArgument:
    return wrong(f"leg {place}: {error}")


def _columns_of(rows: Sequence[Row], accounts: Sequence[Accounts], ids: Sequence[int], guards: Guards) -> Transfers:
    """All of them linked; a column that no row needs is left out."""
    last = len(rows) - 1
    flags = [row.flags | (Flag.linked if place < last else 0) for place, row in enumerate(rows)]

    def fixed_column(name: str) -> bytes:
        column = b"".join([getattr(row, name) for row in rows])
        return column if column.strip(b"\0") else b""

    def texts(name: str) -> str:
        column = SEPARATOR.join([getattr(row, name) for row in rows])
        return column if column.strip(SEPARATOR) else ""

    debits, credits = zip(*accounts, strict=True)
    return Transfers(
        b"".join(map(id_bytes, ids)), SEPARATOR.join(debits), SEPARATOR.join(credits), b"".join([row.amount for row in rows]),
        b"".join([flag.to_bytes(2, "little") for flag in flags]), fixed_column("code"),
        texts("reference"), fixed_column("hold_id"), fixed_column("ttl"), fixed_column("if_version"), *guards[1:],
        fixed_column("currency"), texts("metadata"),
    )  # fmt: skip


def _check_holds(legs: Sequence[Known], ids: Sequence[int]) -> None:
    """Raises ProtocolError(bad_request) for a leg that ends a hold of the same transaction: it would be there in one shard only."""
    opened = {id for leg, id in zip(legs, ids, strict=True) if isinstance(leg, Hold)}
    for place, leg in enumerate(legs):
        if isinstance(leg, Capture | Void) and leg.hold in opened:
            text = "expected a hold that was there before; what is captured at once is a Transfer"
            raise _at_leg(place, wrong(f"this transaction opens hold {leg.hold:032x} itself: {text}"))


async def _accounts_of(legs: Sequence[Known], holds: OpenedHolds, calls: Calls, deadline: float) -> list[Accounts]:
    """The accounts of each leg. Raises Refused with the leg's place."""

    async def find(place: int, leg: Known) -> Accounts:
        if isinstance(leg, Transfer | Hold):
            return leg.debit, leg.credit
        try:
            return await holds.accounts(leg.hold, leg.debit, leg.credit, calls.left(deadline))
        except Refused as refused:
            raise Refused(refused.status, refused.expected, leg=place) from None

    found: list[Accounts] = []
    for start in range(0, len(legs), LOOKUPS_AT_ONCE):
        places = range(start, min(start + LOOKUPS_AT_ONCE, len(legs)))
        found += await asyncio.gather(*(find(place, legs[place]) for place in places))
    return found


async def transact(
    calls: Calls, holds: OpenedHolds, legs: Sequence[Known], ids: Sequence[int], guards: Guards, deadline: float
) -> TransactionReceipt:
    """Sends checked legs as one chain. Raises Refused with the place of the leg that refused."""
    rows = pack_legs(legs)
    _check_holds(legs, ids)
    accounts = await _accounts_of(legs, holds, calls, deadline)
    answered = [
        split_status(status) for status in await send(calls, _columns_of(rows, accounts, ids, guards), deadline)
    ]
    first = answered[0][0]
    if first <= Status.exists and all(status == first for status, _ in answered):
        for leg, id in zip(legs, ids, strict=True):
            if isinstance(leg, Hold):
                holds.remember(id, leg.debit, leg.credit)
        amounts: list[int | None] = []
        for leg, row, id, (debit, _) in zip(legs, rows, ids, accounts, strict=True):
            asked = None if isinstance(leg, Void) else leg.amount
            amounts.append(await amount_moved(calls, id, debit, deadline) if is_balancing(row.flags) else asked)
        return TransactionReceipt(
            first, tuple(Receipt(id, first, amount) for id, amount in zip(ids, amounts, strict=True))
        )
    place = next(place for place, (status, _) in enumerate(answered) if status != Status.linked_event_failed)
    status, is_repeat = answered[place]
    raise await refusal(calls, ids[place], accounts[place], status, deadline, is_repeat=is_repeat, leg=place)
