"""`pay history`, `find` and `status`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from node.cli.arguments import account_id, parse_id, positive
from node.cli.health import health
from node.cli.output import complain, show, show_pages, show_record
from node.cli.shown import NANOSECONDS, amount, metadata_text, moment, seconds
from protocol import ids
from protocol.client import Entry, SyncClient
from protocol.errors import Refused
from protocol.views import NodeClock


def add_history(commands: Any, shared: argparse.ArgumentParser) -> None:
    """Declares `pay history`; `shared` has the options of all commands."""
    history = commands.add_parser("history", help="an account's transfers", parents=[shared])
    history.add_argument("account", type=account_id)
    history.add_argument("--newest-first", action="store_true")
    history.add_argument("--limit", type=positive, help="of transfers to show (all)")


def history(client: SyncClient, options: argparse.Namespace) -> int:
    """`pay history`: what was moved from and to an account. Returns the exit code; raises RingpayError."""
    currency = client.account(options.account).currency
    pages = client.history_pages(options.account, newest_first=options.newest_first, limit=options.limit)
    show_pages(
        ([entry_row(entry, currency, options.form) for entry in page] for page in pages), options.form, ["amount"]
    )
    return 0


def entry_row(entry: Entry, currency: str, form: str) -> Mapping[str, Any]:
    """A transfer for printing."""
    about: dict[str, Any] = {"id": ids.format(entry.id), "kind": entry.kind}
    parties = {"currency": currency, "debit": entry.debit, "credit": entry.credit}
    own = {"code": entry.code, "reference": entry.reference}
    reverses, hold = (None if id is None else ids.format(id) for id in (entry.reverses, entry.hold))
    if form == "json":
        about["flags"] = [flag.name for flag in entry.flags]
        own |= {
            "metadata": dict(entry.metadata),
            "reverses": reverses,
            "hold": hold,
            "timestamp_ns": entry.timestamp_ns,
        }
        return about | {"amount": entry.amount} | parties | own
    own["metadata"] = metadata_text(entry.metadata)
    own["of"] = hold or reverses
    return {"time": moment(entry.timestamp_ns)} | about | {"amount": amount(entry.amount, currency)} | parties | own


def add_find(commands: Any, shared: argparse.ArgumentParser) -> None:
    """Declares `pay find`; `shared` has the options of all commands."""
    find = commands.add_parser(
        "find", parents=[shared], help="look up what happened under an id, and what is left of a hold; changes nothing",
        description="Looks only. A payment that is not found may still be on its way: pay outcome settles it for good.",
    )  # fmt: skip
    find.add_argument("id", type=parse_id)
    find.add_argument(
        "--debit", type=account_id, metavar="ACCOUNT", help="its debit account: asks that account's shard alone (all)"
    )


def find(client: SyncClient, options: argparse.Namespace) -> int:
    """`pay find`: what happened under an id. Returns the exit code; raises RingpayError."""
    entry = client.find(options.id, options.debit)
    if entry is None:
        raise Refused("transfer_not_found", "the id of a transfer, hold, capture or void that has happened")
    currency = client.account(entry.debit).currency
    row = dict(entry_row(entry, currency, options.form))
    if options.form == "json":
        show([row | {"left": entry.rest, "expires_ns": entry.expires_ns}], options.form)
        return 0
    if entry.rest is not None:
        row |= {"left": amount(entry.rest, currency), "expires": moment(entry.expires_ns) if entry.rest else "ended"}
    show_record(row)
    return 0


def clock_cells(clock: NodeClock | None, form: str) -> dict[str, Any]:
    """How a node's clock stands to the others'; nothing is known of one that they do not hear."""
    ahead_ns = None if clock is None else round(clock.ahead_seconds * NANOSECONDS)
    is_far_off = clock is not None and clock.is_far_off
    if form == "json":
        return {"clock_ahead_ns": ahead_ns, "clock_is_far_off": is_far_off}
    return {"clock_ahead": None if ahead_ns is None else seconds(ahead_ns) + ", far off" * is_far_off}


def add_status(commands: Any, shared: argparse.ArgumentParser) -> None:
    """Declares `pay status`; `shared` has the options of all commands."""
    commands.add_parser("status", help="nodes and leaders; asks each node", parents=[shared])


def status(client: SyncClient, options: argparse.Namespace) -> int:
    """`pay status`: nodes and leaders, and what is wrong. Returns the exit code; raises RingpayError."""
    seen = client.cluster()
    leaders = [leader if leader in seen.up else 0 for leader in seen.leaders]
    clocks = {clock.node: clock for clock in seen.clocks}
    rows = [
        {
            "node": node.id, "address": f"{node.host}:{node.port}", "up": node.id in seen.up,
            "leads": leaders[1:].count(node.id), "coordinator": node.id == leaders[0],
            "recovering": len(seen.recovering.get(node.id, ())),
            **clock_cells(clocks.get(node.id), options.form),
        }
        for node in seen.placement.nodes
    ]  # fmt: skip
    show(rows, options.form)
    code, text = health(seen.placement.shards, seen.leaderless, seen.silent, seen.recovering)
    if text:
        complain(text)
    return code
