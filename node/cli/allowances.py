"""`pay allowance`: how much an account may pay out a day."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from node.cli.arguments import Parser, account_id, currency, fail_usage
from node.cli.failing import changing
from node.cli.output import show
from node.cli.shown import amount, moment
from protocol import money
from protocol.client import Allowance, SyncClient
from protocol.errors import OutcomeUnknown, Refused


def add_allowance(commands: Any, shared: argparse.ArgumentParser) -> None:
    """Declares `pay allowance`; `shared` has the options of all commands."""
    command = commands.add_parser(
        "allowance", help="show, or with an amount set, what an account may pay out a day", parents=[shared]
    )
    command.add_argument("account", type=account_id)
    command.add_argument(
        "limit",
        nargs="?",
        metavar="AMOUNT|none",
        help="a day from now on; none: as much as there is. Voids count back, reversals do not",
    )
    command.add_argument("--zone", help="whose midnight ends the day, such as Europe/Berlin (as it is; UTC at first)")
    command.add_argument("--currency", type=currency, help="read the amount as a decimal of this currency")


def read_limit(parser: Parser, options: argparse.Namespace) -> None:
    """Turns the amount into minor units, None for none; ends the program where that cannot be."""
    options.is_set = options.limit is not None
    if options.zone is not None and not options.is_set:
        fail_usage(parser, "--zone: expected an amount with it, or none")
    if options.limit in (None, "none"):
        options.limit = None
        return
    try:
        read = money.parse(options.limit, options.currency) if options.currency else money.parse_minor(options.limit)
    except ValueError as error:
        fail_usage(parser, str(error))
    if read < 0:
        fail_usage(parser, f"amount {options.limit[:40]!r}: expected 0 or more, or none")
    options.limit = read


def allowance(client: SyncClient, options: argparse.Namespace) -> int:
    """`pay allowance`: shows what an account may pay out a day, or sets it. Returns the exit code; raises RingpayError."""
    if options.is_set:
        if options.currency and (kept_in := client.account(options.account).currency) != options.currency:
            reason = "allowance_must_have_the_same_currency_as_account"
            raise Refused(reason, f"--currency {kept_in}: {options.account} is kept in {kept_in}")
        with changing(options, OutcomeUnknown((), "interrupted", "allowance")):
            status = client.set_allowance(options.account, options.limit, zone=options.zone)
        show([{"account": options.account, "status": status.name}], options.form)
        return 0
    found, currency = client.allowance(options.account), client.account(options.account).currency
    show([allowance_row(options.account, found, currency, options.form)], options.form)
    return 0


def allowance_row(account: str, found: Allowance | None, currency: str, form: str) -> Mapping[str, Any]:
    """For printing: decimals in a table, minor units and ns for programs."""
    row: dict[str, Any] = {"account": account, "currency": currency}
    values = {name: getattr(found, name, None) for name in ("amount", "paid", "available")}
    zone, ends_ns = getattr(found, "zone", None), getattr(found, "ends_ns", None)
    if form == "json":
        return {**row, **values, "zone": zone, "ends_ns": ends_ns}
    if found is None:
        return {**row, "amount": "none"}
    shown = {name: amount(value, currency) for name, value in values.items()}
    return {**row, **shown, "zone": zone, "ends": moment(ends_ns)}
