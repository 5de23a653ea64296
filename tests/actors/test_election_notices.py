"""What the logs tell of leaders: who, why, once, as each node sees it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import cast

import pytest

from node.actors.events import Lead, Move
from node.actors.group_notices import LEADERLESS_SECONDS, REASONS, GroupNotices
from node.actors.replica_ports import ReplicaPorts
from node.adapters.operator_log import MemoryOperatorLog
from node.core.raft import Cause, NodeId, Ready, Role, Turn, Why
from node.notices import (
    CampaignBegun,
    CampaignLost,
    ElectionWon,
    HandoverAsked,
    HandoverFinished,
    HandoverGivenUp,
    LeaderChanged,
    Leaderless,
    LinkLost,
    LinkUp,
    Notice,
    StampsHeldBack,
    StampsTrue,
    SteppedDown,
)
from tests.actors.clock import Clock
from tests.actors.quiet import Kind, World, play

SECOND_NS = 10**9
QUIET_STEPS = (Why.would_win, Why.elected)  # between a campaign and its end


def of_group(world: World, number: int, kind: type[Kind], group: int = 1) -> list[Kind]:
    """What a node's log says of one group."""
    return [notice for notice in world.told(number, kind) if getattr(notice, "group", None) == group]


def kinds(world: World, number: int, group: int = 1) -> list[type[Notice]]:
    """All of it, in order, by kind."""
    return [type(notice) for notice in of_group(world, number, Notice, group)]


def test_every_reason_has_its_words() -> None:
    """But for the steps in between."""
    assert set(REASONS) == set(Why) - set(QUIET_STEPS)


def test_a_killed_leader() -> None:
    """The survivors' logs tell that its connection broke, who asked for votes and why, and who leads; each once."""

    async def story(world: World) -> None:
        victim = world.leader(1)
        world.forget()
        world.cluster.crash(victim)
        await world.until(lambda: world.cluster.leader_of(1) not in (None, victim), "another leads")
        await asyncio.sleep(1.0)
        new = world.leader(1)
        (other,) = [number for number in world.cluster.nodes() if number != new]
        for number in (new, other):
            assert [(lost.peer, lost.reason) for lost in world.told(number, LinkLost)] == [
                (victim, "the connection broke")
            ]
        begun, won = of_group(world, new, CampaignBegun), of_group(world, new, ElectionWon)
        assert kinds(world, new) == [CampaignBegun, ElectionWon]
        assert (begun[0].was, begun[0].reason) == (victim, "the connection to the leader broke")
        assert begun[0].term == won[0].term and won[0].campaigns >= 1 and won[0].leaderless_seconds < 2.0
        assert of_group(world, other, LeaderChanged) == [LeaderChanged(1, won[0].term, new, victim)]

    play(story)


def test_a_silent_leader() -> None:
    """Whoever campaigns says for how long nothing was heard; the old leader says why it leads no longer."""

    async def story(world: World) -> None:
        old = world.leader(1)
        world.forget()
        for other in world.followers(1):
            world.network.block(old, other)
            world.network.block(other, old)
        await world.until(lambda: world.cluster.leader_of(1) not in (None, old), "another leads")
        await world.until(lambda: of_group(world, old, SteppedDown), "it resigns")
        (begun,) = of_group(world, world.leader(1), CampaignBegun)
        assert begun.was == old and begun.silent_seconds is not None and 0.5 < begun.silent_seconds < 1.3
        (down,) = of_group(world, old, SteppedDown)
        assert down.reason == "no majority has answered for an election timeout"

    play(story)


def test_a_node_that_is_cut_off_says_so_once() -> None:
    """It campaigns for as long as the cut lasts, without a word; then it is led again."""

    async def story(world: World) -> None:
        alone, leader = world.followers(1)[0], world.leader(1)
        world.forget()
        for other in set(world.cluster.hosts) - {alone}:
            world.network.block(alone, other)
            world.network.block(other, alone)
        await asyncio.sleep(20.0)  # of virtual time: some twenty campaigns
        world.network.heal()
        await world.until(lambda: of_group(world, alone, LeaderChanged), "it is led again")
        assert kinds(world, alone) == [CampaignBegun, Leaderless, LeaderChanged]
        (leaderless,) = of_group(world, alone, Leaderless)
        assert leaderless.seconds > LEADERLESS_SECONDS
        assert list(leaderless.away) == sorted(set(world.cluster.hosts) - {alone})
        assert of_group(world, alone, LeaderChanged)[0].leader == leader == world.leader(1)
        assert not [
            notice for number in world.followers(1) if number != alone for notice in of_group(world, number, Notice)
        ], "nobody else noticed"

    play(story)


def ready(leader: int, term: int, *turns: Turn) -> Ready:
    """What a core has come to that follows, or nobody."""
    return Ready((), None, (), (), (), Role.follower, NodeId(leader), term, turns)


def test_a_candidate_that_loses_again_and_again_says_so_once() -> None:
    """Until somebody leads; then it is news again."""
    operator = MemoryOperatorLog(lambda: 0.0)
    ports = cast(ReplicaPorts, SimpleNamespace(node=1, clock=Clock(), operator=operator, tick_seconds=0.05))
    notices = GroupNotices(1, ports)
    asks = Turn(Role.follower, Role.pre_candidate, 4, Cause(Why.nobody_leads))
    loses = Turn(Role.pre_candidate, Role.follower, 4, Cause(Why.outvoted))
    for _ in range(3):
        notices.note(ready(0, 4, asks, loses))
    notices.note(ready(2, 5))
    notices.note(ready(0, 5, asks, Turn(Role.pre_candidate, Role.follower, 6, Cause(Why.later_term, NodeId(3)))))
    assert [one.notice for one in operator.told] == [
        CampaignBegun(1, 5, "nobody was seen to lead in time", None, None),
        CampaignLost(1, 4, "a majority refused its vote"),
        LeaderChanged(1, 5, 2, None),
        CampaignBegun(1, 5, "nobody was seen to lead in time", 2, None),
        CampaignLost(1, 6, "node 3 has opened a later term"),
    ]


@pytest.mark.parametrize("group", [0, 1])
def test_a_handover(group: int) -> None:
    """Asked and finished where the leadership was, won where it goes, changed for the third: nobody tells of it twice."""

    async def story(world: World) -> None:
        old, (to, third) = world.leader(group), world.followers(group)
        world.forget()
        world.replica(old, group).inbox.push(Lead(to, Move.clock))
        await world.until(lambda: of_group(world, old, HandoverFinished, group), "it has moved")
        assert kinds(world, old, group)[:2] == [HandoverAsked, HandoverFinished]
        (asked,) = of_group(world, old, HandoverAsked, group)
        assert (asked.to, asked.reason) == (to, "the clock here is far off")
        (begun,) = of_group(world, to, CampaignBegun, group)
        assert begun.reason == f"node {old} asked for it" and begun.was == old
        assert kinds(world, to, group)[:2] == [CampaignBegun, ElectionWon]
        assert [changed.leader for changed in of_group(world, third, LeaderChanged, group)[:1]] == [to]

    play(story)


def test_a_handover_that_is_not_taken() -> None:
    """The taker stands still: it is given up in a second, and said once."""

    async def story(world: World) -> None:
        old, to = world.leader(1), world.followers(1)[0]
        world.forget()
        world.cluster.pause(to)
        for _ in range(3):
            world.replica(old, 1).inbox.push(Lead(to))
        await world.until(lambda: of_group(world, old, HandoverGivenUp), "it is given up")
        assert kinds(world, old) == [HandoverAsked, HandoverGivenUp]
        (given_up,) = of_group(world, old, HandoverGivenUp)
        assert given_up.to == to and "did not take it in time" in given_up.reason and given_up.seconds < 2.0
        assert world.leader(1) == old

    play(story)


def test_a_node_that_stops_gives_all_away() -> None:
    """Its log says so group by group; the peers say that it said goodbye, and that it is back."""

    async def story(world: World) -> None:
        victim = world.leader(1)
        led = [group for group in range(3) if world.leader(group) == victim]
        world.forget()
        world.cluster.stop(victim)
        await world.until(lambda: not world.cluster.hosts[victim].is_up, "it has stopped")
        asked, finished = world.told(victim, HandoverAsked), world.told(victim, HandoverFinished)
        assert sorted(one.group for one in asked) == led == sorted(one.group for one in finished)
        assert {one.reason for one in asked} == {"this node stops"}
        others = list(world.cluster.nodes())
        lost = world.told_by_all(LinkLost)
        assert [(number, notice.peer) for number, notice in lost] == [(number, victim) for number in others]
        words = ("it said: the node stops", "the connection broke")  # the end of a process may overtake its word
        assert all(notice.reason in words for _, notice in lost)
        world.cluster.start(victim)
        await world.until(world.is_home, "leaderships go home")
        for number in others:
            assert [up.peer for up in world.told(number, LinkUp)] == [victim]
        home = [one for number in others for one in world.told(number, HandoverAsked)]
        assert sorted(one.group for one in home) == led
        assert {one.reason for one in home} == {"that node is the group's home"}
        assert not world.told_by_all(SteppedDown), "a handover is told as one"

    play(story, shards=2)


def test_a_leader_whose_disk_stands_still_says_why_it_resigns() -> None:
    """For each group that it led."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=1_000)
        slow = world.leader(1)
        world.forget()
        world.cluster.hosts[slow].drive.slowness = 20_000.0
        await world.client.transfer("a", "b", 1)
        await world.until(lambda: world.cluster.leader_of(1) not in (None, slow), "another leads")
        (down,) = of_group(world, slow, SteppedDown)
        assert down.reason == "a write of its log stands still"
        (begun,) = of_group(world, world.leader(1), CampaignBegun)
        assert begun.reason == f"node {slow} asked for it"

    play(story)


def test_payments_leave_no_line() -> None:
    """Neither do reads, refusals by the books, or checkpoints at the usual level."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=1_000)
        await asyncio.sleep(5.0)
        world.forget()
        for _ in range(100):
            await world.client.transfer("a", "b", 1)
            await world.client.account("a")
        await world.client.transfer_many(["a"] * 50, ["b"] * 50, [10_000] * 50)
        assert world.told_by_all(Notice) == []

    play(story)


def test_stamps_that_are_held_back() -> None:
    """All clocks were an hour ahead, and are put right: no majority says so at once, and the log's stamps wait for the time."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=100)
        for host in world.cluster.hosts.values():
            host.clock.offset_ns = 20 * SECOND_NS
        await asyncio.sleep(2.0)
        world.cluster.crash(world.leader(1))
        await world.until(lambda: world.cluster.leader_of(1) is not None, "another leads, and takes the time as it is")
        await world.client.transfer("a", "b", 1)
        world.forget()
        for host in world.cluster.hosts.values():
            host.clock.offset_ns = 0

        def told(kind: type[Kind]) -> list[Kind]:
            """By whoever leads the shard then: who looked first took the others' clocks, or its own, for wrong."""
            return [notice for number in world.cluster.hosts for notice in of_group(world, number, kind)]

        await world.until(lambda: told(StampsTrue), "the time has caught up")
        (held,), (true,) = told(StampsHeldBack), told(StampsTrue)
        assert 15.0 < held.ahead_seconds < 21.0 and 15.0 < true.seconds < 25.0

    play(story)
