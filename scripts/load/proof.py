"""The demo's last part: reads the books back and holds them against every receipt."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from node.cli.shown import amount
from protocol.client import Client, CurrencyTotals, Report
from protocol.status import TRANSFERS_MAX
from scripts.load.customers import Receipts, customer_account, terminal_account

READERS = 32  # histories read, or outcomes settled, at once
CURRENCY = "EUR"
CATCH_UP_SECONDS = 30.0  # for nodes that were away
POLL_SECONDS = 0.1

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the result."""

    name: str
    found: str
    holds: bool


@dataclass(frozen=True, slots=True)
class Expected:
    """What the books must hold."""

    customers: Sequence[str]
    terminals: Sequence[str]
    funding: int  # of each customer, in minor units
    receipts: Receipts


async def prove(client: Client, expected: Expected, progress: Callable[[int], None]) -> list[Check]:
    """Every check; `progress` is told how many histories were read."""
    accounts = [*map(customer_account, expected.customers), *map(terminal_account, expected.terminals)]
    report = await settled_audit(client)
    found = await _histories(client, accounts[: len(expected.customers)], progress)
    balances = {}
    for start in range(0, len(accounts), TRANSFERS_MAX):
        for row in await client.accounts(accounts[start : start + TRANSFERS_MAX]):
            if row is not None:
                balances[row.id] = row.posted
    return [*_payments(expected.receipts, found), *_balances(expected, balances), *check_report(report)]


async def settled_audit(client: Client) -> Report:
    """An audit to which every replica contributes: those that were away are given time to catch up, and rounds to end."""
    deadline = time.monotonic() + CATCH_UP_SECONDS
    while True:
        report = await client.audit()
        missing = any(digest is None for shard in report.shards for digest in shard.digests.values())
        is_at_rest = not any(row.in_flight for row in report.currencies.values())
        if (is_at_rest and not missing) or time.monotonic() > deadline:
            return report
        await asyncio.sleep(POLL_SECONDS)


async def side_by_side(items: Iterable[Item], work: Callable[[Item], Awaitable[None]]) -> None:
    """Does the work for each item, for `READERS` of them at once."""

    async def go_on(queue: Iterator[Item]) -> None:
        for item in queue:
            await work(item)

    queue = iter(items)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(READERS):
            tasks.create_task(go_on(queue))


async def _histories(client: Client, accounts: Sequence[str], progress: Callable[[int], None]) -> Counter[int]:
    """How often each transfer id stands in the histories."""
    found: Counter[int] = Counter()

    async def read(account: str) -> None:
        async for entry in client.history(account):
            found[entry.id] += 1
        progress(1)

    await side_by_side(accounts, read)
    return found


def _payments(receipts: Receipts, found: Counter[int]) -> list[Check]:
    once = sum(found[id] == 1 for id in receipts.accepted)
    lost = sum(found[id] == 0 for id in receipts.accepted)
    booked = sum(found[id] > 0 for id in receipts.refused)
    accepted = len(receipts.accepted)
    return [
        Check(
            "each accepted payment is there once",
            f"{once:,} of {accepted:,}, {lost:,} lost, {accepted - once - lost:,} doubled",
            once == accepted,
        ),
        Check("no refused payment is there", f"{booked:,} of {len(receipts.refused):,} are", booked == 0),
    ]


def _balances(expected: Expected, balances: dict[str, int]) -> list[Check]:
    model = {customer_account(name): expected.funding for name in expected.customers}
    model.update({terminal_account(name): 0 for name in expected.terminals})
    for payment in expected.receipts.accepted.values():
        model[customer_account(payment.customer)] -= payment.amount_cents
        model[terminal_account(payment.terminal)] += payment.amount_cents
    right = sum(balances.get(account) == posted for account, posted in model.items())
    lowest = min(balances[customer_account(name)] for name in expected.customers)
    return [
        Check("balances are the receipts' sums", f"{right:,} of {len(model):,}", right == len(model)),
        Check("no customer is below zero", f"lowest {amount(lowest, CURRENCY)}", lowest >= 0),
    ]


def check_report(report: Report) -> list[Check]:
    """Whether the books balance, with nothing in flight, and all replicas are equal."""
    checks = [
        Check(f"{row.currency} debits equal credits", _sums(row), row.balanced and row.in_flight == 0)
        for row in report.currencies.values()
    ]
    replicas = [digest for shard in report.shards for digest in shard.digests.values()]
    equal = all(len(dict.fromkeys(shard.digests.values())) == 1 and shard.agrees for shard in report.shards)
    known = sum(digest is not None for digest in replicas)
    text = f"{known} of {len(replicas)} replicas, {'all equal' if equal else 'not all equal'}"
    return [*checks, Check("replicas agree by hash", text, equal)]


def _sums(row: CurrencyTotals) -> str:
    debits, credits, in_flight = (amount(sum, row.currency) for sum in (row.debits, row.credits, row.in_flight))
    return f"{f'{debits} each' if debits == credits else f'{debits} and {credits}'}, {in_flight} in flight"
