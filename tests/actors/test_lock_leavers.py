"""Clients that close, forget a lock or die: nobody waits for them longer than for an answer."""

from __future__ import annotations

import asyncio
import gc

import pytest

from node.actors.waiters import ABSENT_MS, GONE_MS
from protocol.client.locks import WITHDRAW_SECONDS
from tests.actors.quiet import World, play
from tests.simulation.loop import Owner

HOUR_SECONDS = 3_600.0
SLACK_SECONDS = 1.0  # for the network and ticks
TURN_MS = 2_000 + 500  # until a request that nobody waits for is answered, and that is noticed


def waiting(world: World, name: str) -> int:
    """How many claims stand in the queue behind the holder."""
    queue = world.node(world.leader(0))._desk._ports.locks().queues.get(name)
    return 0 if queue is None else len(queue.waiting)


async def wait_in_line(world: World, name: str, clients: int) -> list[Owner]:
    """So many clients, each a process of its own that waits for the lock."""
    owners = []
    for _ in range(clients):
        owner, client = world.cluster.client(timeout=10.0)
        await world.loop.spawn(owner, client.__aenter__())
        before = waiting(world, name)
        world.loop.spawn(owner, client.lock(name, ttl=HOUR_SECONDS).acquire())
        await world.until(lambda: waiting(world, name) == before + 1, "it waits")  # noqa: B023
        owners.append(owner)
    return owners


def test_a_client_that_closes_gives_its_locks_back() -> None:
    """It holds two, and does not come back to renew them."""

    async def story(world: World) -> None:
        _, other = world.cluster.client(timeout=10.0)
        async with other:
            first, second = other.lock("one", ttl=HOUR_SECONDS), other.lock("two", ttl=HOUR_SECONDS)
            await first.acquire()
            await second.acquire()
        assert not first.is_held and not second.is_held
        async with world.client.lock("one", wait=0), world.client.lock("two", wait=0):
            pass
        assert not other._calls._connections

    play(story)


def test_a_client_closes_though_nobody_takes_its_lock_back() -> None:
    """All nodes stand still: it is left to its time to live."""

    async def story(world: World) -> None:
        _, other = world.cluster.client(timeout=10.0)
        await other.lock("one", ttl=1.0).acquire()
        lock = other.lock("two", ttl=2.0)
        await lock.acquire()
        for number in world.cluster.hosts:
            world.cluster.pause(number)
        began = world.loop.time()
        await other.close()
        assert world.loop.time() - began < WITHDRAW_SECONDS + SLACK_SECONDS
        for number in world.cluster.hosts:
            world.cluster.resume(number)
        async with world.client.lock("two", wait=10):
            pass

    play(story)


def test_a_lock_that_nobody_has_any_more_is_not_renewed() -> None:
    """Its object is gone, so nobody could give it back."""

    async def story(world: World) -> None:
        await world.client.lock("one", ttl=3.0).acquire()
        gc.collect()
        kept = world.client.lock("two", ttl=3.0)
        await kept.acquire()
        began = world.loop.time()
        async with world.client.lock("one", wait=10):
            assert world.loop.time() - began < 3.0 + SLACK_SECONDS
        await asyncio.sleep(10.0)
        kept.check()

    play(story)


@pytest.mark.parametrize("clients", [1, 20])
def test_waiters_that_were_killed_hold_nobody_up(clients: int) -> None:
    """However many: they leave the queue together, long before their leases of an hour would end."""

    async def story(world: World) -> None:
        async with world.client.lock("till"):
            owners = await wait_in_line(world, "till", clients)
            behind = asyncio.ensure_future(world.client.lock("till", wait=60).acquire())
            await world.until(lambda: waiting(world, "till") == clients + 1, "somebody waits behind them")
            for owner in owners:
                world.loop.kill(owner)
                world.network.process_died(owner, silently=False)
            desk = world.node(world.leader(0))._desk
            await world.until(lambda: desk.statistics().parked == 1, "their connections have broken")
        began = world.loop.time()
        await behind
        assert world.loop.time() - began < GONE_MS / 1000 + SLACK_SECONDS

    play(story)


def test_waiters_that_fell_silent_leave_the_queue() -> None:
    """Their machine is gone, their connections stand: they do not ask again."""

    async def story(world: World) -> None:
        async with world.client.lock("till"):
            for owner in await wait_in_line(world, "till", 5):
                world.loop.kill(owner)
            await world.until(lambda: waiting(world, "till") == 0, "they have left")
        async with world.client.lock("till", wait=1):
            pass

    play(story)


def test_whoever_waits_stays_over_changes_of_leadership() -> None:
    """And while the leader stands still: waiting is long, but nobody who asks loses its place."""

    async def story(world: World) -> None:
        order: list[int] = []

        async def queue_up(number: int) -> None:
            async with world.client.lock("till", ttl=20):
                order.append(number)

        async with world.client.lock("till", ttl=20):
            turns = []
            for number in range(5):
                turns.append(asyncio.ensure_future(queue_up(number)))
                await world.until(lambda: waiting(world, "till") == number + 1, "it waits")  # noqa: B023
            for _ in range(2):
                leader = world.leader(0)
                world.cluster.crash(leader)
                await world.until(lambda: world.cluster.leader_of(0) not in (None, leader), "another leads")  # noqa: B023
                world.cluster.start(leader)
                await asyncio.sleep((ABSENT_MS + TURN_MS) / 1000)
            for number in world.cluster.hosts:
                world.cluster.pause(number)
            await asyncio.sleep(2 * ABSENT_MS / 1000)
            for number in world.cluster.hosts:
                world.cluster.resume(number)
            await world.until(lambda: world.cluster.leader_of(0) is not None, "somebody leads")
            await asyncio.sleep((ABSENT_MS + TURN_MS) / 1000)
            assert waiting(world, "till") == 5
        await asyncio.gather(*turns)
        assert order == [0, 1, 2, 3, 4]

    play(story)
