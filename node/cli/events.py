"""`pay events`: what has happened, and with --follow what happens."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from node.cli.output import Row, Table, write
from node.cli.shown import amount, metadata_text, moment
from protocol import ids
from protocol.client import Event, SyncClient, SyncSubscription
from protocol.events import OLDEST, ROWS_MAX, EventKind

IDS = ("id", "hold", "reverses", "of")  # of transfers: 32 hexadecimal digits, as every command has them
AMOUNTS = ("amount", "minimum", "maximum")  # minor units
USERS_OWN = ("reference", "metadata")
COLUMNS = {
    EventKind.accounts: ("status", "currency", "account", "minimum", "maximum", "owner", "version", "split", "metadata"),
    EventKind.transfers: ("amount", "currency", "code", "debit", "credit", "id", "of", *USERS_OWN),
    EventKind.holds: ("amount", "currency", "ttl", "reason", "debit", "credit", "hold", "id", "code", *USERS_OWN),
    EventKind.allowances: ("amount", "account", "zone"),
    EventKind.locks: ("token", "reason", "lock", "owner"),
}  # fmt: skip
"""Of a table, by kind, behind the time and the name of the event. A capture is `of` a hold, a reversal of a transfer."""
BREAKS = ("debit", "account", "lock")  # before which a line that is too long goes on in the next


def add_events(commands: Any, shared: argparse.ArgumentParser) -> None:
    """Declares `pay events`; `shared` has the options of all commands."""
    command = commands.add_parser(
        "events", parents=[shared], help="what has happened to accounts, transfers, holds, allowances and locks",
        description="Up to now, or with --follow from then on, too. In the order of each shard, at least once. -o json prints an object a "
        "line: minor units, ns, bytes in hexadecimal, and the cursor by which --cursor goes on behind it; Client.subscribe says what each "
        "kind tells by which names, and what is none is left out. A table has the columns of its kind, with a head wherever another kind "
        "follows; of is the hold that a capture takes from, or what a reversal gives back.",
    )  # fmt: skip
    kinds = [kind.value for kind in EventKind]
    command.add_argument("--kind", action="append", choices=kinds, help="of these only, given once or often (all)")
    command.add_argument(
        "--prefix", default="", help="of accounts whose ids begin so, and locks whose names do; a transfer has two"
    )
    command.add_argument(
        "--cursor", default=OLDEST, help="behind this one: of an earlier line, oldest (what is kept) or newest (oldest)"
    )
    command.add_argument(
        "--follow", action="store_true", help="wait for what comes, until interrupted, also while shards are away"
    )


def events(client: SyncClient, options: argparse.Namespace) -> int:
    """`pay events`: what has happened, and what happens. Returns the exit code; raises RingpayError."""
    told = client.subscribe(
        options.kind or list(EventKind), prefix=options.prefix, cursor=options.cursor, follow=options.follow
    )
    if options.form == "json":
        for batch in told.batches():
            write("".join(_lines(told, told.events_of(batch))))
        return 0
    tables, currencies = Tables(), dict[str, str]()
    for batch in told.batches():
        rows = [*told.events_of(batch)]
        _learn(client, rows, currencies)
        write(tables.page(rows, currencies))
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
    """The currencies of accounts whose events do not tell them."""
    named = (_account_of(event) for event in events if not event.data.get("currency"))
    fresh = [name for name in dict.fromkeys(named) if name is not None and name not in currencies]
    for start in range(0, len(fresh), ROWS_MAX):
        part = fresh[start : start + ROWS_MAX]
        for name, account in zip(part, client.accounts(part), strict=True):
            currencies[name] = "EUR" if account is None else account.currency


def _account_of(event: Event) -> str | None:
    name: str | None = event.data.get("account", event.data.get("debit"))
    return name


class Tables:
    """One a kind, as each has its own columns; in the order of the events, with a head wherever another kind follows."""

    def __init__(self) -> None:
        self._kind: EventKind | None = None
        self._table = Table()

    def page(self, events: Sequence[Event], currencies: Mapping[str, str]) -> str:
        """The lines of these events."""
        texts = []
        for kind, run in groupby(events, key=lambda event: event.kind):
            if kind is not self._kind:
                texts.append("\n" if self._kind else "")
                self._kind, self._table = kind, Table(BREAKS)
            texts.append(self._table.page([event_row(event, currencies) for event in run]))
        return "".join(texts)


def event_row(event: Event, currencies: Mapping[str, str]) -> Row:
    """For people: the columns of its kind, empty where there is nothing to tell."""
    data = dict(event.data)
    if event.name == "hold":
        data["hold"] = data.pop("id")
    if event.kind is EventKind.transfers:
        data["of"] = data.get("hold", data.get("reverses"))
    if "rest" in data:
        data["amount"] = data.pop("rest")
    currency = data.get("currency") or currencies.get(_account_of(event) or "", "")
    cells = {name: _cell(name, data.get(name), currency) for name in COLUMNS[event.kind]}
    return {"time": moment(event.timestamp_ns), "event": event.name, **cells}


def _cell(name: str, value: Any, currency: str) -> Any:
    if name in AMOUNTS:
        return amount(value, currency)
    if name == "metadata" and isinstance(value, Mapping):
        return metadata_text(value)
    return None if value is None else _plain(name, value)
