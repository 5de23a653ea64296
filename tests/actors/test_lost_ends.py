"""Nodes whose write-ahead log is gone: together with one that has everything they serve again, and lose nothing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from node.actors.doubts import HELPLESS_SECONDS, Losses
from node.actors.replica_ports import ReplicaPorts
from node.adapters.operator_log import MemoryOperatorLog
from node.core.raft import HardState, LogEnd
from node.notices import NobodyHasWhatWasLost
from protocol.errors import RingpayError
from protocol.status import Status
from tests.actors.clock import Clock
from tests.actors.quiet import World, play
from tests.core.raft.test_raft import replica


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
        world.forget()
        for number in world.cluster.hosts:
            world.cluster.start(number)
        await world.until(
            lambda: {node for node, _ in world.told_by_all(NobodyHasWhatWasLost)} >= set(had),
            "they say what they wait for",
        )
        with pytest.raises(RingpayError):
            await world.client.transfer("a", "b", 1, timeout=20.0)
        told = [(node, notice.group) for node, notice in world.told_by_all(NobodyHasWhatWasLost)]
        assert len(told) == len(set(told)), "each says it once"
        world.cluster.crash(had[0])
        kept[had[0]].put_back(as_files=False)
        world.cluster.start(had[0])
        await pay(world, 1)
        assert (await world.client.account("b")).posted == 1_006

    play(story)


def test_a_loss_is_hopeless_only_when_nobody_has_led_for_long() -> None:
    """Counted from the first look: a process that has just started has seen nobody yet."""
    clock = Clock()
    operator = MemoryOperatorLog(clock.monotonic)
    losses = Losses(1, cast(ReplicaPorts, SimpleNamespace(node=1, operator=operator)))
    raft = replica(hard=HardState(3), lost=LogEnd(3, 7))
    for seconds in (0.0, HELPLESS_SECONDS - 0.1):
        losses.look(raft, clock.now + seconds)
    assert not operator.told
    for seconds in (HELPLESS_SECONDS, HELPLESS_SECONDS + 1.0, 10 * HELPLESS_SECONDS):
        losses.look(raft, clock.now + seconds)
    (told,) = [one.notice for one in operator.told]
    assert isinstance(told, NobodyHasWhatWasLost) and "7 of term 3 was acknowledged" in told.reason
