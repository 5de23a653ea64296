"""A node starts on what is left of its folder: what it serves is right, or it serves nothing, and it is never silently sound."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from itertools import product
from typing import Any

import pytest

from protocol.errors import RingpayError
from tests.actors.quiet import World, play
from tests.actors.test_old_folders import pay
from tests.simulation.cluster import Host
from tests.simulation.disks import LOSABLE

PAID = 1_005
SUBSETS = [
    tuple(name for name, is_lost in zip(LOSABLE, lost, strict=True) if is_lost)
    for lost in product((False, True), repeat=len(LOSABLE))
]
SMALL_CHECKPOINT_BYTES = 4_000  # so that logs are cut, and shards have what they lack


def keep(host: Host) -> tuple[Mapping[str, Any], Mapping[str, Any], Any]:
    """All that is on the disk."""
    disk = {name: value for name, value in vars(host.drive.disk).items() if name != "_latency"}
    return deepcopy((disk, vars(host.drive.folder), host.drive.merged))


def bring_back(host: Host, kept: tuple[Mapping[str, Any], Mapping[str, Any], Any]) -> None:
    """The disk is as it was."""
    disk, folder, host.drive.merged = deepcopy(kept)
    vars(host.drive.disk).update(disk)
    vars(host.drive.folder).update(folder)


async def is_served(world: World, seconds: float) -> bool:
    """Whether the account can be read, with all that was paid."""
    try:
        assert (await world.client.account("b", timeout=seconds)).posted == PAID
    except RingpayError as error:
        assert "not_found" not in str(error)
        return False
    return True


@pytest.mark.parametrize("checkpoint_bytes", [1 << 20, SMALL_CHECKPOINT_BYTES])
def test_a_node_alone_serves_all_that_it_acknowledged_or_nothing(checkpoint_bytes: int) -> None:
    """Nobody else could know; with its whole log, and the shards that this continues, nothing is missing."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=1_000)
        await pay(world, 5)
        host = world.cluster.hosts[1]
        world.cluster.crash(1)
        kept = keep(host)
        has_cut = any(stored.cut.index for stored in host.drive.disk.groups.values())
        assert has_cut == (checkpoint_bytes == SMALL_CHECKPOINT_BYTES)
        for lost in SUBSETS:
            bring_back(host, kept)
            host.drive.lose_files(lost)
            world.cluster.start(1)
            served = await is_served(world, 3.0)
            has_all = not {"log.db", "log.db-wal", *(["shard-*.db"] if has_cut else [])} & set(lost)
            assert served or not has_all, lost
            if "log.promises" in lost and {"log.db", "log.db-wal"} & set(lost):
                assert not served and not host.is_up, f"{lost}: refused"
            world.cluster.crash(1)

    play(story, nodes=1, checkpoint_bytes=checkpoint_bytes)


@pytest.mark.parametrize("checkpoint_bytes", [1 << 20, SMALL_CHECKPOINT_BYTES])
def test_two_of_three_serve_all_that_was_acknowledged_or_nothing(checkpoint_bytes: int) -> None:
    """Both have lost the same, and who is away knows better; whatever was lost of logs is not made up for by the two."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=1_000)
        await pay(world, 5)
        await world.until(lambda: world.is_level(0) and world.is_level(1), "all have the same")
        hosts = [world.cluster.hosts[number] for number in (1, 2)]
        for number in world.cluster.hosts:
            world.cluster.crash(number)
        kept = [keep(host) for host in hosts]
        for lost in SUBSETS:
            for host, disk in zip(hosts, kept, strict=True):
                bring_back(host, disk)
                host.drive.lose_files(lost)
                world.cluster.start(host.number)
            served = await is_served(world, 3.0)
            assert served or set(lost) - {"remembered.json", "members.json"}, lost
            assert not served or "log.db" not in lost, lost
            for host in hosts:
                world.cluster.crash(host.number)

    play(story, checkpoint_bytes=checkpoint_bytes)


def test_folders_of_which_only_the_identity_is_left_begin_no_empty_books() -> None:
    """They refuse, since nobody has anything; a single one waits for the others, and follows."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=1_000)
        await pay(world, 5)
        await world.until(lambda: world.is_level(0) and world.is_level(1), "all have the same")
        hosts = list(world.cluster.hosts.values())
        for host in hosts:
            world.cluster.crash(host.number)
        kept = [keep(host) for host in hosts]
        for host in hosts:
            host.drive.lose_files(LOSABLE)
            world.cluster.start(host.number)
        await world.until(lambda: not all(host.is_up for host in hosts), "one that has heard all others has refused")
        assert not await is_served(world, 10.0)
        for host in hosts:  # who is left had not heard all others before they went: it recovers, and waits for them
            if host.is_up:
                replicas = world.node(host.number).replicas.values()
                assert all(replica.statistics().is_recovering and not replica.is_leader for replica in replicas)
                world.cluster.crash(host.number)
        for host, disk in zip(hosts, kept, strict=True):
            bring_back(host, disk)
        hosts[0].drive.lose_files(LOSABLE)
        for host in hosts:
            world.cluster.start(host.number)
        await world.until(world.is_home, "it is led back")
        assert await is_served(world, 10.0)
        await world.until(lambda: all(world.node(host.number).doubts.is_clear for host in hosts), "nothing is missing")

    play(story)
