"""`pay account`: create, show and update."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from node.cli.arguments import account_id, currency, positive
from node.cli.failing import changing
from node.cli.output import EXIT_FAILED, complain, show
from node.cli.shown import amount
from protocol.client import Account, SyncClient
from protocol.errors import OutcomeUnknown
from protocol.status import AccountStatus


def add_account(commands: Any, shared: argparse.ArgumentParser) -> None:
    """Declares `pay account create`, `show` and `update`; `shared` has the options of all commands."""
    account = commands.add_parser("account", help="create, show or update an account").add_subparsers(
        dest="account_command", required=True, metavar="create|show|update"
    )
    create = account.add_parser("create", help="open an account", parents=[shared, limits("0", "none")])
    create.add_argument("account", type=account_id)
    create.add_argument(
        "--currency", type=currency, default="EUR", help="ISO 4217 code (EUR); limits are in minor units"
    )
    create.add_argument("--split", action="store_true", help="one share a shard: for an account that everyone pays to")
    show_one = account.add_parser("show", help="balances of one or more accounts, each as of now", parents=[shared])
    show_one.add_argument("account", type=account_id, nargs="+")
    update = account.add_parser(
        "update", help="change limits, owner or status", parents=[shared, limits("as it is", "as it is")]
    )
    update.add_argument("account", type=account_id)
    update.add_argument("--status", choices=("open", "frozen", "closed"))
    update.add_argument("--if-version", type=positive, metavar="VERSION", help="only if the account is at this version")
    for command in account.choices.values():
        command.set_defaults(parser=command)


def limits(minimum: str, maximum: str) -> argparse.ArgumentParser:
    """What an account may have, and what it has unless told."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--minimum-balance", metavar="AMOUNT|none", help=f"how far it may fall ({minimum})")
    parser.add_argument("--maximum-balance", metavar="AMOUNT|none", help=f"how far it may rise ({maximum})")
    parser.add_argument("--owner")
    return parser


def changes_of(options: argparse.Namespace) -> dict[str, Any]:
    """The fields of an account that the command line names."""
    limits = ("minimum_balance", "maximum_balance")
    changes = {name: getattr(options, name) for name in limits if getattr(options, f"has_{name}", False)}
    texts = {name: getattr(options, name, None) for name in ("owner", "status")}
    return changes | {name: text for name, text in texts.items() if text is not None}


def account(client: SyncClient, options: argparse.Namespace) -> int:
    """`pay account`: creates, shows or updates. Returns the exit code; raises RingpayError."""
    if options.account_command == "show":
        found = dict(zip(options.account, client.accounts(options.account), strict=True))
        missing = [name for name, row in found.items() if row is None]
        lacking: list[Mapping[str, Any]] = [
            {"account": name, "status": AccountStatus.account_not_found.name} for name in missing
        ]
        rows = [account_row(row, options.form) for row in found.values() if row is not None]
        show(rows + lacking if options.form == "json" else rows, options.form, ["minimum_balance"])
        for name in missing:
            complain(f"account_not_found: {name}")
        return EXIT_FAILED if missing else 0
    changes = changes_of(options)
    with changing(options, OutcomeUnknown((), "interrupted", f"account {options.account_command}")):
        if options.account_command == "create":
            status = client.create_account(options.account, options.currency, split=options.split, **changes)
        else:
            status = client.update_account(options.account, if_version=options.if_version, **changes)
    show([{"account": options.account, "status": status.name}], options.form)
    return 0


def account_row(row: Account, form: str) -> Mapping[str, Any]:
    """An account for printing: decimals in a table, minor units in JSON."""
    amounts = ("posted", "held", "incoming", "available", "minimum_balance", "maximum_balance")
    shown: dict[str, Any] = {"account": row.id, "currency": row.currency, "status": row.status}
    for name in amounts:
        value = getattr(row, name)
        shown[name] = value if form == "json" else amount(value, row.currency) or "none"
    return shown | {"owner": row.owner, "version": row.version}
