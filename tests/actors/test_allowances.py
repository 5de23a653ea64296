"""Allowances on production actors: who asks, who hears, and what a quiet shard does."""

from __future__ import annotations

import asyncio

import pytest

from node.core.clocks import QUIET_NS
from protocol.client import Capture, Client, Transfer, Void
from protocol.errors import Refused
from protocol.status import AllowanceStatus
from tests.actors.quiet import World, play
from tests.actors.test_clocks import HOUR_NS, set_ahead
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


@pytest.mark.parametrize("is_void", [True, False])
def test_what_an_answered_round_has_given_back_is_told(*, is_void: bool) -> None:
    """Whoever has the answer to its transaction reads an allowance that knows of it."""

    async def story(world: World) -> None:
        payer, shop, far = world.name_in(1, "payer"), world.name_in(1, "shop"), world.name_in(2, "far")
        await world.open(payer, shop, far, funds=1_000)
        await world.client.set_allowance(payer, 100, zone=ZONE)
        hold = await world.client.hold(payer, shop, 80, ttl=600)
        end = (
            Void(hold.id, debit=payer, credit=shop)
            if is_void
            else Capture(hold.id, 1, final=True, debit=payer, credit=shop)
        )
        await world.client.transaction([end, Transfer(shop, far, 1)])
        found = await world.client.allowance(payer)
        assert found is not None and found.paid == (0 if is_void else 1)

    play(story, shards=2)


def test_a_day_that_the_log_has_not_reached_is_nobodys_work() -> None:
    """All clocks step a day forward, and stamps follow slowly: nothing is due before they are there."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=1_000)
        await world.client.set_allowance("a", 100, zone=ZONE)
        for number in world.cluster.hosts:
            set_ahead(world, number, 24 * HOUR_NS)
        await asyncio.sleep(5)
        leader = world.replica(world.leader(1), 1)
        before = leader.statistics().last_index
        await asyncio.sleep(10)
        assert leader.statistics().last_index == before

    play(story)
