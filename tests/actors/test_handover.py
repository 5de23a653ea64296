"""Leaderships that are sent home to a node that does not take them."""

from __future__ import annotations

import asyncio

import pytest

from node.actors.handover import TICKS_UP
from node.notices import ElectionWon
from protocol.status import Status
from tests.actors.quiet import World, play


@pytest.mark.parametrize("group", [0, 1])
def test_a_home_that_stands_still_stops_nobody_for_long(group: int) -> None:
    """Its connection stays open and it lacks nothing, so it looks fit to lead; each attempt makes the group refuse work."""

    async def story(world: World) -> None:
        payer, payee = world.name_in(1, "g"), world.name_in(2 if group == 0 else 1, "t")
        await world.open(payer, payee, funds=1_000)
        home = world.leader(group)
        world.cluster.crash(home)
        await world.until(lambda: world.cluster.leader_of(group) not in (None, home), "another leads")
        handover = world.node(world.leader(group))._handover
        await world.until(lambda: home not in handover._ticks_up, "its end is noticed")
        world.cluster.start(home)
        ticks_up = TICKS_UP - 2
        await world.until(lambda: handover._ticks_up.get(home, 0) >= ticks_up, "home is about to lead again")
        assert world.leader(group) != home
        world.cluster.pause(home)
        await world.until(lambda: home not in handover._ticks_up, "the attempt has failed, and it is missed")
        for _ in range(5):
            assert (await world.client.transfer(payer, payee, 1, timeout=3.0)).status == Status.created
            await asyncio.sleep(1.0)
        world.cluster.resume(home)
        await world.until(world.is_home, "leadership goes home")
        assert (await world.client.account(payee)).posted == 1_005

    play(story, shards=2)


def test_after_a_start_of_all_leaderships_are_at_home() -> None:
    """Replicas take turns from the start: nobody waits for an election timeout, and nothing has to be sent home."""

    async def story(world: World) -> None:
        groups = range(len(world.cluster.placement.replicas))
        for number in world.cluster.hosts:
            world.cluster.crash(number)
        for number in world.cluster.hosts:
            world.cluster.start(number)
        await world.until(lambda: all(world.cluster.leader_of(group) for group in groups), "all groups are led")
        homes = [replicas[0] for replicas in world.cluster.placement.replicas]
        assert [world.leader(group) for group in groups] == homes

    play(story, shards=6)


def test_a_node_that_stops_is_not_sent_home_what_it_gave_away() -> None:
    """All is calm and it is still connected while it waits for its successors: each leadership changes hands once."""

    async def story(world: World) -> None:
        leaver = world.leader(0)
        await world.until(world.is_home, "leaderships are at home")
        await asyncio.sleep(5.0)
        led = [group for group in range(7) if world.leader(group) == leaver]
        world.forget()
        world.cluster.stop(leaver)
        await world.until(lambda: not world.cluster.hosts[leaver].is_up, "it has stopped")
        won = [notice.group for _, notice in world.told_by_all(ElectionWon)]
        assert sorted(won) == led and len(led) >= 3

    play(story, shards=6)
