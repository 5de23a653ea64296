"""`pay events`: what has happened, and with --follow what happens."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from node.cli.output import Row, Table, write
from node.cli.shown import amount, moment
from protocol import ids
from protocol.client import Event, SyncClient, SyncSubscription
from protocol.events import OLDEST, ROWS_MAX, EventKind

IDS = ("id", "hold", "reverses")  # of transfers: 32 hexadecimal digits, as every command has them
AMOUNTS = ("amount", "rest")
NAMES = ("account", "lock")


def add_events(commands: Any, shared: argparse.ArgumentParser) -> None:
    """Declares `pay events`; `shared` has the options of all commands."""
    command = commands.add_parser(
        "events", parents=[shared], help="what has happened to accounts, transfers, holds, allowances and locks",
        description="Up to now, or with --follow from then on, too. In the order of each shard, at least once. -o json prints an object a "
        "line: minor units, ns, bytes in hexadecimal, and the cursor by which --cursor goes on behind it.",
    )  # fmt: skip
    kinds = [kind.value for kind in EventKind]
    command.add_argument("--kind", action="append", choices=kinds, help="of these only, given once or often (all)")
    command.add_argument(
        "--prefix", default="", help="of accounts whose ids begin so, and locks whose names do; a transfer has two"
    )
    command.add_argument(
        "--cursor", default=OLDEST, help="behind this one: of an earlier line, oldest (what is kept) or newest (oldest)"
    )
    command.add_argument("--follow", action="store_true", help="wait for what comes, until interrupted")


def events(client: SyncClient, options: argparse.Namespace) -> int:
    """`pay events`: what has happened, and what happens. Returns the exit code; raises RingpayError."""
    told = client.subscribe(
        options.kind or list(EventKind), prefix=options.prefix, cursor=options.cursor, follow=options.follow
    )
    if options.form == "json":
        for batch in told.batches():
            write("".join(_lines(told, told.events_of(batch))))
        return 0
    table, currencies = Table(["about"]), dict[str, str]()
    for batch in told.batches():
        rows = [*told.events_of(batch)]
        _learn(client, rows, currencies)
        write(table.page([event_row(event, currencies) for event in rows]))
    return 0


def _lines(told: SyncSubscription, events: Any) -> Iterator[str]:
    for event in events:
        row = {"kind": event.kind.value, "name": event.name, "shard": event.shard, "series": event.series.value}
        row |= {"number": event.number, "timestamp_ns": event.timestamp_ns, **plain(event.data), "cursor": told.cursor}
        yield json.dumps(row) + "\n"


def plain(data: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON has it."""
    return {name: _plain(name, value) for name, value in data.items()}


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    return ids.format(value) if name in IDS else value


def _learn(client: SyncClient, events: Sequence[Event], currencies: dict[str, str]) -> None:
    """The currencies of accounts, which the events of their transfers do not repeat."""
    named = (event.data.get("debit", event.data.get("account")) for event in events)
    fresh = [name for name in dict.fromkeys(named) if name is not None and name not in currencies]
    for start in range(0, len(fresh), ROWS_MAX):
        part = fresh[start : start + ROWS_MAX]
        for name, account in zip(part, client.accounts(part), strict=True):
            currencies[name] = "EUR" if account is None else account.currency


def event_row(event: Event, currencies: Mapping[str, str]) -> Row:
    """For people: when, what, of whom, how much, and whatever else there is to it."""
    data = event.data
    about = next((data[name] for name in NAMES if name in data), None) or f"{data['debit']} > {data['credit']}"
    currency = currencies.get(data.get("debit", data.get("account", "")), "")
    minor = next((data[name] for name in AMOUNTS if name in data), None)
    shown = {*NAMES, *AMOUNTS, "debit", "credit"}
    more = [
        f"{name} {_text(name, value, currency)}"
        for name, value in data.items()
        if name not in shown and value not in ("", None, b"", 0, False)
    ]
    return {
        "time": moment(event.timestamp_ns), "event": event.name, "amount": None if minor is None else amount(minor, currency),
        "about": about, "more": "; ".join(more),
    }  # fmt: skip


def _text(name: str, value: Any, currency: str) -> Any:
    return amount(value, currency) if name in ("minimum", "maximum") else _plain(name, value)
