"""`pay transfer`, `hold`, `capture`, `void`, and `outcome`, which settles what became of one."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

from node.cli import shown
from node.cli.failing import changing
from node.cli.output import show
from protocol import ids
from protocol.client import Receipt, SyncClient
from protocol.errors import ErrorCode, OutcomeUnknown, ProtocolError, Refused
from protocol.status import Status


def transfer(client: SyncClient, options: argparse.Namespace) -> int:
    """`pay transfer` and `pay hold`: moves money, or sets it aside. Returns the exit code; raises RingpayError."""
    details = {
        "code": options.code,
        "reference": options.reference,
        "currency": options.currency,
        "metadata": options.metadata,
    }
    if options.command == "hold":
        details["ttl"] = options.ttl
    else:
        details["reverses"] = options.reverses
        details["balancing"] = options.balancing
    call = getattr(client, options.command)
    return send(client, options, partial(call, options.debit, options.credit, options.amount, **details))


def capture(client: SyncClient, options: argparse.Namespace) -> int:
    """`pay capture`: moves money out of a hold. Returns the exit code; raises RingpayError."""
    options.debit = debit_of_hold(client, options.hold)
    check_currency(client, options.debit, options.currency)
    details = {"final": options.final, "reference": options.reference} | named(options)
    return send(client, options, partial(client.capture, options.hold, options.amount, **details))


def void(client: SyncClient, options: argparse.Namespace) -> int:
    """`pay void`: gives back what is left of a hold. Returns the exit code; raises RingpayError."""
    options.debit = debit_of_hold(client, options.hold)
    check_currency(client, options.debit, options.currency)
    return send(client, options, partial(client.void, options.hold, amount=options.amount, **named(options)))


def named(options: argparse.Namespace) -> dict[str, Any]:
    """The accounts of a hold that the command line names, to be checked."""
    return {"debit": options.named_debit, "credit": options.named_credit}


def debit_of_hold(client: SyncClient, hold: int) -> str:
    """The account that settles the outcome of a capture or void. Raises Refused(hold_not_found)."""
    found = client.find(hold)
    if found is None:
        raise Refused(Status.hold_not_found.name, "the id of an accepted hold")
    return str(found.debit)


def check_currency(client: SyncClient, account: str, currency: str | None) -> None:
    """Raises ProtocolError(bad_request) for an amount that was read as one of another currency than the account's."""
    if currency and (kept_in := client.account(account).currency) != currency:
        text = f"{account} is kept in {kept_in}: expected --currency {kept_in}"
        raise ProtocolError(text, ErrorCode.bad_request)


def send(client: SyncClient, options: argparse.Namespace, call: Callable[..., Receipt]) -> int:
    """Sends a payment under the id of the command line, or a new one, and prints what was accepted."""
    id = client.new_id() if options.id is None else options.id
    with changing(options, OutcomeUnknown(id, "interrupted")):
        receipt = call(id=id, if_version=options.if_version, lock=options.lock, commit=options.commit)
        row = {"id": ids.format(receipt.id), "status": receipt.status.name}
        if getattr(options, "balancing", None) or (options.command == "capture" and options.amount is None):
            row["amount"] = moved(client, options, receipt.amount)
        show([row], options.form)
    return 0


def moved(client: SyncClient, options: argparse.Namespace, amount: int | None) -> Any:
    """An amount that only the books knew: minor units for programs, a decimal for people; nothing where they could not say in time."""
    if amount is None or options.form == "json":
        return amount
    return shown.amount(amount, client.account(options.debit).currency)


def outcome(client: SyncClient, options: argparse.Namespace) -> int:
    """`pay outcome`: cancels a transfer unless it has happened. Returns the exit code; raises RingpayError."""
    with changing(options, OutcomeUnknown(options.id, "interrupted")):
        status = client.outcome(options.id, options.debit)
        show([{"id": ids.format(options.id), "status": status.name}], options.form)
    return 0
