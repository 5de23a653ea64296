"""Whose word about leaders a node takes, and what it passes on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from node.actors.directory import Directory
from node.actors.peers import Link
from node.actors.router import Router
from node.daemon import make_operations
from protocol.messages import Message, Placed
from protocol.placement import NodeAddress, Placement
from tests.actors import quiet
from tests.actors.desk_world import Time


class Told(Link):
    """A link to a peer that keeps what it is sent."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def send(self, message: Message, *, at_once: bool = False) -> None:
        self.messages.append(message)


class World:
    """Node 1 of three, and its three groups."""

    def __init__(self) -> None:
        nodes = tuple(NodeAddress(node, "localhost", 7100 + node) for node in (1, 2, 3))
        self.router = Router(1, Placement(1, 2, ((2, 3),) * 3, nodes), Time(), make_operations())
        self.link = Told()
        self.directory = Directory(self.router, {2: self.link}, lambda: [])
        self.router.on_split = self.directory.list_splits

    def hear(self, node: int, leaders: Sequence[int], terms: Sequence[int], split: Sequence[str] = ()) -> list[int]:
        """A peer says what it knows; who leads as this node knows it then."""
        self.directory.on_placed(node, Placed([], list(leaders), list(split), list(terms)))
        return self.router.leaders


async def test_the_highest_term_counts_whoever_says_it() -> None:
    """A leader that cannot speak to this node is known from others."""
    world = World()
    assert world.hear(2, [3, 2, 0], [4, 4, 0]) == [3, 2, 0]
    assert world.hear(3, [2, 3, 3], [5, 3, 1]) == [2, 2, 3]
    assert world.hear(2, [3, 0, 0], [4, 5, 0]) == [2, 0, 3]


async def test_a_word_that_comes_late_changes_nothing() -> None:
    """A partition held the claim of the deposed leader back; its successor has said all that it will ever say."""
    world = World()
    world.hear(3, [3, 3, 3], [7, 7, 7])
    assert world.hear(2, [2, 2, 0], [6, 6, 6]) == [3, 3, 3]


async def test_who_resigns_is_believed_of_itself_alone() -> None:
    """Others may only have lost sight of a leader that leads on."""
    world = World()
    world.hear(2, [2, 3, 0], [4, 4, 0])
    assert world.hear(2, [2, 0, 0], [4, 4, 0]) == [2, 3, 0]
    assert world.hear(3, [0, 0, 0], [4, 4, 0]) == [2, 0, 0]
    world.directory.learn_leader(0, 4, 0, teller=1)
    assert world.router.leaders == [2, 0, 0]
    world.directory.learn_leader(0, 5, 1, teller=1)
    world.directory.learn_leader(0, 5, 0, teller=1)
    assert world.router.leaders == [0, 0, 0]


async def test_that_this_node_leads_is_for_its_replica_to_say() -> None:
    """Its followers know it before it serves."""
    world = World()
    world.directory.learn_leader(1, 3, 0, teller=1)
    assert world.hear(2, [0, 1, 0], [0, 3, 0]) == [0, 0, 0]
    world.directory.learn_leader(1, 3, 1, teller=1)
    assert world.router.leaders == [0, 1, 0]


async def test_a_lost_peer_leads_nothing_until_somebody_says_so_again() -> None:
    """Another one's leaderships stay, and a connection alone may have broken."""
    world = World()
    world.hear(2, [2, 3, 2], [4, 4, 4])
    world.directory.lost(2)
    assert world.router.leaders == [0, 3, 0]
    assert world.hear(2, [2, 3, 0], [4, 4, 5]) == [2, 3, 0]


async def test_news_of_one_turn_are_told_together() -> None:
    """What has not changed is not told, and a split account is new once."""
    world = World()
    world.hear(2, [2, 0, 0], [1, 0, 0], ["hot"])
    world.hear(3, [2, 3, 0], [1, 1, 0], ["hot"])
    assert not world.link.messages
    await asyncio.sleep(0)
    world.hear(2, [2, 3, 0], [1, 1, 0], ["hot"])
    await asyncio.sleep(0)
    placement = world.router.placement.pack()
    assert world.link.messages == [Placed(placement, [2, 3, 0], ["hot"], [1, 1, 0])]
    world.hear(2, [0, 3, 0], [1, 1, 0])
    await asyncio.sleep(0)
    assert world.link.messages[1:] == [Placed(placement, [0, 3, 0], [], [1, 1, 0])]


def test_a_campaign_hides_no_leader() -> None:
    """A follower that has lost sight of the leader asks for votes in a later term, which nobody may win."""

    async def story(world: quiet.World) -> None:
        leader, follower = world.leader(1), world.followers(1)[0]
        node, other = world.node(follower), world.followers(1)[1]
        term = world.replica(leader, 1).term
        node._leads(1, 0, term + 1, False)
        assert node.router.leaders[1] == leader
        node._directory.lost(leader)
        node._directory.learn_leader(1, term, leader, teller=other)
        assert node.router.leaders[1] == leader

    quiet.play(story)
