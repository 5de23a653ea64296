"""What a thief, a careless client or bad luck would try against real nodes, and what must come of it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest

from protocol.client import Client, Report
from protocol.errors import Busy, Refused
from protocol.placement import group_of
from protocol.status import AMOUNT_MAX, Status
from scripts.local import LocalCluster
from tests.e2e.nodes import running

SHARDS = 2
AUDITS = 24
PAYMENTS = 40


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Three real processes, every shard on each."""
    with running(3, SHARDS) as cluster:
        yield cluster


def name_in(shard: int, stem: str) -> str:
    """An account id of that shard."""
    return next(name for name in (f"{stem}{n}" for n in range(99)) if group_of(name, SHARDS) == shard)


async def opened(client: Client, *names: str) -> None:
    """Accounts without limits."""
    for name in names:
        await client.create_account(name, "EUR", minimum_balance=None)


async def test_sums_beyond_64_bits_stop_nobody(cluster: LocalCluster) -> None:
    """The largest amounts to and fro, within a shard and across; what is held up to the end of the range; then a restart of all."""
    a, near, far = name_in(1, "huge"), name_in(1, "near"), name_in(2, "far")
    async with cluster.client() as client:
        await opened(client, a, near, far)
        for payee in (near, far):
            for _ in range(3):
                await client.transfer(a, payee, AMOUNT_MAX)
                await client.transfer(payee, a, AMOUNT_MAX)
        await client.transfer(far, a, AMOUNT_MAX)
        for payee in (near, far):
            await client.hold(a, payee, AMOUNT_MAX, ttl=600)
        await client.hold(a, near, 1, ttl=600)
        with pytest.raises(Refused, match="overflows_debit_account"):
            await client.hold(a, near, 1, ttl=600)
        report = await client.audit()
        assert report.balanced and report.currencies["EUR"].debits >= 13 * AMOUNT_MAX
    for node in cluster.nodes():
        node.send(signal.SIGKILL)
    for node in cluster.nodes():
        assert node.wait_until_gone(10)
        cluster.start(node.number)
    await cluster.wait_until_serving()
    async with cluster.client() as client:
        account = await client.account(a)
        assert (account.posted, account.held) == (AMOUNT_MAX, 2 * AMOUNT_MAX + 1)
        assert (await client.audit()).balanced


async def audited(client: Client) -> Report:
    """An audit, once the node has room for it."""
    while True:
        try:
            return await client.audit()
        except Busy as busy:
            await asyncio.sleep(busy.retry_after)


async def test_many_audits_at_once_raise_no_alarm(cluster: LocalCluster) -> None:
    """Each finds the digests of its own cut, however many others were made meanwhile."""
    payer, payee = name_in(1, "payer"), name_in(2, "payee")
    async with cluster.client() as client:
        await opened(client, payer, payee)
        payments = [client.transfer(payer, payee, 1) for _ in range(PAYMENTS)]
        reports, _ = await asyncio.gather(
            asyncio.gather(*(audited(client) for _ in range(AUDITS))), asyncio.gather(*payments)
        )
        assert all(report.balanced for report in reports)


async def test_the_same_id_through_every_node_at_once(cluster: LocalCluster) -> None:
    """One payment, whoever is asked: one says `created`, the others `exists`; what was paid can be spent at once anywhere."""
    world, purse, shop = name_in(1, "mint"), name_in(2, "purse"), name_in(1, "shop")
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(cluster.client(addresses=[address])) for address in cluster.addresses
        ]
        await opened(clients[0], world)
        for name in (purse, shop):
            await clients[0].create_account(name, "EUR")
        for turn in range(10):
            id = clients[0].new_id()
            receipts = await asyncio.gather(*(one.transfer(world, purse, 7, id=id) for one in clients * 3))
            assert sorted(receipt.status for receipt in receipts) == [Status.created] + [Status.exists] * 8
            assert await clients[turn % 3].outcome(id, world) == Status.created
            spending = clients[(turn + 1) % 3]
            await spending.transfer(purse, shop, 7)
            seen = await clients[(turn + 2) % 3].snapshot([purse, shop])
            assert [account.posted for account in seen] == [0, 7 * (turn + 1)]
