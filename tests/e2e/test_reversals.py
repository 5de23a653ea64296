"""Reversals on real processes: many clients give back one payment while nodes are killed, and it is exact to the cent."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator

import pytest

from protocol.client import Client
from protocol.errors import Busy, OutcomeUnknown, Refused, Unreachable
from protocol.placement import group_of
from protocol.status import Status
from scripts.local.cluster import LocalCluster
from tests.e2e.nodes import running

SHARDS = 4
CLIENTS = 16
PAID = 3_000
ABOUT: dict[str, str | int | bool] = {"order": "A-17", "count": 3}
LEFT = ("exceeds_reversible_amount", "transfer_already_reversed")


def names() -> tuple[str, str]:
    """A payer and a shop of different shards."""
    shops = (f"shop{number}" for number in range(99))
    return "payer", next(shop for shop in shops if group_of(shop, SHARDS) != group_of("payer", SHARDS))


async def give_back(client: Client, paid: int, generator: random.Random) -> int:
    """Reverses parts of the payment until not even a cent is left; how much."""
    payer, shop = names()
    given, amount = 0, generator.randint(1, 60)
    while True:
        id = client.new_id()
        try:
            await client.transfer(shop, payer, amount, id=id, reverses=paid, currency="EUR", metadata=ABOUT, timeout=20)
            given += amount
            amount = generator.randint(1, amount)
        except Refused as refused:
            assert refused.status in LEFT, refused
            if amount == 1:
                return given
            amount //= 2
        except OutcomeUnknown:
            given += amount if await settled(client, id, shop) else 0
        except (Busy, Unreachable):
            pass


async def settled(client: Client, id: int, debit: str) -> bool:
    """Whether a reversal of unknown outcome has happened."""
    while True:
        try:
            return await client.outcome(id, debit, timeout=20) == Status.created
        except (Busy, OutcomeUnknown, Unreachable):
            pass


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Three nodes."""
    with running(3, SHARDS) as made:
        yield made


async def test_many_clients_give_back_exactly_what_was_paid(cluster: LocalCluster) -> None:
    """The leader of the payer's shard and the coordinator are killed on the way: not a cent too much, not a cent left."""
    payer, shop = names()
    async with Client(",".join(cluster.addresses), timeout=20) as client:
        await client.create_account("world", "EUR", minimum_balance=None)
        for name in (payer, shop):
            await client.create_account(name, "EUR")
            await client.transfer("world", name, 10 * PAID, currency="EUR")
        paid = (await client.transfer(payer, shop, PAID)).id
        generator = random.Random(5)
        giving = [
            asyncio.create_task(give_back(client, paid, random.Random(generator.random()))) for _ in range(CLIENTS)
        ]
        for group in (group_of(payer, SHARDS), 0):
            await asyncio.sleep(0.2)
            victim = (await client.cluster(timeout=20)).leaders[group]
            cluster.kill(victim)
            await asyncio.sleep(1.0)
            cluster.start(victim)
            await cluster.wait_until_serving()
        assert sum(await asyncio.gather(*giving)) == PAID
        entries = [entry async for entry in client.history(payer)]
        back = [entry for entry in entries if entry.reverses == paid]
        assert sum(entry.amount for entry in back) == PAID and all(entry.metadata == ABOUT for entry in back)
        assert (await client.account(payer)).posted == (await client.account(shop)).posted == 10 * PAID
        assert (await client.audit()).balanced
