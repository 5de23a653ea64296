"""`pay transfer`, `hold`, `capture`, `void`, and `outcome`, which settles what became of one."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from functools import partial
from typing import Any

from node.cli import shown
from node.cli.arguments import UINT32_MAX, account_id, currency, integer, parse_id, parse_lock, positive
from node.cli.failing import changing
from node.cli.output import show
from protocol import ids, metadata
from protocol.client import Receipt, SyncClient
from protocol.columns import COMMIT_PROTOCOLS
from protocol.errors import OutcomeUnknown, ProtocolError, Refused, RingpayError
from protocol.status import Status

DETAIL_SECONDS = 1.0  # in which the currency of what was moved is to be told: the payment is done


def guards(shared: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """What all payments may demand; `shared` has the options of all commands."""
    guarded = argparse.ArgumentParser(add_help=False, parents=[shared])
    guarded.add_argument("--lock", type=parse_lock, metavar="NAME:TOKEN", help="only while it is held by this token")
    guarded.add_argument("--commit", choices=COMMIT_PROTOCOLS, help="between shards (the cluster's own)")
    return guarded


def add_payments(commands: Any, guarded: argparse.ArgumentParser) -> None:
    """Declares `pay transfer`, `hold`, `capture` and `void`; `guarded` has what all payments may demand."""
    payment = argparse.ArgumentParser(add_help=False, parents=[guarded])
    payment.add_argument(
        "--id", type=parse_id,
        help="32 hexadecimal digits; with it the same payment, unchanged, can be sent again and happens once "
        "(with another debit account it may happen again); a refused one stays refused",
    )  # fmt: skip
    payment.add_argument("--if-version", type=positive, metavar="VERSION", help="that the debit account must have")
    priced = argparse.ArgumentParser(add_help=False, parents=[payment])
    priced.add_argument(
        "--currency", type=currency, help="read the amount as a decimal of this currency, that of the account"
    )
    priced.add_argument("--reference", default="", help="your own text")
    for name, text in (("transfer", "move money"), ("hold", "put money aside")):
        command = commands.add_parser(name, help=text, parents=[priced])
        command.add_argument("debit", type=account_id)
        command.add_argument("credit", type=account_id)
        command.add_argument("amount", nargs="?" if name == "transfer" else None)
        if name == "transfer":
            command.add_argument(
                "--balancing", choices=("debit", "credit", "both"),
                help="move up to what DEBIT has available, up to what CREDIT is below 0, or up to both; AMOUNT is the limit, if any",
            )  # fmt: skip
        command.add_argument(
            "--metadata", type=parse_metadata, action=Collect, default={}, metavar="KEY=VALUE",
            help="recorded with it, with KEY:=VALUE an integer, true or false; up to 8 times",
        )  # fmt: skip
        command.add_argument("--code", type=integer(0, UINT32_MAX), default=0, help="your own number")
        if name == "transfer":
            command.add_argument(
                "--reverses", type=parse_id, metavar="ID", help="of the transfer that it gives back, or a part of"
            )
        else:
            command.add_argument(
                "--ttl", type=integer(1, UINT32_MAX), default=600, help="seconds until it expires (600)"
            )
    capture = commands.add_parser("capture", help="move money from a hold", parents=[priced])
    capture.add_argument("hold", type=parse_id)
    capture.add_argument("amount", nargs="?", help="all that is left unless given")
    capture.add_argument("--final", action="store_true", help="give the rest back with it")
    void = commands.add_parser("void", help="give back what is left of a hold", parents=[payment])
    void.add_argument("hold", type=parse_id)
    void.add_argument("--amount", help="that the hold must have been opened with")
    void.add_argument("--currency", type=currency, help="read the amount as a decimal of this currency")
    for command in (capture, void):
        for name in ("debit", "credit"):
            command.add_argument(
                f"--{name}", dest=f"named_{name}", type=account_id, metavar="ACCOUNT", help="that must be the hold's"
            )


def parse_metadata(text: str) -> dict[str, str | int | bool]:
    """KEY=VALUE for text, KEY:=VALUE for an integer, true or false."""
    key, sign, value = text.partition("=")
    is_typed = key.endswith(":")
    found: dict[str, Any] = {key.removesuffix(":"): value}
    if is_typed:
        if re.fullmatch(r"-?[0-9]{1,19}|true|false", value) is None:
            raise argparse.ArgumentTypeError(
                f"{text!r:.60}: expected an integer of 64 bits, true or false behind :=, or KEY=VALUE for text"
            )
        found = {key[:-1]: {"true": True, "false": False}[value] if value[0] in "tf" else int(value)}
    try:
        metadata.pack(found)
    except ProtocolError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if not sign:
        raise argparse.ArgumentTypeError(
            f"{text!r:.60}: expected a pair KEY=VALUE, or KEY:=VALUE for an integer, true or false"
        )
    return found


class Collect(argparse.Action):
    """Puts together what an option gives each time."""

    def __call__(
        self, parser: argparse.ArgumentParser, options: argparse.Namespace, values: Any, _: Any = None
    ) -> None:
        given = getattr(options, self.dest)
        if doubled := [name for name in values if name in given]:
            raise argparse.ArgumentError(self, f"{doubled[0]!r:.60} is given twice: expected each key once")
        setattr(options, self.dest, given | values)


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
    """Raises Refused, though nothing was sent, for an amount that was read in another currency than the account's."""
    if currency and (kept_in := client.account(account).currency) != currency:
        status = Status.transfer_must_have_the_same_currency_as_accounts
        raise Refused(status.name, f"--currency {kept_in}: {account} is kept in {kept_in}")


def send(client: SyncClient, options: argparse.Namespace, call: Callable[..., Receipt]) -> int:
    """Sends a payment under the id of the command line, or a new one, and prints what was accepted."""
    id = client.new_id() if options.id is None else options.id
    with changing(options, OutcomeUnknown(id, "interrupted")):
        receipt = call(id=id, if_version=options.if_version, lock=options.lock, commit=options.commit)
        row: dict[str, Any] = {"id": ids.format(receipt.id), "status": receipt.status.name}
        if options.form == "table":
            row |= moved(client, options.debit, receipt.amount)
        elif getattr(options, "balancing", None) or (options.command == "capture" and options.amount is None):
            row["amount"] = receipt.amount
        show([row], options.form)
    return 0


def moved(client: SyncClient, debit: str, amount: int | None) -> dict[str, Any]:
    """For people: what was moved or set aside; nothing of a void. It is done: who cannot name its currency in time tells minor units."""
    if amount is None:
        return {}
    try:
        currency = client.account(debit, timeout=DETAIL_SECONDS).currency
    except RingpayError:
        return {"amount": f"{amount} in minor units"}
    return {"amount": shown.amount(amount, currency), "currency": currency}


def add_outcome(commands: Any, shared: argparse.ArgumentParser) -> None:
    """Declares `pay outcome`; `shared` has the options of all commands."""
    outcome = commands.add_parser(
        "outcome", help="settle what became of a transfer: one that has not happened never will", parents=[shared],
        description="Settles it for good: what has not happened by now is cancelled, and never will. To look only: pay find.",
    )  # fmt: skip
    outcome.add_argument("id", type=parse_id)
    outcome.add_argument("--debit", type=account_id, required=True, help="its debit account")


def outcome(client: SyncClient, options: argparse.Namespace) -> int:
    """`pay outcome`: cancels a transfer unless it has happened. Returns the exit code; raises RingpayError."""
    with changing(options, OutcomeUnknown(options.id, "interrupted")):
        status = client.outcome(options.id, options.debit)
        show([{"id": ids.format(options.id), "status": status.name}], options.form)
    return 0
