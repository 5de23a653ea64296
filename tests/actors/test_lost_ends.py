"""Nodes whose write-ahead log is gone: together with one that has everything they serve again, and lose nothing."""

from __future__ import annotations

import pytest

from protocol.status import Status
from tests.actors.quiet import World, play


async def pay(world: World, count: int) -> None:
    """So many payments from a to b."""
    for _ in range(count):
        assert (await world.client.transfer("a", "b", 1, timeout=20.0)).status == Status.created


@pytest.mark.parametrize("sound", [1, 2, 3])
def test_one_sound_node_brings_back_all_others_that_lost_their_write_ahead_log(sound: int) -> None:
    """They know what they had acknowledged, so they vote for it."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=1_000)
        for host in world.cluster.hosts.values():
            host.drive.merge()
        await pay(world, 5)
        await world.until(lambda: world.is_level(1), "all have the same")
        for host in world.cluster.hosts.values():
            world.cluster.crash(host.number)
            if host.number != sound:
                assert host.drive.lose_write_ahead_log()
        for number in world.cluster.hosts:
            world.cluster.start(number)
        await pay(world, 1)
        assert (await world.client.account("b")).posted == 1_006
        await world.until(
            lambda: (
                not any(
                    replica.statistics().is_recovering
                    for node in world.cluster.nodes().values()
                    for replica in node.replicas.values()
                )
            ),
            "all is well again",
        )
        assert (await world.client.audit()).balanced

    play(story)
