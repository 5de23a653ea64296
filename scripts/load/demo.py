"""Pays a day of card payments through five nodes while two of them are killed, then proves that no cent is lost.

Starts five real nodes in a fresh folder, opens 5,000 customer and 10,000 terminal accounts, funds the customers, and
pays one payment a request through randomly chosen nodes. Meanwhile it kills the coordinator, then a shard's leader,
then starts both again. At the end it reads the books back and compares them with every receipt.

Examples:
  scripts/demo
  scripts/demo --input payments.csv --day 2018-06-11    columns time, customer, terminal, amount_cents

Exit codes: 0 all holds, 1 something does not, 2 usage.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import date
from pathlib import Path

import numpy as np
import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from node.cli.arguments import PORT_MAX, fail_usage, integer, make_parser, natural
from node.cli.output import complain, say, show
from node.cli.program import first_error
from node.cli.shown import amount
from protocol.client import Client
from protocol.errors import RingpayError
from protocol.placement import called
from scripts.load.accounts import fund, open_accounts
from scripts.load.customers import Receipts, customer_account, send_all, terminal_account
from scripts.load.payments import CUSTOMERS, TERMINALS, InputError, Payment, generate, read
from scripts.load.proof import CURRENCY, Check, Expected, prove
from scripts.local import ClusterError, LocalCluster, temporary, until

NODES = 5
SHARDS = 16
REPLICATION = 5  # two nodes are away at the same time: each shard keeps three of five replicas
CLIENTS = 8
IN_FLIGHT_MAX = 100  # of each client: all of them together are what a node takes
NAMES_MAX = 1_000_000  # accounts of one kind
DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
FUNDING_CENTS = 50_000  # of each customer: some run out of money, as some do
WORLD = f"world:{CURRENCY}"
KILL_COORDINATOR, KILL_LEADER, START_AGAIN = 0.2, 0.45, 0.7  # parts of the payments that are done


def main() -> int:
    """The exit code."""
    options = parse()
    try:
        payments = read(options.input, options.day) if options.input else generate(options.seed)
        return uvloop.run(run(options, payments))
    except InputError as error:
        complain(str(error))
        return 2
    except (ClusterError, RingpayError, OSError) as error:
        complain(str(error))
    except BaseExceptionGroup as group:
        complain(str(first_error(group)))
    except (KeyboardInterrupt, asyncio.CancelledError):
        complain("stopped; all nodes and their data are gone")
    return 1


def parse() -> argparse.Namespace:
    """The command line."""
    parser = make_parser(__doc__ or "")
    parser.add_argument("--input", type=Path, help="a .csv or .parquet file of payments; without it they are generated")
    parser.add_argument("--day", type=day, help="YYYY-MM-DD of the file (its first day)")
    parser.add_argument("--seed", type=natural, default=1, help="of the generator and of the choices (1)")
    parser.add_argument(
        "--customers", type=integer(0, NAMES_MAX), default=CUSTOMERS, help=f"accounts at least ({CUSTOMERS})"
    )
    parser.add_argument(
        "--terminals", type=integer(0, NAMES_MAX), default=TERMINALS, help=f"accounts at least ({TERMINALS})"
    )
    parser.add_argument(
        "--in-flight",
        type=integer(1, IN_FLIGHT_MAX),
        default=8,
        help=f"payments under way of each of {CLIENTS} clients (8)",
    )
    parser.add_argument("--base-port", type=integer(1, PORT_MAX - NODES + 1), help="of the nodes (a free one)")
    options = parser.parse_args()
    if options.day is not None and options.input is None:
        fail_usage(parser, "--day: expected --input, the file that it is a day of")
    return options


def day(text: str) -> date:
    """A date as --day names it."""
    try:
        if DAY.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r:.60}: expected a day such as 2018-06-11")


async def run(options: argparse.Namespace, payments: Sequence[Payment]) -> int:
    """The whole story; 0 when every check holds."""
    began = time.monotonic()
    customers = names(options.customers, [payment.customer for payment in payments])
    terminals = names(options.terminals, [payment.terminal for payment in payments])
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}"))
    async with temporary(NODES, SHARDS, REPLICATION, base_port=options.base_port) as cluster, AsyncExitStack() as stack:
        say(f"{NODES} nodes serve {SHARDS} shards on {cluster.addresses[0]} and following; data in {cluster.folder}")
        clients = [await stack.enter_async_context(client) for client in random_clients(cluster, options.seed)]
        await open_accounts(clients[0], account_rows(customers, terminals))
        await fund(clients[0], WORLD, [customer_account(name) for name in customers], FUNDING_CENTS)
        say(
            f"{len(customers):,} customers with {amount(FUNDING_CENTS, CURRENCY)} {CURRENCY} each, {len(terminals):,} terminals"
        )
        receipts = Receipts()
        with Progress(
            *columns, console=Console(highlight=False), transient=True, disable=not sys.stdout.isatty()
        ) as progress:
            seconds = await pay(cluster, clients, payments, options, receipts, progress)
            task = progress.add_task("reading the books back", total=len(customers), note="")
            expected = Expected(customers, terminals, FUNDING_CENTS, receipts)
            checks = await prove(clients[0], expected, lambda count: progress.advance(task, count))
    report_traffic(receipts, seconds)
    return report_checks(checks, time.monotonic() - began)


def names(count: int, used: Sequence[str]) -> list[str]:
    """The usual names, and those of the input that are not among them."""
    return list(dict.fromkeys([*map(str, range(count)), *used]))


def random_clients(cluster: LocalCluster, seed: int) -> list[Client]:
    """Clients that each begin with a randomly chosen node and know the others for when it dies."""
    chosen = random.Random(seed)
    return [cluster.client(addresses=chosen.sample(cluster.addresses, NODES)) for _ in range(CLIENTS)]


def account_rows(customers: Sequence[str], terminals: Sequence[str]) -> list[list[object]]:
    """What the world's, the customers' and the terminals' accounts are opened with."""
    rows: list[list[object]] = [[WORLD, CURRENCY, None, None, "", b""]]
    rows += [[customer_account(name), CURRENCY, 0, None, "", b""] for name in customers]
    rows += [[terminal_account(name), CURRENCY, 0, None, "", b""] for name in terminals]
    return rows


async def pay(
    cluster: LocalCluster,
    clients: Sequence[Client],
    payments: Sequence[Payment],
    options: argparse.Namespace,
    receipts: Receipts,
    progress: Progress,
) -> float:
    """Sends all payments while nodes come and go; the seconds it took."""
    began = time.monotonic()
    task = progress.add_task("paying", total=len(payments), note="")

    async def show() -> None:
        while True:
            rate = receipts.done / max(time.monotonic() - began, 0.001)
            recent = receipts.latencies_ms[-1_000:] or [0.0]
            note = f"{rate:,.0f}/s  p50 {np.percentile(recent, 50):.1f} ms  p99 {np.percentile(recent, 99):.1f} ms"
            progress.update(task, completed=receipts.done, note=note)
            await asyncio.sleep(0.1)

    async with asyncio.TaskGroup() as tasks:
        shown = tasks.create_task(show())
        trouble = tasks.create_task(make_trouble(cluster, clients[0], len(payments), receipts))
        await send_all(payments, clients, options.in_flight, receipts)
        seconds = time.monotonic() - began
        await trouble
        shown.cancel()
    progress.remove_task(task)
    return seconds


async def make_trouble(cluster: LocalCluster, client: Client, total: int, receipts: Receipts) -> None:
    """Kills the coordinator, then the leader of a shard on another node, then starts both again."""

    async def reached(part: float) -> str:
        await until(lambda: receipts.done >= total * part)
        return f"after {receipts.done:,} payments:"

    when = await reached(KILL_COORDINATOR)
    first = (await cluster.view()).coordinator
    await asyncio.to_thread(cluster.kill, first)
    say(f"{when} killed node {first}, the coordinator")
    when = await reached(KILL_LEADER)
    leaders = (await cluster.view()).leaders
    shard, second = next((group, node) for group, node in enumerate(leaders) if group and node not in (0, first))
    await asyncio.to_thread(cluster.kill, second)
    say(f"{when} killed node {second}, leader of {called(shard)}; the coordinator is node {leaders[0]}")
    when = await reached(START_AGAIN)
    for number in (first, second):
        cluster.start(number)
    say(f"{when} started nodes {first} and {second} again")
    await cluster.wait_until_serving()


def report_traffic(receipts: Receipts, seconds: float) -> None:
    """Rate, latency, refusals and gaps."""
    low, high = np.percentile(receipts.latencies_ms, [50, 99])
    say(f"{receipts.done:,} payments in {seconds:.1f} s = {receipts.done / seconds:,.0f}/s, one a request")
    say(f"latency p50 {low:.1f} ms, p99 {high:.1f} ms")
    gaps = ", ".join(f"{gap:.0f}" for _, gap in sorted(receipts.gaps_ms.items()))
    say(f"longest time without an answer, by client: {gaps} ms")
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(receipts.reasons.items()))
    say(f"accepted {len(receipts.accepted):,}; refused {reasons or 'none'}; settled by id {receipts.settled:,}")


def report_checks(checks: Sequence[Check], seconds: float) -> int:
    """Prints the table; 0 when all hold."""
    say("the books, read back")
    rows = [{"": "holds" if check.holds else "FAILS", "check": check.name, "found": check.found} for check in checks]
    show(rows, "table")
    good = all(check.holds for check in checks)
    say(f"{'no cent lost' if good else 'THE BOOKS ARE WRONG'}, {seconds:.0f} s in all")
    return 0 if good else 1
