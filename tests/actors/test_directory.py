"""Whose word about leaders a node takes, and what it passes on."""

from __future__ import annotations

import asyncio

from node.actors.directory import Directory
from node.actors.peers import Link
from node.actors.router import Router
from protocol.messages import Message, Placed
from protocol.placement import NodeAddress, Placement
from tests.actors.desk_world import Time


class Told(Link):
    """A link to a peer that keeps what it is sent."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def send(self, message: Message) -> None:
        self.messages.append(message)


class World:
    """Node 1 of three, with a replica of none of the three groups."""

    def __init__(self) -> None:
        nodes = tuple(NodeAddress(node, "localhost", 7100 + node) for node in (1, 2, 3))
        self.router = Router(1, Placement(1, 2, ((2, 3),) * 3, nodes), Time())
        self.link = Told()
        self.directory = Directory(self.router, {2: self.link}, lambda: [])
        self.router.on_split = self.directory.list_splits


async def test_only_the_leader_itself_is_believed() -> None:
    """A rumour would outlive the node that it is about."""
    world = World()
    world.directory.on_placed(2, [2, 3, 0], [])
    assert world.router.leaders == [2, 0, 0]
    world.directory.on_placed(3, [0, 3, 0], [])
    assert world.router.leaders == [2, 3, 0]
    world.directory.on_placed(2, [0, 0, 2], [])
    assert world.router.leaders == [0, 3, 2]


async def test_a_welcome_fills_gaps_only() -> None:
    """It comes on another connection than the peer's own word, which may be newer."""
    world = World()
    world.directory.on_placed(3, [3, 0, 0], [])
    world.directory.on_welcome(2, [2, 2, 3], [])
    assert world.router.leaders == [3, 2, 0]


async def test_a_word_that_comes_late_leaves_the_successor_known() -> None:
    """A partition held the claim of the deposed leader back; its successor has said all that it will ever say."""
    world = World()
    world.directory.on_placed(3, [0, 3, 3], [])
    world.directory.on_placed(2, [0, 2, 2], [])
    assert world.router.leaders == [0, 2, 2]
    world.directory.on_placed(2, [0, 0, 2], [])
    assert world.router.leaders == [0, 3, 2]
    world.directory.lost(2)
    assert world.router.leaders == [0, 3, 3]
    world.directory.on_placed(3, [0, 0, 0], [])
    assert world.router.leaders == [0, 0, 0]


async def test_of_a_group_with_a_replica_here_nobody_else_is_asked() -> None:
    """The replica may have found its leader again when the lost connection is told, and has nothing to say then."""
    world = World()
    world.router.replicas = {1: None}  # type: ignore[dict-item]  # only its key is looked at
    world.directory.set_leader(1, 2)
    world.directory.on_placed(2, [2, 0, 0], [])
    world.directory.on_placed(3, [0, 3, 0], [])
    assert world.router.leaders == [2, 2, 0]
    world.directory.lost(2)
    assert world.router.leaders == [0, 2, 0]


async def test_a_welcome_is_remembered_behind_what_is_known() -> None:
    """The peer may never say it again on its own connection."""
    world = World()
    world.directory.on_placed(3, [3, 0, 0], [])
    world.directory.on_welcome(2, [2, 0, 0], [])
    assert world.router.leaders == [3, 0, 0]
    world.directory.on_placed(3, [0, 0, 0], [])
    assert world.router.leaders == [2, 0, 0]
    world.directory.on_placed(2, [0, 0, 0], [])
    assert world.router.leaders == [0, 0, 0]


async def test_a_lost_peer_leads_nothing() -> None:
    """Another one's leaderships stay."""
    world = World()
    world.directory.on_placed(2, [2, 0, 2], [])
    world.directory.on_placed(3, [0, 3, 0], [])
    world.directory.lost(2)
    assert world.router.leaders == [0, 3, 0]


async def test_news_of_one_turn_are_told_together() -> None:
    """What has not changed is not told, and a split account is new once."""
    world = World()
    world.directory.on_placed(2, [2, 0, 0], ["hot"])
    world.directory.on_placed(3, [0, 3, 0], ["hot"])
    assert not world.link.messages
    await asyncio.sleep(0)
    world.directory.on_placed(2, [2, 0, 0], ["hot"])
    await asyncio.sleep(0)
    assert world.link.messages == [Placed(world.router.placement.pack(), [2, 3, 0], ["hot"])]
    world.directory.set_leader(0, 0)
    await asyncio.sleep(0)
    assert world.link.messages[1:] == [Placed(world.router.placement.pack(), [0, 3, 0], [])]
