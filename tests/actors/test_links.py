"""Calls between nodes while single links are cut, one way or both, with every connection left open."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from node.actors.events import Lead
from node.actors.routes import Routes
from node.notices import LinkLost, LinkRenewed, LinkUp, PeerReachedThrough
from protocol.status import Status
from tests.actors.quiet import World, play

GAP_SECONDS = 2.0  # that a client may wait for an answer, during a cut and after it
CUT_SECONDS = 8.0  # longer than any time limit of a call
WAYS = {"both ways": ((0, 1), (1, 0)), "there": ((0, 1),), "back": ((1, 0),)}


async def apart(world: World) -> tuple[int, int]:
    """Moves the coordinator away from the leader of group 1; both nodes."""
    leader = world.leader(1)
    if world.leader(0) == leader:
        other = world.followers(0)[0]
        world.replica(leader, 0)._lead_on(Lead(other))
        await world.until(
            lambda: world.cluster.leader_of(0) == other and world.replica(other, 0).is_serving, "it has moved"
        )
    return world.leader(0), world.leader(1)


async def longest(world: World, seconds: float, ask: Callable[[], Awaitable[object]]) -> float:
    """Asks again and again; the longest time until there was an answer."""
    end, found = world.loop.time() + seconds, 0.0
    while world.loop.time() < end:
        began = world.loop.time()
        await ask()
        found = max(found, world.loop.time() - began)
        await asyncio.sleep(0.05)
    return found


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("what", ["payment", "snapshot", "audit", "trace"])
def test_a_cut_link_stops_nothing(way: str, what: str) -> None:
    """Between the coordinator and another leader; the third node reaches both."""

    async def story(world: World) -> None:
        payer, payee = world.name_in(1, "g"), world.name_in(2, "t")
        await world.open(payer, payee, funds=1_000)
        pair = await apart(world)
        done = await world.client.transfer(payer, payee, 1)
        asks: dict[str, Callable[[], Awaitable[object]]] = {
            "payment": lambda: world.client.transfer(payer, payee, 1, timeout=20.0),
            "snapshot": lambda: world.client.snapshot([payer, payee], timeout=20.0),
            "audit": lambda: world.client.audit(timeout=20.0),
            "trace": lambda: world.client.trace(done.id, timeout=20.0),
        }
        for one, other in WAYS[way]:
            world.network.block(pair[one], pair[other])
        assert await longest(world, CUT_SECONDS, asks[what]) < GAP_SECONDS
        world.network.heal()
        assert await longest(world, CUT_SECONDS, asks[what]) < GAP_SECONDS
        links = world.node(pair[0])._links[pair[1]], world.node(pair[1])._links[pair[0]]
        await world.until(lambda: all(link.is_up for link in links), "the link is up again")

    play(story, shards=3)


def test_a_client_that_is_cut_off_from_the_coordinator_goes_by_other_nodes() -> None:
    """Its first call has to find that out; the next ones wait no more, neither during the cut nor after it, when it is asked again."""

    async def story(world: World) -> None:
        payer, payee = world.name_in(1, "g"), world.name_in(2, "t")
        await world.open(payer, payee, funds=1_000)
        coordinator, client, here = world.leader(0), world.client, world.owner.host
        pay = partial(client.transfer, payer, payee, 1, timeout=20.0)
        world.network.block(here, coordinator)
        world.network.block(coordinator, here)
        await pay()
        assert await longest(world, CUT_SECONDS, pay) < 0.5
        world.network.heal()
        assert await longest(world, CUT_SECONDS, pay) < 0.5
        assert client._calls._open_leader(0) is not None, "it is asked again"

    play(story, shards=3)


@pytest.mark.parametrize("nodes", [3, 5])
def test_a_node_that_cannot_hear_a_leader_finds_it(nodes: int) -> None:
    """Its replica has lost sight of the leader; a client that knows this node alone is served through it."""

    async def story(world: World) -> None:
        name = world.name_in(1, "a")
        await world.open(name, funds=1_000)
        leader = world.leader(1)
        (deaf,) = world.followers(1)[:1]
        world.network.block(leader, deaf)
        world.network.block(deaf, leader)
        connection = await world.dial(deaf)

        def read() -> Awaitable[object]:
            return world.ask(connection, "balances", -1, [name])

        assert await longest(world, CUT_SECONDS, read) < GAP_SECONDS
        world.replica(leader, 1)._lead_on(Lead(other := world.followers(1)[-1]))
        await world.until(lambda: world.cluster.leader_of(1) == other, "leadership moves to a node that is heard")
        world.replica(other, 1)._lead_on(Lead(leader))
        await world.until(lambda: world.cluster.leader_of(1) == leader, "and back to the one that is not")
        assert await longest(world, CUT_SECONDS, read) < GAP_SECONDS

    play(story, nodes=nodes, shards=2)


def test_a_call_passes_over_two_nodes() -> None:
    """Where no node reaches both; and what is in nobody's reach is told to the caller."""

    async def story(world: World) -> None:
        for one, other in ((1, 2), (1, 3), (2, 4)):
            world.network.block(one, other)
            world.network.block(other, one)
        reach = world.node(1)._routes
        await world.until(lambda: reach._way(2, 3) is not None and reach._way(2, 2) is None, "the way is known")
        assert not world.node(1)._is_up(2)
        connection = await world.dial(1)
        for group in range(len(world.cluster.placement.replicas)):
            name = world.name_in(group, "n") if group else "x"
            answer = await world.ask(connection, "balances", -1, [name])
            assert type(answer).__name__ == "Reply", answer

    play(story, nodes=4, shards=4)


def test_a_paused_peer_is_not_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connections stay open; it is up again as soon as it speaks, and nobody has taken it for dead."""

    async def story(world: World) -> None:
        lost: list[int] = []
        monkeypatch.setattr(world.node(1)._directory, "lost", lost.append)
        world.cluster.pause(2)
        await world.until(lambda: not world.node(1)._is_up(2), "it is missed")
        await asyncio.sleep(CUT_SECONDS)
        world.cluster.resume(2)
        await world.until(lambda: world.node(1)._is_up(2), "it is up again")
        assert lost == []

    play(story)


def test_a_cut_is_felt_where_calls_know_one_way_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the tests above can fail."""
    monkeypatch.setattr(Routes, "_way", lambda self, to, links_max: None)

    async def story(world: World) -> None:
        payer, payee = world.name_in(1, "g"), world.name_in(2, "t")
        await world.open(payer, payee, funds=1_000)
        pair = await apart(world)
        world.network.block(*pair)
        world.network.block(pair[1], pair[0])
        paying = asyncio.ensure_future(world.client.transfer(payer, payee, 1, timeout=30.0))
        await asyncio.sleep(CUT_SECONDS)
        assert not paying.done()
        world.network.heal()
        assert (await paying).status in (Status.created, Status.exists)

    play(story, shards=3)


def are_up(world: World) -> bool:
    """Whether all nodes hear each other."""
    return all(link.is_up for node in world.cluster.nodes().values() for link in node._links.values())


@pytest.mark.parametrize("latency_seconds", [0.05, 0.1])
def test_links_come_up_where_answers_take_longer_than_a_tick(latency_seconds: float) -> None:
    """Between continents, or on machines that are busy. The others are up before, and know another way."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=1_000)
        world.network.weather.latency_seconds = latency_seconds
        for number in (1, 2, 3):
            await world.restart(number)
            await world.until(partial(are_up, world), "all links are up")
            await world.until(world.is_home, "leaderships are at home again")

    play(story)


def told_of_links(world: World, number: int) -> list[LinkLost | LinkRenewed | LinkUp | PeerReachedThrough]:
    """All of a node's lines about its links, in order."""
    kinds = (LinkLost, LinkRenewed, LinkUp, PeerReachedThrough)
    return [one.notice for one in world.cluster.hosts[number].operator.told if isinstance(one.notice, kinds)]


def test_a_silence_is_told_once() -> None:
    """When it begins, the first time that the connection is renewed, the way around it, and its end; however long it lasts."""

    async def story(world: World) -> None:
        one, other = world.followers(0)
        world.forget()
        world.network.block(one, other)
        world.network.block(other, one)
        await asyncio.sleep(30.0)  # of virtual time: several renewals
        world.network.heal()
        await world.until(
            lambda: all(world.node(a)._links[b].is_up for a, b in ((one, other), (other, one))), "both hear again"
        )
        for node, peer in ((one, other), (other, one)):
            lost, through, renewed, up = [told for told in told_of_links(world, node) if told.peer == peer]
            assert isinstance(lost, LinkLost) and "nothing was heard for 0.6 s" in lost.reason
            assert isinstance(through, PeerReachedThrough) and through.through == world.leader(0)
            assert isinstance(renewed, LinkRenewed)
            assert isinstance(up, LinkUp) and 29.0 < up.away_seconds < 32.0

    play(story)
