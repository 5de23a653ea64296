"""Nodes whose write-ahead log is gone: together with one that has everything they serve again, and lose nothing."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from protocol.errors import RingpayError
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


def test_a_loss_that_does_not_heal_by_itself_says_what_to_do() -> None:
    """Whoever had the last payment has lost it: nothing goes on without it, and people are told once what helps."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=1_000)
        behind, *had = [*world.followers(1), world.leader(1)]
        world.cluster.crash(behind)
        for number in had:
            world.cluster.hosts[number].drive.merge()
        await pay(world, 5)
        kept = {number: world.cluster.hosts[number].drive for number in had}
        for number, drive in kept.items():
            world.cluster.crash(number)
            drive.copy()
            assert drive.lose_write_ahead_log()
        with capture_logs() as lines:
            for number in world.cluster.hosts:
                world.cluster.start(number)
            await world.until(
                lambda: {line["node"] for line in lines if line["event"].startswith("nobody leads")} >= set(had),
                "they say what they wait for",
            )
            with pytest.raises(RingpayError):
                await world.client.transfer("a", "b", 1, timeout=20.0)
        told = [(line["node"], line["group"]) for line in lines if line["event"].startswith("nobody leads")]
        assert len(told) == len(set(told)), "each says it once"
        world.cluster.crash(had[0])
        kept[had[0]].put_back(as_files=False)
        world.cluster.start(had[0])
        await pay(world, 1)
        assert (await world.client.account("b")).posted == 1_006

    play(story)
