"""`pay history` and `status`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from node.cli.health import health
from node.cli.output import complain, show, show_pages
from protocol import ids, money
from protocol.client import Entry, SyncClient
from protocol.columns import Flag


def history(client: SyncClient, options: argparse.Namespace) -> int:
    """history."""
    currency = client.account(options.account).currency
    pages = client.history_pages(options.account, newest_first=options.newest_first, limit=options.limit)
    show_pages(([entry_row(entry, currency, options.form) for entry in page] for page in pages), options.form)
    return 0


def entry_row(entry: Entry, currency: str, form: str) -> Mapping[str, Any]:
    """A transfer for printing."""
    flags = ",".join(flag.name or "" for flag in Flag(entry.flags)) or "transfer"
    amount = entry.amount if form == "json" else money.format(entry.amount, currency)
    return {
        "id": ids.format(entry.id), "kind": flags, "debit": entry.debit, "credit": entry.credit, "amount": amount,
        "currency": currency, "code": entry.code, "reference": entry.reference, "timestamp_ns": entry.timestamp_ns,
    }  # fmt: skip


def status(client: SyncClient, options: argparse.Namespace) -> int:
    """status."""
    seen = client.cluster()
    leaders = [leader if leader in seen.up else 0 for leader in seen.leaders]
    ahead = {clock.node: round(clock.ahead_seconds, 3) for clock in seen.clocks}
    far_off = [clock.node for clock in seen.clocks if clock.is_far_off]
    rows = [
        {
            "node": node.id, "address": f"{node.host}:{node.port}", "up": node.id in seen.up,
            "leads": leaders[1:].count(node.id), "coordinator": node.id == leaders[0],
            "recovering": len(seen.recovering.get(node.id, ())),
            "clock_ahead": ahead.get(node.id), "clock_is_far_off": node.id in far_off,
        }
        for node in seen.placement.nodes
    ]  # fmt: skip
    show(rows, options.form)
    code, text = health(seen.placement.shards, seen.leaderless, seen.silent, seen.recovering)
    if text:
        complain(text)
    return code
