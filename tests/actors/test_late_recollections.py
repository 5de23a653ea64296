"""What a peer says of a log is not taken before it has said what it remembers of this node."""

from __future__ import annotations

import asyncio

import pytest

from node.adapters.memory import MemoryPeers
from tests.actors.quiet import World, play
from tests.actors.test_founding import belongs, empty
from tests.actors.test_old_folders import is_led_by, is_recovering, pay, put_back

LATE_SECONDS = 0.5  # of a slow disk that is saved to before the recollection is told; many heartbeats


def remember_slowly(patch: pytest.MonkeyPatch) -> None:
    """All nodes: a recollection is overtaken by what its sender says on the other link."""
    honest = MemoryPeers.save

    async def save(self: MemoryPeers, rows: list[list[int]]) -> None:
        await asyncio.sleep(LATE_SECONDS)
        await honest(self, rows)

    patch.setattr(MemoryPeers, "save", save)


def test_a_leader_is_not_followed_before_it_has_said_what_it_remembers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its heartbeat tells how far the node's log was committed, and the machine was put back to an older one since."""

    async def story(world: World) -> None:
        old = await put_back(world)
        remember_slowly(monkeypatch)
        world.cluster.start(old)
        await world.until(lambda: world.is_serving(old) and is_recovering(world, old), "it has heard")
        await world.until(lambda: not is_recovering(world, old), "it has caught up")
        assert (await world.client.account("b")).posted == 1_005

    play(story)


def test_a_group_whose_recollections_are_late_is_led_and_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a start of all, and with one node away; a connection that broke later needs no other recollection."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=1_000)
        remember_slowly(monkeypatch)
        numbers = list(world.cluster.hosts)
        for number in numbers:
            world.cluster.crash(number)
        for number in numbers[:2]:
            world.cluster.start(number)
        await pay(world, 1, timeout=20.0)
        world.cluster.start(numbers[2])
        await world.until(
            lambda: any(is_led_by(world, number) for number in numbers if world.is_serving(number)), "led"
        )
        for wire in list(world.network.wires):
            world.network.reset(wire)
        await pay(world, 1, timeout=20.0)
        assert (await world.client.account("b")).posted == 1_002

    play(story)


def test_a_cluster_is_founded_though_recollections_are_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Group 0's first leader waits for nobody's memory but until it is told."""

    async def story(world: World) -> None:
        remember_slowly(monkeypatch)
        empty(world)
        for number in world.cluster.hosts:
            world.cluster.start(number)
        await world.until(lambda: all(belongs(world, number) for number in world.cluster.hosts), "it is founded")

    play(story)
