"""Subscriptions while a shard is away, on real processes: who follows waits for it, and hears of the others meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from protocol.client import Client
from protocol.errors import Unreachable
from protocol.placement import group_of
from scripts.local.cluster import LocalCluster
from tests.e2e.nodes import running

SHARDS = 2
TIMEOUT = 0.5  # of a call: the outage is longer
OUTAGES = 6  # of calls that fail meanwhile
PATIENCE_SECONDS = 30.0  # of a test: it fails then instead of hanging
HERE, THERE = (
    [f"{{{tag}}}{name}" for name in "ab"]
    for tag in sorted("pqrstuvwxyz", key=lambda tag: group_of(f"{{{tag}}}", SHARDS))[::10]
)


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    """Two nodes, each of which has one shard alone."""
    with running(2, SHARDS, replication=1) as cluster:
        yield cluster


async def test_a_follower_waits_for_a_shard_that_is_away(cluster: LocalCluster) -> None:
    """Longer than its calls may take; what happens elsewhere is told at once, and what happens there when it is back."""
    async with Client(cluster.addresses, timeout=TIMEOUT) as client:
        for name in (*HERE, *THERE):
            await client.create_account(name, "EUR", minimum_balance=None, timeout=PATIENCE_SECONDS)
        seen = await client.cluster(timeout=PATIENCE_SECONDS)
        away = next(
            group
            for group in (group_of(HERE[0], SHARDS), group_of(THERE[0], SHARDS))
            if seen.leaders[group] != seen.coordinator
        )
        lost, left = (HERE, THERE) if group_of(HERE[0], SHARDS) == away else (THERE, HERE)
        events = client.subscribe("transfers", cursor="newest")
        await events.begin()
        told = aiter(events)
        cluster.kill(seen.leaders[away])
        for amount in range(1, OUTAGES + 1):
            with pytest.raises(Unreachable):
                await client.account(lost[0])
            await client.transfer(left[0], left[1], amount, timeout=PATIENCE_SECONDS)
            event = await asyncio.wait_for(anext(told), PATIENCE_SECONDS)
            assert (event.data["debit"], event.data["amount"]) == (left[0], amount)
        with pytest.raises(Unreachable):
            [event async for event in client.subscribe("transfers", follow=False)]
        cluster.start(seen.leaders[away])
        await client.transfer(lost[0], lost[1], 77, timeout=PATIENCE_SECONDS)
        event = await asyncio.wait_for(anext(told), PATIENCE_SECONDS)
        assert (event.data["debit"], event.data["amount"]) == (lost[0], 77)
        await events.close()
