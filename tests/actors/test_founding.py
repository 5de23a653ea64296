"""How a cluster is founded: by all of its nodes, whoever dies in the middle."""

from __future__ import annotations

import asyncio

import pytest

from node.core.members import MemberTable
from node.notices import Waiting
from protocol.client import Client
from protocol.errors import Unreachable
from protocol.status import Status
from tests.actors.quiet import World, play
from tests.simulation.cluster import BASE_PORT

STEP_SECONDS = 0.02  # of virtual time, between the moments at which nodes die
SLOWNESS = 20_000.0  # of a disk, so that no write ends within so many looks, 10 ms apart
LOOKS = 600
STEPS = 40  # the whole of a founding, and what follows


def empty(world: World) -> None:
    """Nothing was ever there."""
    for number in world.cluster.hosts:
        world.cluster.crash(number)
        world.cluster.lose_data(number)


def belongs(world: World, number: int) -> bool:
    """Whether the node's folder says that it belongs to a cluster."""
    return bool(world.cluster.hosts[number].drive.folder.identity)


def has_voted(world: World, number: int) -> bool:
    """Whether group 0's log has something durable of the node."""
    stored = world.cluster.hosts[number].drive.disk.groups.get(0)
    return stored is not None and stored.hard_state.vote != 0


def registered(world: World, number: int) -> dict[int, int]:
    """By node the data folders that the node knows of."""
    table: MemberTable = world.node(number).members.table
    return {node: row.data_id for node, row in table.rows.items()}


async def serves(world: World) -> None:
    """Payments are taken."""
    async with Client([f"127.0.0.1:{BASE_PORT + place}" for place in range(3)], timeout=30.0) as client:
        world.client = client
        await world.open("a", "b", funds=1_000)
        assert (await client.transfer("a", "b", 1)).status == Status.created


async def waits(world: World, text: str, *, beside: int) -> None:
    """Nobody is served, and a client is told why."""
    addresses = [f"127.0.0.1:{BASE_PORT + number - 1}" for number in world.cluster.hosts if number != beside]
    with pytest.raises(Unreachable) as caught:
        async with Client(addresses, timeout=5.0):
            pass
    assert text in str(caught.value)
    assert not any(belongs(world, number) for number in world.cluster.hosts)


@pytest.mark.parametrize("victim", [1, 2, 3])
def test_a_node_that_dies_between_its_vote_and_its_registration_comes_back(victim: int) -> None:
    """With one other node alone, since both have taken part in group 0, which knows all three."""

    async def story(world: World) -> None:
        empty(world)
        for number in world.cluster.hosts:
            world.cluster.start(number)
        await world.until(lambda: has_voted(world, victim), "it has voted", look_every=0.0005)
        await world.until(
            lambda: any(len(registered(world, number)) == 3 for number in world.cluster.hosts), "all are known", 0.0005
        )
        world.cluster.crash(victim)
        assert not belongs(world, victim)
        rest = [number for number in world.cluster.hosts if number != victim]
        await world.until(lambda: all(belongs(world, number) for number in rest), "the others belong to the cluster")
        world.cluster.crash(rest[0])
        world.cluster.start(victim)
        await serves(world)

    play(story)


@pytest.mark.parametrize("slow", [1, 2, 3])
def test_nobody_registers_before_group_0_is_on_its_disk(slow: int) -> None:
    """Else it counts among those of whom any majority goes on, and comes back as one who took no part."""

    async def story(world: World) -> None:
        empty(world)
        drive = world.cluster.hosts[slow].drive
        for number in world.cluster.hosts:
            world.cluster.start(number)
        await world.until(
            lambda: slow in world.cluster.nodes() and 0 in world.node(slow).replicas, "all have met", 0.0005
        )
        drive.slowness = SLOWNESS
        known: set[int] = set()
        for _ in range(LOOKS):
            await asyncio.sleep(0.01)
            known = set().union(*(registered(world, number) for number in world.cluster.hosts))
            assert slow not in known
        assert known == set(world.cluster.hosts) - {slow}
        drive.slowness = 1.0
        await serves(world)

    play(story)


@pytest.mark.parametrize("victim", [1, 2, 3])
def test_a_node_that_has_not_registered_is_waited_for(victim: int) -> None:
    """Though it was there and the other two are a majority, which has registered."""

    async def story(world: World) -> None:
        empty(world)
        for number in world.cluster.hosts:
            world.cluster.start(number)
        await world.until(
            lambda: any(0 in node.replicas for node in world.cluster.nodes().values()),
            "all have met",
            look_every=0.0005,
        )
        world.cluster.crash(victim)
        rest = [number for number in world.cluster.hosts if number != victim]
        await world.until(
            lambda: all(sorted(registered(world, number)) == rest for number in rest), "two have registered"
        )
        await waits(world, f"expected node {victim} to be started", beside=victim)
        world.cluster.start(victim)
        await serves(world)

    play(story)


@pytest.mark.parametrize("missing", [1, 2, 3])
def test_nothing_is_served_before_all_nodes_have_come_once(missing: int) -> None:
    """A node that was never there is named by the others, in their logs and to their clients; it comes, and all is well."""

    async def story(world: World) -> None:
        empty(world)
        world.forget()
        for number in world.cluster.hosts:
            if number != missing:
                world.cluster.start(number)
        await waits(world, f"expected node {missing} to be started", beside=missing)
        told = world.told_by_all(Waiting)
        assert [node for node, _ in told] == [number for number in world.cluster.hosts if number != missing]
        assert all(f"node {missing}" in notice.reason for _, notice in told)
        assert not any(host.drive.disk.groups for host in world.cluster.hosts.values())
        world.cluster.start(missing)
        await serves(world)

    play(story)


def test_two_lost_folders_found_no_second_cluster() -> None:
    """Who is away knows what they have forgotten; it comes back and refuses both, which both tell."""

    async def story(world: World) -> None:
        for number in world.cluster.hosts:
            world.cluster.crash(number)
        for number in (1, 2):
            world.cluster.lose_data(number)
            world.cluster.start(number)
        for text in ("expected node 3 to be started", "lost what it acknowledged"):
            with pytest.raises(Unreachable) as caught:
                async with Client(f"127.0.0.1:{BASE_PORT}", timeout=5.0):
                    pass
            assert text in str(caught.value)
            assert not belongs(world, 1) and not belongs(world, 2)
            world.cluster.start(3)

    play(story)


@pytest.mark.parametrize("beside", [0, 1, 2, 3])
def test_all_nodes_die_at_any_moment(beside: int) -> None:
    """Any two go on if one of the three belongs to the cluster by then, be it the one that is away, and all three whatever was."""

    async def story(world: World) -> None:
        outcomes = set()
        for step in range(STEPS):
            empty(world)
            for number in world.cluster.hosts:
                world.cluster.start(number)
            await asyncio.sleep(STEP_SECONDS * step)
            for number in world.cluster.hosts:
                world.cluster.crash(number)
            alive = [number for number in world.cluster.hosts if number != beside]
            is_founded = any(belongs(world, number) for number in world.cluster.hosts)
            outcomes.add(is_founded)
            for number in alive:
                world.cluster.start(number)
            if not is_founded and beside:
                await asyncio.sleep(1.0)
                world.cluster.start(beside)
            await serves(world)
            folders = [world.cluster.hosts[number].drive.folder for number in alive]
            assert len({folder.identity for folder in folders}) == 1
        assert outcomes == {True, False}

    play(story)


def test_two_go_on_without_the_only_one_that_belongs() -> None:
    """They have registered, and know it from nobody but group 0, in which both take part from the start on."""

    async def story(world: World) -> None:
        empty(world)
        numbers = list(world.cluster.hosts)
        for number in numbers:
            world.cluster.start(number)
        await world.until(lambda: any(belongs(world, number) for number in numbers), "one belongs", look_every=0.0001)
        rest = [number for number in numbers if not belongs(world, number)]
        for number in numbers:
            world.cluster.crash(number)
        assert len(rest) == 2
        for number in rest:
            world.cluster.start(number)
        await serves(world)

    play(story)


def test_one_node_dies_over_and_over_while_a_cluster_is_founded() -> None:
    """At moments that drift through all of its steps."""

    async def story(world: World) -> None:
        empty(world)
        for number in world.cluster.hosts:
            world.cluster.start(number)
        for step in range(1, STEPS):
            victim = step % 3 + 1
            await asyncio.sleep(0.03 * step)
            world.cluster.crash(victim)
            world.cluster.start(victim)
        await serves(world)

    play(story)


def test_a_cluster_of_one_node_founds_itself() -> None:
    """There is nobody else to be asked, and nobody who would know if its folder were lost."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=1_000)
        await world.restart(1)
        assert (await world.client.transfer("a", "b", 1)).status == Status.created

    play(story, nodes=1)
