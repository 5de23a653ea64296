"""Clocks that are wrong: lifetimes go by the time that passes, stamps stay true, and whoever is far off lets others lead."""

from __future__ import annotations

import asyncio

import pytest

from node.core.clocks import QUIET_NS
from node.core.machine import unpack_entry
from node.notices import ClockAgrees, ClockDiffers, ClockFarOff
from protocol.errors import Refused
from protocol.status import Status
from tests.actors.quiet import World, play
from tests.simulation.clocks import EPOCH_NS

SECOND_NS = 10**9
HOUR_NS = 3_600 * SECOND_NS
QUIET_SECONDS = QUIET_NS / SECOND_NS
SLACK_SECONDS = 0.5  # for the network, ticks and elections


def set_ahead(world: World, number: int, ahead_ns: int) -> None:
    world.cluster.hosts[number].clock.offset_ns = ahead_ns


def stamps(world: World, group: int) -> list[int]:
    """The timestamps of a group's log, in seconds ahead of true time now, the last one last."""
    now_ns = EPOCH_NS + int(world.loop.time() * SECOND_NS)
    entries = world.cluster.hosts[world.leader(group)].drive.disk.groups[group].entries
    return [round((unpack_entry(entry.data)[0] - now_ns) / SECOND_NS) for entry in entries if entry.data]


async def is_open(world: World, account: str) -> bool:
    return (await world.client.account(account)).held > 0


async def open_for(world: World, account: str, began: float) -> float:
    """Waits until nothing is held; how long that took since then."""
    while await is_open(world, account):
        await asyncio.sleep(0.05)
    return world.loop.time() - began


@pytest.mark.parametrize("ahead_ns", [HOUR_NS, -HOUR_NS])
def test_a_hold_lives_as_long_as_it_was_given(ahead_ns: int) -> None:
    """Made before the leader's clock jumped, after it, and after that was put right."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=100)
        leader = world.leader(1)
        for ahead in (0, ahead_ns, 0):
            began = world.loop.time()
            await world.client.hold("a", "b", 40, ttl=20)
            set_ahead(world, leader, ahead_ns if ahead == 0 else 0)
            assert 20 <= await open_for(world, "a", began) < 20 + SLACK_SECONDS

    play(story)


def test_holds_expire_after_a_clock_was_put_right() -> None:
    """Time does not stand still where stamps are ahead."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=100)
        leader = world.leader(1)
        set_ahead(world, leader, HOUR_NS)
        await world.client.transfer("a", "b", 1)
        set_ahead(world, leader, 0)
        hold = await world.client.hold("a", "b", 40, ttl=5)
        await asyncio.sleep(6.0)
        assert not await is_open(world, "a")
        with pytest.raises(Refused, match="hold_expired"):
            await world.client.capture(hold.id, 40)

    play(story)


def test_leases_end_after_a_clock_was_put_right() -> None:
    """A dead owner's lease of 5 s, and somebody who waits for it."""

    async def story(world: World) -> None:
        leader = world.leader(0)
        async with world.client.lock("one", ttl=5):
            set_ahead(world, leader, HOUR_NS)
            await asyncio.sleep(3.0)
            set_ahead(world, leader, 0)
        owner, dying = world.cluster.client(timeout=10.0)
        await world.loop.spawn(owner, dying.lock("two", ttl=5).acquire())
        world.loop.kill(owner)
        began = world.loop.time()
        async with world.client.lock("two", ttl=5, wait=60):
            assert 5 - SLACK_SECONDS < world.loop.time() - began < 5 + SLACK_SECONDS

    play(story)


@pytest.mark.parametrize("ahead_ns", [HOUR_NS, -HOUR_NS, 60 * SECOND_NS])
def test_a_node_that_is_far_off_lets_others_lead(ahead_ns: int) -> None:
    """And says so; its stamps stay true meanwhile, and leaderships come home when its clock is set right."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=100)
        wrong = world.leader(1)
        set_ahead(world, wrong, ahead_ns)
        nodes = world.cluster.nodes().values()
        replicas = list(world.node(wrong).replicas.values())
        await world.until(lambda: not any(replica.is_leader for replica in replicas), "leaderships are given away")
        seen = [node._clocks for node in nodes]
        await world.until(lambda: all(clocks.is_far_off(wrong) for clocks in seen), "all know it")
        for clocks in seen:
            rows = {row.node: row for row in clocks.statistics()}
            assert [number for number, row in rows.items() if row.is_far_off] == [wrong]
            assert abs(rows[wrong].ahead_ns - ahead_ns) < SECOND_NS
        for _ in range(50):
            await world.client.transfer("a", "b", 1)
        assert -1 <= stamps(world, 1)[-1] <= 0
        shown = (await world.client.cluster()).clocks
        assert [clock.node for clock in shown if clock.is_far_off] == [wrong]
        set_ahead(world, wrong, 0)
        await world.until(world.is_home, "leaderships come home")

    play(story, shards=3)


def test_a_clock_is_told_when_it_leaves_and_when_it_is_back() -> None:
    """By every node, its own among them, once; a small difference is told as that."""

    async def story(world: World) -> None:
        await asyncio.sleep(3.0)
        world.forget()
        wrong = world.leader(1)
        set_ahead(world, wrong, 2 * SECOND_NS)
        await asyncio.sleep(5.0)
        set_ahead(world, wrong, HOUR_NS)
        await asyncio.sleep(5.0)
        set_ahead(world, wrong, 0)
        await asyncio.sleep(5.0)
        for number in world.cluster.hosts:
            (differs,), (off,) = world.told(number, ClockDiffers), world.told(number, ClockFarOff)
            (agrees,) = world.told(number, ClockAgrees)
            assert differs.clock_of == off.clock_of == agrees.clock_of == wrong
            assert 1.5 < differs.ahead_seconds < 2.5 and 3_595 < off.ahead_seconds < 3_605
            assert off.limit_seconds == 5.0 and abs(agrees.ahead_seconds) < 0.5

    play(story)


def test_a_node_that_is_far_off_leads_when_nobody_else_can() -> None:
    """Nobody can say who is right while half of the nodes are away, and money matters more than stamps."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=100)
        wrong, *others = world.leader(1), *world.followers(1)
        set_ahead(world, wrong, HOUR_NS)
        await world.until(lambda: world.cluster.leader_of(1) not in (None, wrong), "another leads")
        behind = next(number for number in others if number != world.leader(1))
        world.cluster.pause(behind)
        world.cluster.crash(world.leader(1))
        world.cluster.resume(behind)
        await world.until(lambda: world.cluster.leader_of(1) is not None, "somebody leads")
        assert (await world.client.transfer("a", "b", 1)).status == Status.created
        assert -1 <= stamps(world, 1)[-1] <= 0, "the clock that is gone still counts"

    play(story)


def test_a_node_that_stands_still_at_its_start_accuses_nobody() -> None:
    """The answers of all others have then lain in its sockets for seconds: they say little of the time, not that its clock is wrong."""

    async def story(world: World) -> None:
        world.cluster.crash(1)
        world.cluster.start(1)
        await world.until(lambda: 1 in world.cluster.nodes(), "it runs")
        asked = world.node(1)._clocks._ask_at
        await world.until(lambda: len(asked) == 2, "it has asked both", look_every=0.000_1)
        assert not world.node(1)._clocks._readings
        world.cluster.pause(1)
        await asyncio.sleep(4.0)
        world.cluster.resume(1)
        await world.until(lambda: len(world.node(1)._clocks._readings) == 2, "they have answered")
        await asyncio.sleep(3.0)
        assert not [*world.told_by_all(ClockFarOff), *world.told_by_all(ClockDiffers)]

    play(story)


def test_two_nodes_that_differ_go_on() -> None:
    """No majority says who is right."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=100)
        set_ahead(world, world.leader(1), HOUR_NS)
        await asyncio.sleep(5.0)
        assert not any(row.is_far_off for node in world.cluster.nodes().values() for row in node._clocks.statistics())
        began = world.loop.time()
        await world.client.hold("a", "b", 40, ttl=10)
        assert 10 <= await open_for(world, "a", began) < 10 + SLACK_SECONDS

    play(story, nodes=2)


def test_a_lifetime_goes_on_over_changes_of_leadership() -> None:
    """The time without a leader counts, and the next one neither adds nor loses more than the network does."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=100)
        began = world.loop.time()
        await world.client.hold("a", "b", 40, ttl=30)
        for _ in range(3):
            await asyncio.sleep(4.0)
            leader = world.leader(1)
            world.cluster.crash(leader)
            await world.until(lambda: world.cluster.leader_of(1) is not None, "another leads")
            world.cluster.start(leader)
            await world.until(world.is_home, "its home leads again, and was told the time")
        assert 30 <= await open_for(world, "a", began) < 30 + SLACK_SECONDS

    play(story)


def test_a_new_leader_tells_at_once_how_much_time_has_passed() -> None:
    """Whoever was away learns it then, and need not be handed the leadership to count on from there."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=100)
        began = world.loop.time()
        await world.client.hold("a", "b", 40, ttl=20)
        away = world.leader(1)
        await asyncio.sleep(5.0)
        world.cluster.crash(away)
        await world.until(lambda: world.cluster.leader_of(1) is not None, "another leads")
        world.cluster.start(away)
        await world.until(lambda: world.is_serving(away), "it is back")
        await asyncio.sleep(0.5)
        assert world.leader(1) != away
        others = world.followers(1)
        for number in (world.leader(1), next(number for number in others if number != away)):
            world.cluster.crash(number)
            world.cluster.start(number)
        assert 20 <= await open_for(world, "a", began) < 20 + 2 * SLACK_SECONDS

    play(story)


def test_a_process_that_was_away_loses_what_it_was_not_told() -> None:
    """It leads before anything was written since its start: a hold lives longer, by no more than a quiet log leaves uncounted."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=100)
        began = world.loop.time()
        await world.client.hold("a", "b", 40, ttl=20)
        first, second = world.followers(1)
        await asyncio.sleep(5.0)
        world.cluster.crash(first)
        world.cluster.start(first)
        await world.until(lambda: world.is_serving(first), "it is back")
        world.cluster.crash(second)
        world.cluster.crash(world.leader(1))
        world.cluster.start(second)
        assert 20 + 5 <= await open_for(world, "a", began) < 20 + QUIET_SECONDS + SLACK_SECONDS

    play(story)


def test_a_lifetime_waits_while_nobody_runs() -> None:
    """After an hour without any node a hold has the time left that it had, and what the quiet log did not count."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=100)
        began = world.loop.time()
        await world.client.hold("a", "b", 40, ttl=30)
        await asyncio.sleep(15.0)
        for number in world.cluster.hosts:
            world.cluster.crash(number)
        await asyncio.sleep(3_600.0)
        for number in world.cluster.hosts:
            world.cluster.start(number)
        await world.until(world.is_home, "all serve again")
        lived = await open_for(world, "a", began) - 3_600
        assert 30 <= lived < 30 + QUIET_SECONDS + 2 * SLACK_SECONDS
        await world.client.transfer("a", "b", 1)
        assert -1 <= stamps(world, 1)[-1] <= 0, "timestamps are true at once"

    play(story)


def test_a_quiet_log_counts_while_something_lives_in_it() -> None:
    """An empty entry now and then, and none when nothing waits for its end."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=100)
        ends = world.replica(world.leader(1), 1).statistics
        before = ends().last_index
        await asyncio.sleep(5 * QUIET_SECONDS)
        assert ends().last_index == before
        hold = await world.client.hold("a", "b", 40, ttl=600)
        before = ends().last_index
        await asyncio.sleep(5 * QUIET_SECONDS + 1)
        assert before + 4 <= ends().last_index <= before + 5
        await world.client.void(hold.id)
        before = ends().last_index
        await asyncio.sleep(5 * QUIET_SECONDS)
        assert ends().last_index == before

    play(story)
