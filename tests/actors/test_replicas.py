"""Replicas over time: catching up, restarting, handing over, going home, and what a lost disk means."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from node.core.ledger.limits import SEGMENT_TRANSFERS, WINDOW_SEGMENTS
from node.core.machine import Answer, Body, Loaded, Need
from node.core.raft import Message, MessageKind, NodeId
from protocol.errors import RingpayError
from protocol.status import TRANSFERS_MAX, Status
from tests.actors.quiet import World, play

ROWS = 50


async def pay(world: World, batches: int) -> None:
    """So many batches of payments from a to b."""
    for _ in range(batches):
        statuses = await world.client.transfer_many(["a"] * ROWS, ["b"] * ROWS, [1] * ROWS)
        assert statuses == [Status.created] * ROWS


def test_a_replica_behind_the_cut_log_catches_up_by_a_snapshot() -> None:
    """And has the same digest; it is a full member again."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=100_000)
        behind, other = world.followers(1)
        last = await world.leave_behind(behind, lambda: pay(world, 30))
        world.cluster.start(behind)
        await world.until(lambda: world.is_serving(behind) and world.is_level(1), "the replica has caught up")
        assert world.replica(behind, 1).statistics().first_index > last + 1
        report = await world.client.audit()
        assert report.balanced
        assert all(digest is not None for shard in report.shards for digest in shard.digests.values())
        world.cluster.crash(other)
        await pay(world, 1)
        assert (await world.client.account("b")).posted == 100_000 + 31 * ROWS

    play(story, checkpoint_bytes=20_000)


def test_a_snapshot_goes_on_after_a_restart_in_its_middle() -> None:
    """The receiver dies while the pieces come."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=100_000)
        behind = world.followers(1)[0]
        await world.leave_behind(behind, lambda: pay(world, 30))
        leader = world.replica(world.leader(1), 1)
        for _ in range(5):
            world.cluster.start(behind)
            await world.until(lambda: leader._exports, "a snapshot is streamed", look_every=0.000_5)
            world.cluster.crash(behind)
        world.cluster.start(behind)
        await world.until(lambda: world.is_serving(behind) and world.is_level(1), "the replica has caught up")
        assert (await world.client.audit()).balanced

    play(story, checkpoint_bytes=20_000)


def test_a_snapshot_is_streamed_only_of_the_checkpoint_that_its_message_names() -> None:
    """A newer checkpoint may have come between the message and its sending; the receiver would find another index."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=100_000)
        await pay(world, 30)
        number = world.leader(1)
        leader, other = world.replica(number, 1), NodeId(world.followers(1)[0])
        await world.until(lambda: leader.incoming.latest is not None and not leader._is_checkpointing, "a checkpoint")
        latest = leader.incoming.latest
        assert latest is not None
        message = Message(MessageKind.snapshot, other, NodeId(number), leader.term, snapshot=latest)
        leader._export(replace(message, snapshot=replace(latest, index=latest.index - 1)))
        assert not leader._exports
        leader._export(message)
        assert other in leader._exports and len(leader._exports) == 1

    play(story, checkpoint_bytes=20_000)


def test_a_restart_gives_the_same_state_from_checkpoint_and_log() -> None:
    """The same digest at the same index."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=100_000)
        await pay(world, 20)
        follower = next(number for number in world.followers(1) if number != world.leader(0))
        await world.until(lambda: world.is_level(1), "the follower has applied everything")
        old = world.replica(follower, 1).machine
        assert world.replica(follower, 1).incoming.latest is not None, "there is a checkpoint"
        await world.restart(follower)
        new = world.replica(follower, 1).machine
        assert new is not old
        await world.until(lambda: new.applied >= old.applied, "the log is applied")
        assert (new.applied, new.digest()) == (old.applied, old.digest())

    play(story, checkpoint_bytes=20_000)


def test_ids_are_remembered_for_ever() -> None:
    """Over restarts of the whole cluster, also when their segment left the memory long ago."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=10_000_000)
        client, count = world.client, TRANSFERS_MAX
        batches = WINDOW_SEGMENTS + 2
        ids = [client._ids.take(count) for _ in range(batches)]
        amounts = np.ones(count, np.int64)
        for taken in ids:
            assert set(await client.transfer_many(["a"] * count, ["b"] * count, amounts, ids=taken)) == {Status.created}
        assert batches * count > (WINDOW_SEGMENTS + 1) * SEGMENT_TRANSFERS
        for restart in range(2):
            for taken in (ids[0], ids[-1]):
                again = await client.transfer_many(["a"] * count, ["b"] * count, amounts, ids=taken)
                assert set(again) == {Status.exists}, f"after {restart} restarts"
                other = await client.transfer_many(["a"], ["b"], [2], ids=taken[:16])
                assert other == [Status.exists_with_different_amount]
            for number in world.cluster.hosts:
                world.cluster.crash(number)
            for number in world.cluster.hosts:
                world.cluster.start(number)
            await world.until(world.is_home, "the cluster is back")
        assert (await client.account("b")).posted == 10_000_000 + batches * count
        assert (await client.audit()).balanced

    play(story, checkpoint_bytes=200_000)


def test_a_graceful_stop_hands_leadership_over() -> None:
    """Before the process ends somebody else leads, and no call of a client fails; after its start leadership goes home."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=100_000)
        home = world.leader(1)
        served = 0
        is_over = False

        async def customer() -> None:
            nonlocal served
            while not is_over:
                assert (await world.client.transfer("a", "b", 1)).status in (Status.created, Status.exists)
                served += 1
                await asyncio.sleep(0.01)

        paying = asyncio.ensure_future(customer())
        await world.until(lambda: served > 10, "payments flow")
        world.cluster.stop(home)
        await world.until(lambda: not world.cluster.hosts[home].is_up, "the node has stopped")
        new = world.leader(1)
        assert new != home and world.replica(new, 1).is_serving
        before = served
        await world.until(lambda: served > before + 10, "payments flow again")
        world.cluster.start(home)
        await world.until(world.is_home, "leadership goes home")
        before = served
        await world.until(lambda: served > before + 10, "payments still flow")
        is_over = True
        await paying
        assert (await world.client.account("b")).posted == 100_000 + served

    play(story)


def test_a_graceful_stop_waits_for_no_audit() -> None:
    """It asks a replica here that is behind, again and again, and that replica stops before it has answered."""

    async def story(world: World) -> None:
        leader = world.leader(0)
        machine = world.replica(leader, 1).machine
        answers = machine.query

        def lags(part: str, body: Body, loaded: Loaded) -> Answer | Need:
            return Answer(["marker", 0, 0, 0, [], []]) if body[0] == "marker" else answers(part, body, loaded)

        machine.query = lags  # type: ignore[method-assign]
        connection = await world.dial(leader)
        asked = asyncio.ensure_future(world.ask(connection, "audit", 0, []))
        await asyncio.sleep(0.1)
        world.cluster.stop(leader)
        await world.until(lambda: not world.cluster.hosts[leader].is_up, "the node has stopped")
        with pytest.raises(ConnectionError):
            await asked

    play(story, shards=2)


def test_leadership_goes_home_after_a_crash() -> None:
    """Of every group, so that leaders stay spread."""

    async def story(world: World) -> None:
        victim = world.leader(1)
        world.cluster.crash(victim)
        await world.until(lambda: world.cluster.leader_of(1) not in (None, victim), "another leads")
        world.cluster.start(victim)
        await world.until(world.is_home, "leadership goes home")

    play(story, shards=3)


def test_leaderships_go_home_one_at_a_time_the_coordinators_last() -> None:
    """Each move stops its group for a moment: together they would stop every payment between shards. None of these fails."""

    async def story(world: World) -> None:
        names = [world.name_in(group, "g") for group in range(1, 7)]
        await world.open(*names, funds=1_000_000)
        victim = world.leader(0)
        homes = [group for group, replicas in enumerate(world.cluster.placement.replicas) if replicas[0] == victim]
        assert len(homes) > 2 and homes[0] == 0
        world.cluster.crash(victim)
        leads = world.cluster.leader_of
        await world.until(lambda: all(leads(group) not in (None, victim) for group in homes), "others lead")
        origins = {group: leads(group) for group in homes}
        is_over, served = False, 0

        async def customer(debit: str, credit: str) -> None:
            nonlocal served
            while not is_over:
                assert (await world.client.transfer(debit, credit, 1)).status in (Status.created, Status.exists)
                served += 1

        paying = [asyncio.ensure_future(customer(*pair)) for pair in zip(names, [*names[1:], names[0]], strict=True)]
        world.cluster.start(victim)
        moves: dict[int, float] = {}
        while not world.is_home():
            moves |= {group: world.loop.time() for group in homes if leads(group) == victim and group not in moves}
            await asyncio.sleep(0.01)
        is_over = True
        await asyncio.gather(*paying)
        assert served > 100 and not world.broken
        moves.setdefault(0, world.loop.time())
        for origin in dict.fromkeys(origins.values()):
            mine = [group for group in moves if origins[group] == origin]
            assert 0 not in mine[:-1], "the coordinator moves last"
            times = [moves[group] for group in mine]
            assert all(later - earlier > 0.2 for earlier, later in itertools.pairwise(times))
        assert max(Counter(origins.values()).values()) > 1

    play(story, shards=6)


def test_a_leader_with_a_stalled_disk_steps_down() -> None:
    """Clients are served by another; the node comes back when its disk does."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=1_000)
        slow = world.leader(1)
        drive = world.cluster.hosts[slow].drive
        drive.slowness = 20_000.0
        await world.client.transfer("a", "b", 1)
        await world.until(lambda: world.cluster.leader_of(1) not in (None, slow), "another leads")
        assert not world.replica(slow, 1).is_leader
        drive.slowness = 1.0
        assert (await world.client.transfer("a", "b", 1)).status == Status.created
        await world.until(world.is_home, "the disk is well again")
        assert (await world.client.account("b")).posted == 1_002

    play(story)


@pytest.mark.parametrize("others", [1, 2])
def test_a_node_that_lost_its_data_is_refused(others: int) -> None:
    """Its vote could undo what it had acknowledged: it takes part in nothing, and stops once a majority refuses it."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=1_000)
        lost = world.leader(1)
        survivor, *rest = world.followers(1)
        away = rest[others - 1 :]
        for number in (lost, *away):
            world.cluster.crash(number)
        world.cluster.lose_data(lost)
        world.cluster.start(lost)
        if away:
            nodes = world.cluster.nodes
            await world.until(
                lambda: lost in nodes() and nodes()[lost].members.statistics().refused_by, "it is refused"
            )
            with pytest.raises(RingpayError):
                await world.client.transfer("a", "b", 1, timeout=3.0)
            assert not world.node(lost).replicas and not world.replica(survivor, 1).is_serving
            for number in away:
                world.cluster.start(number)
        await world.until(lambda: not world.cluster.hosts[lost].is_up, "the node stops")
        error = world.broken.pop()
        assert isinstance(error, ExceptionGroup) and "lost what it acknowledged" in str(error.exceptions[0])
        assert not world.cluster.hosts[lost].drive.disk.groups, "it has voted for nobody and stored nothing"
        assert (await world.client.transfer("a", "b", 1)).status == Status.created

    play(story)
