"""Two of three machines are put back; the third knows that, and nothing of what they have acknowledged since."""

from __future__ import annotations

import asyncio

import pytest

from protocol.errors import RingpayError
from tests.actors.quiet import World, play
from tests.actors.test_old_folders import pay


def are_clear(world: World) -> bool:
    """Whether all nodes know of each other's starts."""
    return all(world.node(number).doubts.is_clear for number in world.cluster.hosts)


async def forget_five(world: World, third: int, *others: int) -> None:
    """Two nodes acknowledge five payments without the third, and are put back to before; all are started again."""
    world.cluster.crash(third)
    await pay(world, 5)
    for number in others:
        world.cluster.crash(number)
        world.cluster.hosts[number].drive.put_back(as_files=False)
    for number in world.cluster.hosts:
        world.cluster.start(number)


async def serves_nothing(world: World) -> None:
    """A payment is not taken: nobody can know what is missing."""
    with pytest.raises(RingpayError):
        await world.client.transfer("a", "b", 1, timeout=15.0)


def test_two_that_were_put_back_do_not_go_on_without_what_they_have_forgotten() -> None:
    """Their logs end where the third one's does, or in an earlier term."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=1_000)
        leader, (one, third) = world.leader(1), world.followers(1)
        for number in (leader, one):
            world.cluster.hosts[number].drive.copy()
            await world.restart(number)
        await world.until(lambda: are_clear(world) and world.is_home() and world.is_level(1), "all have met")
        await forget_five(world, third, leader, one)
        await serves_nothing(world)

    play(story)


def test_an_old_folder_does_not_end_its_doubt_by_its_own_log() -> None:
    """It is as long, and as late, as that of the third: no leader has brought it there, and what both lack was acknowledged."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=1_000)
        leader, (one, third) = world.leader(1), world.followers(1)
        world.cluster.hosts[leader].drive.copy()
        await world.restart(leader)
        await world.until(lambda: are_clear(world), "all have met")
        await world.until(lambda: world.is_home() and world.is_level(1) and world.leader(1) == leader, "home")
        await pay(world, 1)
        await world.until(lambda: world.is_level(1), "level")
        await asyncio.sleep(5.0)  # of virtual time: all is told and stored
        if world.leader(0) == one:  # the other's restart would bring an entry: another coordinator
            one, third = third, one
        world.cluster.hosts[one].drive.copy()
        await world.restart(one)
        await world.until(lambda: are_clear(world) and world.is_level(1), "all know of its start")
        await forget_five(world, third, leader, one)
        await serves_nothing(world)

    play(story)


def test_nobody_who_may_be_old_himself_chooses_one_in_doubt() -> None:
    """The third reaches only one of the two, which have told each other nothing; the other does not know yet that it is old."""

    async def story(world: World) -> None:
        third = world.leader(0)  # another coordinator would bring an entry
        group = next(group for group in range(1, 4) if world.leader(group) == third)
        a, b = (world.name_in(group, stem) for stem in "ab")
        await world.open(a, b, funds=1_000)
        one, other = world.followers(group)
        await world.until(lambda: world.is_level(group), "level")
        end = world.replica(third, group).raft.durable_end
        for number in (one, other):
            world.cluster.hosts[number].drive.copy()
        for number in (one, other):
            await world.restart(number)
        await world.until(lambda: are_clear(world) and world.is_home(), "all have met")
        assert world.replica(third, group).raft.durable_end == end, "their logs end where the third one's does"
        world.cluster.crash(third)
        for _ in range(5):
            await world.client.transfer(a, b, 1)
        for number in (one, other):
            world.cluster.crash(number)
            world.cluster.hosts[number].drive.put_back(as_files=False)
        for pair in ((other, third), (third, other)):
            world.network.block(*pair)
        for number in world.cluster.hosts:
            world.cluster.start(number)
        for is_known in (False, True):
            with pytest.raises(RingpayError):
                await world.client.transfer(a, b, 1, timeout=15.0)
            in_doubt = {n for n in world.cluster.hosts if world.replica(n, group).raft.state.is_doubted}
            assert in_doubt == ({one, other} if is_known else {one})
            world.network.heal()

    play(story, shards=3)
