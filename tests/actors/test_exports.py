"""Checkpoints that are streamed, written and installed at once: nobody ever holds the rows of two."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from node.actors import snapshots
from node.actors.replica import Replica
from node.core.raft import Message, MessageKind
from tests.actors import quiet
from tests.actors.quiet import World, play
from tests.simulation import disks, mutants
from tests.simulation.invariants import Invariants

ROWS = 50


async def pay(world: World, batches: int) -> None:
    """Full enough batches that a log is cut after some tens."""
    for _ in range(batches):
        await world.client.transfer_many(["a"] * ROWS, ["b"] * ROWS, [1] * ROWS)


def watched(world: World) -> Invariants:
    """What the simulator holds a run against, from here on."""
    invariants = Invariants(world.cluster, lambda text: world.broken.append(AssertionError(text)))
    world.loop.after_step = invariants.step
    return invariants


def cut(world: World, some: list[int], others: list[int]) -> None:
    """They hear nothing of each other."""
    for one, other in itertools.product(some, others):
        world.network.block(one, other)
        world.network.block(other, one)


def mend(world: World, some: list[int], others: list[int]) -> None:
    """They hear each other again, on new connections; all others stay."""
    network = world.network
    for one, other in itertools.product(some, others):
        network.blocked.pop((one, other), None)
        network.blocked.pop((other, one), None)
        for wire in [*network.between(one, other), *network.between(other, one)]:
            network.reset(wire)


async def deposed(world: World) -> None:
    """A leads and streams to C, slowly; both are cut off from the rest, who elect B; then C hears A alone, and A hears B."""
    invariants = watched(world)
    await world.open("a", "b", funds=1_000_000)
    a = world.leader(1)
    c = next(number for number in world.followers(1) if number != world.leader(0))
    rest = [number for number in world.cluster.hosts if number not in (a, c)]
    await world.leave_behind(c, lambda: pay(world, 30))
    old = world.replica(a, 1)
    world.cluster.hosts[c].drive.slowness = 1_000.0
    cut(world, [c], rest)
    world.cluster.start(c)
    await world.until(lambda: c in old._exports, "a snapshot is streamed to C", look_every=0.001)
    await world.until(lambda: world.replica(c, 1).incoming._next >= 3, "three pieces are there", look_every=0.001)
    meta = old.incoming.latest
    assert meta is not None
    cut(world, [a], [*rest, world.owner.host])
    await world.until(lambda: not old.is_leader, "A resigns: it hears no majority")
    assert not len(old._exports), "the stream has ended with the leadership"
    world.network.blocked.pop((world.owner.host, a), None)
    await pay(world, 20)
    mend(world, [a], rest)
    await world.until(lambda: (old.incoming.latest or meta).index > meta.index, "A has B's snapshot")
    world.cluster.hosts[c].drive.slowness = 60.0
    await asyncio.sleep(1.0)  # of virtual time, for what may come behind the stream
    world.cluster.hosts[c].drive.slowness = 1.0
    mend(world, [c], rest)
    world.network.heal()
    await world.until(lambda: world.is_serving(c) and world.is_level(1), "all replicas have applied the same")
    assert invariants.compare_digests() and invariants.checkpoints.looked and not world.broken


def test_a_stream_of_a_checkpoint_ends_with_the_leadership(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the receiver would get the rows of two checkpoints, once the deposed leader has installed its successor's."""
    _slow(monkeypatch)
    play(deposed, nodes=5, checkpoint_bytes=20_000)


def _slow(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(snapshots, "PIECE_BYTES", 2_000)
    patch.setattr(quiet, "WAIT_SECONDS", 900.0)
    patch.setattr(disks, "READ_SLOWNESS_MAX", 1e9)


def begin_checkpoints_late(patch: pytest.MonkeyPatch) -> list[int]:
    """A replica begins a checkpoint in the same turn in which a snapshot is accepted, as a drain of both makes it; how often."""
    honest = Replica._on_message
    begun: list[int] = []

    def on_message(self: Replica, message: Message) -> None:
        is_ready = message.kind is MessageKind.snapshot and self.incoming.holds(message)
        if is_ready and not self._is_checkpointing and self.machine.applied:
            begun.append(self.group)
            self.checkpoint()
        honest(self, message)

    patch.setattr(Replica, "_on_message", on_message)
    return begun


async def overtaken(world: World) -> None:
    """A follower that is behind is sent a snapshot; the story ends when it has it, and again after its restart."""
    invariants = watched(world)
    await world.open("a", "b", funds=1_000_000)
    behind = world.followers(1)[0]
    await world.leave_behind(behind, lambda: pay(world, 30))
    world.cluster.start(behind)
    await world.until(lambda: world.is_serving(behind) and world.is_level(1), "the replica has caught up")
    assert invariants.compare_digests() and invariants.checkpoints.looked and not world.broken
    await world.restart(behind)
    await world.until(lambda: world.is_level(1), "it has caught up again")
    assert invariants.compare_digests() and not world.broken


def test_a_checkpoint_that_has_just_begun_spoils_no_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither are its rows written into the snapshot, nor is the snapshot taken for it."""
    begun = begin_checkpoints_late(monkeypatch)
    play(overtaken, checkpoint_bytes=20_000)
    assert begun


@pytest.mark.parametrize(
    ("plant", "story"),
    [
        (mutants.install_over_checkpoint, overtaken),
        (mutants.name_older_checkpoint, overtaken),
        (mutants.export_past_leadership, deposed),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_planted_bug_is_found(
    plant: Callable[[pytest.MonkeyPatch], None],
    story: Callable[[World], Coroutine[Any, Any, None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """These stories fail where a replica forgets one of the rules."""
    plant(monkeypatch)
    if story is deposed:
        _slow(monkeypatch)
    else:
        begin_checkpoints_late(monkeypatch)
    with pytest.raises((AssertionError, ExceptionGroup)) as caught:
        play(story, nodes=5 if story is deposed else 3, checkpoint_bytes=20_000)
    print(repr(caught.value)[:300])
