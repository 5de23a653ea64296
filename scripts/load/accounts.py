"""Accounts for a load: opened and funded, a full request at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from protocol.client import Client
from protocol.errors import RingpayError
from protocol.status import TRANSFERS_MAX, AccountStatus, Status


async def open_accounts(
    client: Client, rows: Sequence[Sequence[Any]], batch_count: int = TRANSFERS_MAX, *, may_exist: bool = False
) -> None:
    """Opens accounts, each (id, currency, minimum, maximum, owner, metadata), `batch_count` a request.

    Raises RingpayError unless all are opened, or, with `may_exist`, were before.
    """
    good = (AccountStatus.created, AccountStatus.exists) if may_exist else (AccountStatus.created,)
    for start in range(0, len(rows), batch_count):
        for status in await client.create_accounts(rows[start : start + batch_count]):
            if status not in good:
                raise RingpayError(f"an account was not created: {status.name}")


async def fund(client: Client, payer: str, accounts: Sequence[str], amount_minor: int) -> None:
    """Moves the amount from the payer to each account. Raises RingpayError unless all have it."""
    for start in range(0, len(accounts), TRANSFERS_MAX):
        part = accounts[start : start + TRANSFERS_MAX]
        amounts = np.full(len(part), amount_minor, np.int64)
        statuses = await client.transfer_many([payer] * len(part), part, amounts)
        if any(status is not Status.created for status in statuses):
            raise RingpayError("an account could not be funded")
