"""Allowances on production actors: who asks, who hears, and what a quiet shard does."""

from __future__ import annotations

import asyncio

from node.core.clocks import QUIET_NS
from protocol.client import Client
from protocol.errors import Refused
from protocol.status import AllowanceStatus
from tests.actors.quiet import World, play
from tests.simulation.cluster import BASE_PORT

ZONE = "Pacific/Auckland"


def test_an_allowance_alone_keeps_no_shard_busy() -> None:
    """Its day ends by the wall clock: nobody has to be told how much time has been counted."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=1_000)
        await world.client.set_allowance("a", 100, zone=ZONE)
        leader = world.replica(world.leader(1), 1)
        before = leader.statistics().last_index
        await asyncio.sleep(4 * QUIET_NS / 1e9)
        assert leader.statistics().last_index == before

    play(story)


def test_changes_from_two_sides_follow_each_other() -> None:
    """Whoever comes second reads again: both happen, one after the other, and the last one counts."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=1_000)
        async with Client([f"127.0.0.1:{BASE_PORT + place}" for place in range(3)]) as other:
            statuses = await asyncio.gather(
                world.client.set_allowance("a", 100, zone=ZONE), other.set_allowance("a", 200, zone="UTC")
            )
            assert list(statuses) == [AllowanceStatus.set] * 2
            found = await other.allowance("a")
        assert found is not None and (found.amount, found.zone) in ((100, ZONE), (200, "UTC"))

    play(story)


def test_a_failover_keeps_what_was_paid() -> None:
    """The next leader counts on."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=1_000)
        await world.client.set_allowance("a", 100, zone=ZONE)
        await world.client.transfer("a", "b", 60)
        world.cluster.crash(world.leader(1))
        try:
            await world.client.transfer("a", "b", 41)
        except Refused as refused:
            assert refused.status == "exceeds_allowance"
        else:
            raise AssertionError("more than the allowance was paid out")
        await world.client.transfer("a", "b", 40)
        found = await world.client.allowance("a")
        assert found is not None and (found.paid, found.available) == (100, 0)

    play(story)
