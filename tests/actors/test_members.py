"""Who belongs to a cluster: new folders, other settings, other clusters, damaged memories."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from node.adapters.memory import MemoryFolder
from node.core.members import MemberTable
from protocol.client import Client
from protocol.errors import ErrorCode, ProtocolError, RingpayError, Unreachable
from protocol.status import Status
from tests.actors.quiet import World, play
from tests.simulation.cluster import BASE_PORT
from tests.simulation.disks import Drive


def folder(world: World, number: int) -> MemoryFolder:
    """What a node's folder says of itself."""
    return world.cluster.hosts[number].drive.folder


def start_with(world: World, number: int, **settings: Any) -> None:
    """A host's process is started with other settings of the cluster than the others."""
    shared = world.cluster.config
    world.cluster.config = replace(shared, cluster=replace(shared.cluster, **settings))
    world.cluster.start(number)
    world.loop.call_soon(setattr, world.cluster, "config", shared)


def renew(world: World) -> None:
    """All hosts stop, and start anew on empty disks: another cluster of the same name and addresses."""
    for number, host in world.cluster.hosts.items():
        world.cluster.crash(number)
        host.drive = Drive(host.random)
        world.cluster.start(number)


# -- a cluster's identity -----------------------------------------------------------------------------------------


def test_a_cluster_gets_one_identity() -> None:
    """All nodes store the same one, and the folders of all; a restart keeps it."""

    async def story(world: World) -> None:
        numbers = list(world.cluster.hosts)
        await world.until(lambda: all(len(folder(world, n).table[2]) == 3 for n in numbers), "all have registered")
        (identity,) = {folder(world, number).identity for number in numbers}
        assert identity
        for number in numbers:
            table = MemberTable.unpack(folder(world, number).table)
            assert {node: row.data_id for node, row in table.rows.items()} == {
                n: folder(world, n).data_id for n in numbers
            }
            await world.restart(number)
        assert {node.members.identity for node in world.cluster.nodes().values()} == {identity}

    play(story)


def test_two_clusters_have_two_identities() -> None:
    """Though everything else about them is the same."""
    identities: list[int] = []

    async def story(world: World) -> None:
        identities.append(folder(world, 1).identity)
        renew(world)
        await world.until(lambda: folder(world, 1).identity, "another cluster is made")
        identities.append(folder(world, 1).identity)

    play(story)
    assert len(set(identities)) == 2


def test_a_client_never_takes_another_cluster_for_its_own() -> None:
    """Neither balances nor what became of a payment: the payment happened, and is never called cancelled."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=1_000)
        receipt = await world.client.transfer("a", "b", 1)
        renew(world)
        calls = (
            lambda: world.client.account("a"),
            lambda: world.client.outcome(receipt.id, "a"),
            lambda: world.client.transfer("a", "b", 1),
        )
        async with Client(f"127.0.0.1:{BASE_PORT}") as stranger:
            await stranger.create_account("a", "EUR")
            for call in calls:
                with pytest.raises(ProtocolError) as caught:
                    await call()
                assert caught.value.code is ErrorCode.wrong_cluster
                assert "another cluster has taken these addresses" in str(caught.value)

    play(story)


def test_a_client_can_be_told_which_cluster_it_must_be() -> None:
    """What one client has learnt, another one in a later process refuses all others by, at the first word."""

    async def story(world: World) -> None:
        address = f"127.0.0.1:{BASE_PORT}"
        name = world.client.cluster_name
        assert name == f"simulated/{folder(world, 1).identity:016x}"
        async with Client(address, cluster=name) as again:
            await again.create_account("a", "EUR")
        renew(world)
        with pytest.raises(ProtocolError) as caught:
            async with Client(address, cluster=name, timeout=20.0):
                pass
        assert caught.value.code is ErrorCode.wrong_cluster and name.partition("/")[2] in str(caught.value)

    play(story)


def test_a_client_passes_over_a_node_of_another_cluster() -> None:
    """One address of several leads elsewhere: the others answer, whoever leads."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=1_000)
        lost = world.leader(1)
        world.cluster.crash(lost)
        folder(world, lost).identity += 1
        for peer in world.cluster.hosts:
            world.network.block(lost, peer)  # or it would be told, and stop
            world.network.block(peer, lost)
        world.cluster.start(lost)
        await world.until(lambda: world.is_serving(lost), "it answers clients")
        for amount in range(1, 20):
            assert (await world.client.transfer("a", "b", amount)).status == Status.created

    play(story)


def test_a_node_of_another_cluster_takes_no_part() -> None:
    """It says so and stops; the cluster goes on without it."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=1_000)
        lost = world.followers(1)[0]
        world.cluster.crash(lost)
        folder(world, lost).identity += 1
        world.cluster.start(lost)
        await world.until(lambda: not world.cluster.hosts[lost].is_up, "the node stops")
        assert "another cluster" in str(world.broken.pop().exceptions[0])  # type: ignore[attr-defined]
        assert (await world.client.transfer("a", "b", 1)).status == Status.created

    play(story)


# -- settings -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings", [{"replication": 1}, {"shards": 2}, {"nodes": 5}, {"base_port": BASE_PORT, "host": "localhost"}]
)
def test_a_fresh_node_with_other_settings_serves_nothing(settings: dict[str, Any]) -> None:
    """It stops, naming the setting; the others, which have a majority, notice nothing but a line in their logs."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=1_000)
        lost = world.followers(1)[0]
        world.cluster.crash(lost)
        world.cluster.lose_data(lost)
        start_with(world, lost, **settings)
        await world.until(lambda: not world.cluster.hosts[lost].is_up, "the node stops")
        text = str(world.broken.pop().exceptions[0])  # type: ignore[attr-defined]
        assert all(name in text for name in settings if name != "base_port") and "cluster.toml" in text
        assert not world.cluster.hosts[lost].drive.disk.groups
        assert (await world.client.transfer("a", "b", 1)).status == Status.created

    play(story)


@pytest.mark.parametrize("settings", [{}, {"replication": 1}])
def test_a_fresh_node_serves_nobody_alone(settings: dict[str, Any]) -> None:
    """Whatever its settings say of the number of replicas: the others may know better, and it has not met them."""

    async def story(world: World) -> None:
        for number in world.cluster.hosts:
            world.cluster.crash(number)
            world.cluster.lose_data(number)
        start_with(world, 1, **settings)
        stranger = Client(f"127.0.0.1:{BASE_PORT}", timeout=10.0)
        with pytest.raises(RingpayError):
            await stranger.create_account("a", "EUR")
        await stranger.close()
        assert not world.node(1).replicas and not world.cluster.hosts[1].drive.disk.groups
        world.cluster.crash(1)
        for number in world.cluster.hosts:
            world.cluster.start(number)
        world.client = Client(f"127.0.0.1:{BASE_PORT}")
        await world.open("a", "b", funds=1_000)

    play(story)


def test_one_of_three_with_other_settings_at_the_first_start() -> None:
    """It stops; the other two wait for it, since a cluster is founded by all, and then make the cluster and serve."""

    async def story(world: World) -> None:
        for number in world.cluster.hosts:
            world.cluster.crash(number)
            world.cluster.lose_data(number)
        start_with(world, 1, shards=7)
        await asyncio.sleep(0)
        for number in (2, 3):
            world.cluster.start(number)
        await world.until(lambda: not world.cluster.hosts[1].is_up, "node 1 stops")
        assert "shards 7" in str(world.broken.pop().exceptions[0])  # type: ignore[attr-defined]
        world.client = Client([f"127.0.0.1:{BASE_PORT + place}" for place in (1, 2)])
        with pytest.raises(Unreachable) as caught:
            await world.client.account("a", timeout=3.0)
        assert "node 1 has shards 7" in str(caught.value) or "not 7 as node 1" in str(caught.value)
        world.cluster.start(1)
        await world.open("a", "b", funds=1_000)

    play(story)


# -- what a node remembers of the others --------------------------------------------------------------------------


def test_a_lost_memory_of_the_others_stops_nobody() -> None:
    """It is a copy: group 0 or the peers tell it again, and those who are well go on."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=1_000)
        for number in world.cluster.hosts:
            before = list(folder(world, number).table)
            world.cluster.crash(number)
            folder(world, number).table = []
            await world.restart(number)
            await world.until(lambda n=number, all=before: folder(world, n).table == all, "it knows again")  # type: ignore[misc]
            assert (await world.client.transfer("a", "b", number)).status == Status.created

    play(story)


def test_a_node_without_memory_still_refuses_a_lost_folder() -> None:
    """The one that came back empty may not register: group 0 knows the folder that its number had."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=1_000)
        lost, other, third = world.followers(1)[0], world.leader(1), world.followers(1)[1]
        for number in (lost, other, third):
            world.cluster.crash(number)
        folder(world, other).table = folder(world, third).table = []
        world.cluster.lose_data(lost)
        for number in (lost, other, third):
            world.cluster.start(number)
        await world.until(lambda: not world.cluster.hosts[lost].is_up, "the node stops")
        assert "lost" in str(world.broken.pop().exceptions[0])  # type: ignore[attr-defined]
        assert not world.cluster.hosts[lost].drive.disk.groups
        assert (await world.client.transfer("a", "b", 1)).status == Status.created

    play(story)
