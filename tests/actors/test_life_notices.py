"""What a node's log tells of its own process, its disk, its cluster and what was lost."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from random import Random

import pytest

from node.actors.peers import UNREACHED_SECONDS
from node.core.members import MemberEvent
from node.notices import (
    Admitted,
    CheckpointWritten,
    DiskSlow,
    DiskWell,
    LeaderChanged,
    LogCutShort,
    MemberChanged,
    MembershipChanged,
    NodeRestored,
    Notice,
    PeerNotReached,
    RefusedToStart,
    ReplicaRestored,
    RunsInTime,
    Serving,
    SnapshotBegun,
    SnapshotGivenUp,
    SnapshotInstalled,
    SnapshotReceived,
    SnapshotSent,
    Starting,
    StoodStill,
    StopCause,
    Stopped,
    StoppedByItself,
    Stopping,
    Unexpected,
)
from node.ports import DiskFull
from node.start import on_exception
from protocol.status import Status
from tests.actors.quiet import World, play
from tests.simulation.cluster import BASE_PORT

ROWS = 50


async def pay(world: World, batches: int) -> None:
    for _ in range(batches):
        statuses = await world.client.transfer_many(["a"] * ROWS, ["b"] * ROWS, [1] * ROWS)
        assert statuses == [Status.created] * ROWS


def test_a_life_from_start_to_stop() -> None:
    """What it is, what it found, when it serves; that it was asked to stop, and has."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=100_000)
        number = world.followers(1)[0]
        await pay(world, 20)
        index = world.replica(number, 1).machine.applied
        world.cluster.crash(number)
        world.forget()
        world.cluster.start(number)
        await world.until(lambda: world.is_serving(number), "it serves")
        await asyncio.sleep(3.0)
        world.node(number).stop()
        world.node(number).stop()
        await world.until(lambda: not world.cluster.hosts[number].is_up, "it has stopped")
        (starting,), (restored,), (serving,) = (world.told(number, kind) for kind in (Starting, NodeRestored, Serving))
        assert isinstance(starting, Starting) and starting.cluster == world.client.cluster_name and not starting.is_new
        assert isinstance(restored, NodeRestored) and restored.replicas == 2 and restored.entries > 0
        assert isinstance(serving, Serving) and serving.address == f"127.0.0.1:{BASE_PORT + number - 1}"
        assert serving.seconds >= restored.seconds
        (mine,) = [one for one in world.told(number, ReplicaRestored) if one.group == 1]
        assert mine.checkpoint > 0 and mine.checkpoint + mine.entries >= index
        assert len(world.told(number, Stopping)) == len(world.told(number, Stopped)) == 1
        order = [type(one.notice) for one in world.cluster.hosts[number].operator.told]
        assert order[0] is Starting and order[-1] is Stopped
        assert order.index(NodeRestored) < order.index(Serving) < order.index(Stopping)
        assert not [
            notice for notice in world.told(number, Notice) if isinstance(notice, (StoppedByItself, RefusedToStart))
        ]

    play(story, checkpoint_bytes=20_000)


@pytest.mark.parametrize("is_full", [False, True])
def test_a_disk_that_fails_is_the_reason_of_the_stop(is_full: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed fsync and a full disk are told apart; once, though several writers have failed."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=1_000)
        number = world.leader(1)
        disk = world.cluster.hosts[number].drive.disk
        if is_full:

            async def sync() -> None:
                raise DiskFull("log.db: database or disk is full")

            monkeypatch.setattr(disk, "sync", sync)
        disk.is_failing = True
        await world.client.transfer("a", "b", 1)
        await world.until(lambda: not world.cluster.hosts[number].is_up, "it stops")
        (stopped,) = world.told(number, StoppedByItself)
        assert stopped.cause is (StopCause.disk_full if is_full else StopCause.disk_failed)
        assert ("is full" if is_full else "the disk fails") in stopped.reason and stopped.trace is None

    play(story)


def test_a_broken_invariant_is_told_with_its_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else would show where it was."""

    async def story(world: World) -> None:
        number = world.followers(1)[0]

        def breaks() -> None:
            raise AssertionError("two and two are five")

        monkeypatch.setattr(world.node(number)._routes, "tick", breaks)
        await world.until(lambda: not world.cluster.hosts[number].is_up, "it stops")
        world.broken.clear()
        (stopped,) = world.told(number, StoppedByItself)
        assert stopped.cause is StopCause.broken and stopped.reason == "two and two are five"
        assert stopped.trace is not None and "in breaks" in stopped.trace

    play(story)


def test_a_complaint_of_the_loop_is_told() -> None:
    """With an exception the node stops, which is told as that; without one it goes on."""

    async def story(world: World) -> None:
        number = world.followers(1)[0]
        operator = world.cluster.hosts[number].operator
        on_exception(world.node(number), operator, {"message": "a transport was never closed"})
        assert world.told(number, Unexpected) == [Unexpected("a transport was never closed")]
        on_exception(world.node(number), operator, {"message": "in a callback", "exception": OSError("no such file")})
        await world.until(lambda: not world.cluster.hosts[number].is_up, "it stops")
        world.broken.clear()
        (stopped,) = world.told(number, StoppedByItself)
        assert (stopped.cause, stopped.reason) == (StopCause.outside, "no such file")
        assert len(world.told(number, Unexpected)) == 1

    play(story)


def test_a_node_that_cannot_start_says_why() -> None:
    """It is no stop: nobody was served."""

    async def story(world: World) -> None:
        number = world.followers(1)[0]
        world.cluster.crash(number)
        disk = world.cluster.hosts[number].drive.disk
        world.forget()
        disk.groups[1].hard_state = replace(disk.groups[1].hard_state, term=0, commit=0)
        del disk.promises[1]
        world.cluster.start(number)
        await world.until(lambda: world.told(number, RefusedToStart), "it refuses")
        (refused,) = world.told(number, RefusedToStart)
        assert refused.cause is StopCause.damaged and f"scripts/cluster replace {number}" in refused.reason
        assert not world.told(number, StoppedByItself) and not world.told(number, Serving)

    play(story)


def test_a_slow_disk_begins_and_ends() -> None:
    """One line each, however many of its writes are slow."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=1_000)
        number = world.followers(1)[0]
        drive = world.cluster.hosts[number].drive
        world.forget()
        drive.slowness = 800.0
        for _ in range(10):
            await world.client.transfer("a", "b", 1)
            await asyncio.sleep(0.5)
        drive.slowness = 1.0
        await world.until(lambda: world.told(number, DiskWell), "it is well again")
        (slow,), (well,) = world.told(number, DiskSlow), world.told(number, DiskWell)
        assert slow.seconds > 0.5 and well.writes >= 2
        assert well.seconds >= well.longest_seconds > 0.5
        assert {node for node, _ in world.told_by_all(DiskSlow)} == {number}

    play(story)


def test_a_node_that_was_paused_says_so() -> None:
    """And does not take it for its disk's doing, though a write was under way."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=1_000)
        number = world.followers(1)[0]
        world.forget()
        paying = asyncio.ensure_future(world.client.transfer("a", "b", 1))
        await world.until(lambda: world.node(number)._writer._writing_since, "it writes", look_every=0.000_1)
        world.cluster.pause(number)
        await asyncio.sleep(4.0)
        world.cluster.resume(number)
        await paying
        await world.until(lambda: world.told(number, RunsInTime), "it runs")
        (still,), (runs,) = world.told(number, StoodStill), world.told(number, RunsInTime)
        assert 3.5 < still.seconds < 4.1 and runs == RunsInTime(1, still.seconds, runs.seconds)
        assert not world.told_by_all(DiskSlow)

    play(story)


def test_a_log_that_is_cut_short() -> None:
    """An entry in its middle is damaged; what is behind continues no chain."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=100_000)
        await pay(world, 5)
        number = world.followers(1)[0]
        world.cluster.crash(number)
        stored = world.cluster.hosts[number].drive.disk.groups[1]
        count = len(stored.entries)
        stored.entries[count - 3] = replace(stored.entries[count - 3], checksum=stored.entries[count - 3].checksum + 1)
        world.forget()
        world.cluster.start(number)
        await world.until(lambda: world.is_serving(number), "it serves")
        (cut,) = world.told(number, LogCutShort)
        assert (cut.group, cut.kept, cut.dropped) == (1, count - 3, 3)

    play(story)


def test_a_lost_folder_is_replaced() -> None:
    """Every log tells how its row changed, each group's members, and the checkpoint that it was sent."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=100_000)
        await pay(world, 30)
        lost = world.followers(1)[0]
        others = [number for number in world.cluster.hosts if number != lost]
        row = world.node(others[0]).members.table.rows[lost]
        world.cluster.crash(lost)
        world.cluster.lose_data(lost)
        await world.until(lambda: world.cluster.leader_of(0) not in (None, lost), "another leads")
        world.forget()
        world.node(world.leader(0)).members.propose(MemberEvent.leave, lost, row.data_id)
        await world.until(lambda: world.node(others[0]).members.table.rows[lost].state.name == "vacant", "it is out")
        world.cluster.start(lost)
        states = ["leaving", "vacant", "joining", "member"]
        await world.until(lambda: len(world.told(others[0], MemberChanged)) == 4, "it is in again")
        await asyncio.sleep(1.0)
        for number in others:
            told = world.told(number, MemberChanged)
            assert [notice.state for notice in told] == states and {notice.member for notice in told} == {lost}
            assert [notice.was for notice in told] == ["member", *states[:-1]]
            voters = [notice.voters for notice in world.told(number, MembershipChanged) if notice.group == 1]
            learners = [notice.learners for notice in world.told(number, MembershipChanged) if notice.group == 1]
            assert voters == [tuple(others), tuple(others), (1, 2, 3)] and learners == [(), (lost,), ()]
        (admitted,) = world.told(lost, Admitted)
        assert admitted.is_replacement and admitted.identity == world.client.cluster_name.partition("/")[2]
        (starting,) = world.told(lost, Starting)
        assert starting.is_new
        leader = world.leader(1)
        (begun,) = [notice for _, notice in world.told_by_all(SnapshotBegun) if notice.group == 1]
        assert begun.peer == lost
        (received,) = [notice for notice in world.told(lost, SnapshotReceived) if notice.group == 1]
        (installed,) = [notice for notice in world.told(lost, SnapshotInstalled) if notice.group == 1]
        (done,) = [notice for notice in world.told(leader, SnapshotSent) if notice.group == 1]
        assert received.peer == leader and received.index == installed.index == done.index
        assert received.bytes == done.bytes > 1_000 and done.failures == 0

    play(story, checkpoint_bytes=20_000)


def test_a_snapshot_that_is_not_taken_is_told_once() -> None:
    """The receiver dies in the middle, and again; its end counts the attempts."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=100_000)
        behind = world.followers(1)[0]
        world.forget()
        await world.leave_behind(behind, lambda: pay(world, 30))
        number = world.leader(1)
        assert world.told(number, CheckpointWritten)
        leader = world.replica(number, 1)
        for _ in range(3):
            world.cluster.start(behind)
            await world.until(lambda: leader._exports, "a snapshot is streamed", look_every=0.000_5)
            world.cluster.crash(behind)
            await world.until(lambda: not leader._exports, "that has failed")
        world.cluster.start(behind)
        await world.until(lambda: world.told(behind, SnapshotInstalled), "it has caught up")
        kinds = (SnapshotBegun, SnapshotGivenUp, SnapshotSent)
        told = [one.notice for one in world.cluster.hosts[number].operator.told if isinstance(one.notice, kinds)]
        assert [type(notice) for notice in told] == [*kinds]
        assert isinstance(told[-1], SnapshotSent) and told[-1].failures == 3

    play(story, checkpoint_bytes=20_000)


def test_a_peer_that_never_came() -> None:
    """The others say that it was not reached, once; its coming is told too."""

    async def story(world: World) -> None:
        late = world.followers(1)[0]
        for number in world.cluster.hosts:
            world.cluster.crash(number)
        world.forget()
        others = [number for number in world.cluster.hosts if number != late]
        for number in others:
            world.cluster.start(number)
        await asyncio.sleep(3 * UNREACHED_SECONDS)
        for number in others:
            (missing,) = world.told(number, PeerNotReached)
            assert missing.peer == late and missing.reason and missing.seconds > UNREACHED_SECONDS
        changed = [notice for _, notice in world.told_by_all(LeaderChanged)]
        assert {notice.was for notice in changed} == {None}
        world.cluster.start(late)
        await world.until(world.is_home, "all is well")

    play(story, shards=2)


def test_the_same_seed_tells_the_same() -> None:
    """Down to the last line, so that a failing one shows what led to it."""
    runs: list[list[str]] = []

    async def story(world: World) -> None:
        world.cluster.crash(world.leader(1))
        await asyncio.sleep(Random(1).random() + 5.0)
        runs.append(world.cluster.told(1_000))

    play(story, shards=2)
    play(story, shards=2)
    assert runs[0] == runs[1] and len(runs[0]) > 20
    assert any("node 1  info    starting version=" in line for line in runs[0])
