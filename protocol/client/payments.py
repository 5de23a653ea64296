"""Transfers as a batch: what they may carry, checked and packed; and one that is sent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from protocol.client.arguments import (
    amount_column,
    clamp,
    currency_bytes,
    currency_column,
    fixed,
    id_bytes,
    metadata_column,
    number_column,
    one_line,
    reversal_columns,
    text_column,
)
from protocol.client.balancing import amount_moved, is_balancing
from protocol.client.batches import send
from protocol.client.calls import Calls
from protocol.client.guards import Guards
from protocol.client.refusals import refusal
from protocol.columns import Flag, Transfers
from protocol.metadata import Metadata
from protocol.metadata import pack as pack_metadata
from protocol.status import Status, split_status
from protocol.views import Receipt

_VOID = int(Flag.void)  # an integer: & of an enum costs more than all else of an answer


def pack_payment(
    id: int,
    debit: str,
    credit: str,
    amount: int,
    flag: Flag,
    guards: Guards,
    *,
    code: int = 0,
    reference: str = "",
    currency: str | None = None,
    metadata: Metadata | None = None,
    names: int = 0,
    ttl: int = 0,
) -> Transfers:
    """One transfer. `names`: the hold that it ends, or the transfer that it reverses.

    Raises ProtocolError(bad_request), saying what was expected.
    """
    return Transfers(
        id_bytes(id), one_line(debit, "debit"), one_line(credit, "credit"),
        clamp(amount).to_bytes(8, "little", signed=True), fixed("flags", int(flag), 2) if flag else b"",
        fixed("code", code, 4) if code != 0 else b"", one_line(reference, "reference"),
        id_bytes(names) if names != 0 else b"", fixed("ttl", ttl, 4) if ttl != 0 else b"", *guards,
        b"" if currency is None else currency_bytes(currency), "" if metadata is None else pack_metadata(metadata),
    )  # fmt: skip


async def send_one(calls: Calls, batch: Transfers, id: int, deadline: float, *, is_new: bool) -> Receipt:
    """Sends a payment. Raises Refused; `is_new`: the id was made for this very call."""
    (answered,) = await send(calls, batch, deadline)
    status, is_repeat = split_status(answered)
    flags = int.from_bytes(batch.flags, "little")
    if status > Status.exists:
        accounts, is_repeat = (batch.debit, batch.credit), is_repeat and not is_new
        raise await refusal(calls, id, accounts, status, deadline, is_repeat=is_repeat)
    if is_balancing(flags):
        return Receipt(id, status, await amount_moved(calls, id, batch.debit, deadline))
    return Receipt(id, status, None if flags & _VOID else int.from_bytes(batch.amount, "little", signed=True))


def pack_payments(
    ids: bytes,
    debit: Sequence[str],
    credit: Sequence[str],
    amount: Sequence[int] | NDArray[np.int64],
    guards: Guards,
    *,
    code: Sequence[int] | None,
    flags: Sequence[int] | None,
    reference: Sequence[str] | None,
    currency: str | Sequence[str] | None,
    metadata: Metadata | Sequence[Metadata] | None,
    reverses: Sequence[int] | None,
    ttl: Sequence[int] | None,
) -> Transfers:
    """Many, as columns; None for those that are left out. Raises ProtocolError(bad_request), saying what was expected."""
    count = len(amount)
    names, kinds = reversal_columns(reverses, flags, count)
    return Transfers(
        ids, text_column(debit, "debit", count), text_column(credit, "credit", count), amount_column(amount, count),
        kinds, number_column(code, "code", count, 4),
        "" if reference is None else text_column(reference, "reference", count), names,
        number_column(ttl, "ttl", count, 4), *guards, currency_column(currency, count), metadata_column(metadata, count),
    )  # fmt: skip
