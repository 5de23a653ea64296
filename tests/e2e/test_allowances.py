"""Allowances on real processes: many clients at one of them while nodes are killed, and it is exact to the cent."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator

import pytest

from protocol.client import Client
from protocol.errors import Busy, OutcomeUnknown, Refused, Unreachable
from protocol.placement import group_of
from protocol.status import AllowanceStatus, Status
from scripts.local.cluster import LocalCluster
from tests.e2e.nodes import running

SHARDS = 4
CLIENTS = 64
ALLOWANCE = 20_000
AMOUNT_MAX = 60
SHOPS = [f"shop{number}" for number in range(8)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Five nodes, three replicas."""
    with running(5, SHARDS, replication=3) as cluster:
        yield cluster


async def spend(client: Client, generator: random.Random) -> int:
    """Pays until not even a cent is left; what has been paid."""
    paid, amount = 0, generator.randint(1, AMOUNT_MAX)
    while True:
        id, shop = client.new_id(), generator.choice(SHOPS)
        try:
            await client.transfer("spender", shop, amount, id=id, timeout=20)
            paid += amount
            amount = generator.randint(1, amount)
        except Refused as refused:
            assert refused.status == Status.exceeds_allowance.name, refused
            if amount == 1:
                return paid
            amount //= 2
        except OutcomeUnknown:
            paid += amount if await settled(client, id) else 0
        except (Busy, Unreachable):
            pass


async def settled(client: Client, id: int) -> bool:
    """Whether a payment of unknown outcome has happened."""
    while True:
        try:
            return await client.outcome(id, "spender", timeout=20) == Status.created
        except (Busy, OutcomeUnknown, Unreachable):
            pass


async def kill_often(cluster: LocalCluster, client: Client, killed: list[int], done: asyncio.Event) -> None:
    """The leader of the spender's shard and the coordinator by turns, until all is done; each comes back."""
    group = group_of("spender", SHARDS)
    while not done.is_set():
        await asyncio.sleep(0.3)
        status = await client.cluster(timeout=20)
        victim = status.leaders[group] if len(killed) % 2 else status.coordinator
        if victim:
            cluster.kill(victim)
            killed.append(victim)
            await asyncio.sleep(1.0)
            cluster.start(victim)
            await cluster.wait_until_serving()


async def test_many_clients_never_exceed_it_and_use_it_up(cluster: LocalCluster) -> None:
    """Within the shard and over all of them, with leaders and coordinators killed: not a cent too much, not a cent left."""
    async with Client(",".join(cluster.addresses), timeout=20) as client:
        await client.create_account("world", "EUR", minimum_balance=None)
        for name in ("spender", *SHOPS):
            await client.create_account(name, "EUR")
        await client.transfer("world", "spender", 10 * ALLOWANCE)
        assert await client.set_allowance("spender", ALLOWANCE, zone="Pacific/Auckland") == AllowanceStatus.set
        generator, killed, done = random.Random(7), list[int](), asyncio.Event()
        killing = asyncio.create_task(kill_often(cluster, client, killed, done))
        spending = [spend(client, random.Random(generator.random())) for _ in range(CLIENTS)]
        paid = sum(await asyncio.gather(*spending))
        done.set()
        await killing
        assert killed
        allowance = await client.allowance("spender")
        assert allowance is not None
        assert (paid, allowance.paid, allowance.available) == (ALLOWANCE, ALLOWANCE, 0)
        assert (await client.account("spender")).posted == 9 * ALLOWANCE
        assert (await client.audit()).balanced
