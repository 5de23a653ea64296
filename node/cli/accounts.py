"""`pay account`: create, show and update."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from node.cli.failing import changing
from node.cli.options import changes_of
from node.cli.output import EXIT_FAILED, complain, show
from node.cli.shown import amount
from protocol.client import Account, SyncClient
from protocol.errors import OutcomeUnknown
from protocol.status import AccountStatus


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
        shown[name] = value if form == "json" else amount(value, row.currency)
    return shown | {"owner": row.owner, "version": row.version}
