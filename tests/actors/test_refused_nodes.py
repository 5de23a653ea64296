"""Nodes that the others do not let in: both sides say so, and a node that most refuse stops."""

from __future__ import annotations

from dataclasses import replace

import pytest

from node.notices import PeerRefused, RefusedByPeer, StopCause, StoppedByItself, Waiting
from protocol.client.connection import Connection
from protocol.errors import ErrorCode
from protocol.messages import PROTOCOL_VERSION, Acknowledgements, Hello
from protocol.status import Status
from tests.actors.quiet import World, play
from tests.simulation.cluster import BASE_PORT

REFUSED = {
    "another version": ({"version": 999}, ErrorCode.wrong_version),
    "another cluster": ({"cluster": "elsewhere"}, ErrorCode.wrong_cluster),
    "another cluster of the same name": ({"identity": 4_711}, ErrorCode.wrong_cluster),
    "a token where none is set": ({"token": "guess"}, ErrorCode.not_authenticated),
    "other settings": ({"settings": "shards=99"}, ErrorCode.wrong_settings),
    "another data folder": ({"data_id": 4_711}, ErrorCode.unknown_peer),
}
VALUES = {
    "another version": ("999", f"{PROTOCOL_VERSION}"),
    "another cluster": ("elsewhere", "simulated"),
    "another cluster of the same name": (f"{4_711:016x}",),
    "other settings": ("shards 99", "not 1"),
    "another data folder": (f"{4_711:016x}",),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_node_that_all_others_refuse_stops_and_both_sides_say_why(name: str) -> None:
    """Whatever a hello can be refused for; the others go on."""
    change, code = REFUSED[name]

    async def story(world: World) -> None:
        await world.open("a", "b", funds=1_000)
        odd = world.followers(1)[0]
        members = world.node(odd).members
        own = members.hello

        def hello() -> Hello:
            return replace(own(), **change)  # type: ignore[arg-type]  # fields by name

        members.hello = hello  # type: ignore[method-assign]  # what a process with other settings says
        for link in world.node(odd)._links.values():
            assert link._connection is not None
            link._connection.abort()
        await world.until(lambda: not world.cluster.hosts[odd].is_up, "it stops")
        reason = str(world.broken.pop().exceptions[0])  # type: ignore[attr-defined]
        others = sorted(set(world.cluster.hosts) - {odd})
        assert all(f"node {other}: " in reason for other in others)
        told = world.told_by_all(PeerRefused)
        assert [(node, notice.peer, notice.code) for node, notice in told] == [(one, odd, code.value) for one in others]
        assert all(value in notice.reason for value in VALUES.get(name, ()) for _, notice in told), "both sides' values"
        assert sorted(notice.peer for notice in world.told(odd, RefusedByPeer)) == others, "each once"
        stopped = world.told(odd, StoppedByItself)
        assert [notice.cause for notice in stopped] == [StopCause.not_admitted] and stopped[0].reason == reason
        assert (await world.client.transfer("a", "b", 1)).status == Status.created

    play(story)


async def start_elsewhere(world: World, number: int) -> list[Connection]:
    """Another process on a copy of the node's folder connects to all others, and lives."""
    hello = replace(world.node(number).members.hello(), start=4_711)
    connections: list[Connection] = []
    for other in sorted(set(world.cluster.hosts) - {number}):
        host, port = "127.0.0.1", BASE_PORT + other - 1
        connection = _Peer((host, port), hello, lambda *_: None)
        await world.loop.create_connection(lambda one=connection: one, host, port)
        await connection.welcome
        connections.append(connection)
    return connections


class _Peer(Connection):
    """Says hello as a peer, and hears what comes."""

    def _on_message(self, message: object) -> None:
        if not self.welcome.done():
            self.welcome.set_result(message)  # type: ignore[arg-type]


@pytest.mark.parametrize("lives", [True, False])
def test_a_copy_of_a_folder_that_is_started_elsewhere(lives: bool) -> None:
    """It takes the node's place, which stops and says so; or it has gone after its hello, and the node is let in again."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=1_000)
        own = world.followers(1)[0]
        connections = await start_elsewhere(world, own)
        for connection in connections:
            if lives:
                connection._write(Acknowledgements([]))
            else:
                connection.close()
        if lives:
            await world.until(lambda: not world.cluster.hosts[own].is_up, "the node stops")
            assert "has started anew since" in str(world.broken.pop().exceptions[0])  # type: ignore[attr-defined]
        else:
            others = sorted(set(world.cluster.hosts) - {own})
            await world.until(lambda: all(world.node(other)._is_up(own) for other in others), "it is let in again")
        assert (await world.client.transfer("a", "b", 1, timeout=20.0)).status == Status.created

    play(story)


def test_a_node_that_reaches_nobody_says_so_once() -> None:
    """Its settings may name other addresses than the others listen on."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=1_000)
        odd = world.followers(1)[0]
        world.forget()
        for other in set(world.cluster.hosts) - {odd}:
            world.network.block(odd, other)
            world.network.block(other, odd)
        await world.until(lambda: world.told(odd, Waiting), "it says so")
        begun = world.loop.time()
        await world.until(lambda: world.loop.time() > begun + 20.0, "and not again")
        ((node, waiting),) = world.told_by_all(Waiting)
        assert node == odd and "no other node answers" in waiting.reason

    play(story)
