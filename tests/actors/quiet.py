"""A cluster of production nodes in virtual time on which nothing goes wrong by itself: a test says what happens."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Coroutine
from random import Random
from typing import Any, TypeVar

import pytest

from node.actors import snapshots
from node.actors.replica import Replica
from node.notices import Notice
from protocol.client.connection import Connection
from protocol.messages import PROTOCOL_VERSION, Failure, Hello, Reply, Request
from protocol.placement import group_of
from protocol.status import Status
from tests.simulation.cluster import BASE_PORT, Cluster, Shape, SimNode
from tests.simulation.disks import Drive
from tests.simulation.loop import SimLoop, run
from tests.simulation.network import Network

WAIT_SECONDS = 60.0  # of virtual time, within which everything that a test waits for has happened
ASK_SECONDS = 5.0  # that a request past the client is good for
WORLD = "{%d}world"

Kind = TypeVar("Kind", bound=Notice)


class QuietCluster(Cluster):
    """Nothing goes wrong but what a test does."""

    def lose_data(self, number: int) -> None:
        """The host comes back with an empty data folder under its old number."""
        self.hosts[number].drive = Drive(Random(self.random.getrandbits(64)))


class World:
    """The cluster and a client that sits beside it."""

    def __init__(self, nodes: int, shards: int, checkpoint_bytes: int) -> None:
        self.loop = SimLoop()
        self.network = self.loop.network = Network(self.loop, Random(1), BASE_PORT)
        shape = Shape(nodes, shards, nodes, 50, checkpoint_bytes, 1 << 20, 256)
        self.cluster = QuietCluster(self.loop, self.network, shape, Random(2))
        self.broken: list[BaseException] = []
        self.cluster.unexpected = lambda _, error: self.broken.append(error)
        self.loop.failed = lambda _, error: self.broken.append(error)
        self.owner, self.client = self.cluster.client(timeout=10.0)
        self._numbers = itertools.count(1)

    # -- what is there --------------------------------------------------------------------------------------------

    def node(self, number: int) -> SimNode:
        """A node that runs."""
        node = self.cluster.hosts[number].node
        assert node is not None, f"node {number} does not run"
        return node

    def replica(self, number: int, group: int) -> Replica:
        """A group's replica on a node."""
        return self.node(number).replicas[group]

    def leader(self, group: int) -> int:
        """The number of the node that leads the group."""
        number = self.cluster.leader_of(group)
        assert number is not None, f"group {group} has no leader"
        return number

    def followers(self, group: int) -> list[int]:
        """The other nodes, rising."""
        return [number for number in self.cluster.placement.replicas[group] if number != self.leader(group)]

    def is_home(self) -> bool:
        """Whether every group is served by its preferred leader."""
        for group, replicas in enumerate(self.cluster.placement.replicas):
            node = self.cluster.nodes().get(replicas[0])
            if node is None or group not in node.replicas or not node.replicas[group].is_serving:
                return False
        return True

    def is_level(self, group: int) -> bool:
        """Whether all replicas that run have applied the same."""
        nodes = [node for node in self.cluster.nodes().values() if group in node.replicas]
        return len({node.replicas[group].machine.applied for node in nodes}) == 1

    def told(self, number: int, kind: type[Kind]) -> list[Kind]:
        """What a node's log says of one kind, over all its lives since `forget`."""
        return [one.notice for one in self.cluster.hosts[number].operator.told if isinstance(one.notice, kind)]

    def told_by_all(self, kind: type[Kind]) -> list[tuple[int, Kind]]:
        """The same of all nodes, each with the node."""
        return [(number, notice) for number in self.cluster.hosts for notice in self.told(number, kind)]

    def forget(self) -> None:
        """The logs of all nodes are read."""
        for host in self.cluster.hosts.values():
            host.operator.told.clear()

    # -- what happens ---------------------------------------------------------------------------------------------

    async def until(self, condition: Callable[[], object], what: str, look_every: float = 0.01) -> None:
        """Waits in virtual time for something to become true."""
        deadline = self.loop.time() + WAIT_SECONDS
        while not condition():
            assert not self.broken, self.broken
            assert self.loop.time() < deadline, f"{what}: not within {WAIT_SECONDS:.0f} s"
            await asyncio.sleep(look_every)

    async def open(self, *names: str, funds: int = 0) -> None:
        """Opens EUR accounts and puts money on each from its shard's world account."""
        shards = self.cluster.shape.shards
        for name in names:
            world = next(w for w in map(WORLD.__mod__, range(1_000)) if group_of(w, shards) == group_of(name, shards))
            await self.client.create_account(world, "EUR", minimum_balance=None)
            await self.client.create_account(name, "EUR")
            if funds:
                assert (await self.client.transfer(world, name, funds)).status == Status.created

    def name_in(self, group: int, stem: str) -> str:
        """An account id that lives in the group."""
        names = (f"{{{stem}{number}}}" for number in range(1_000))
        return next(name for name in names if group_of(name, self.cluster.shape.shards) == group)

    async def dial(self, number: int) -> Connection:
        """A client's connection to one node, past the client that would look for another."""
        hello = Hello(PROTOCOL_VERSION, "", "client", 0, "", 0)
        host, port = "127.0.0.1", BASE_PORT + number - 1
        _, connection = await self.loop.create_connection(
            lambda: Connection((host, port), hello, lambda *_: None), host, port
        )
        await connection.welcome
        assert isinstance(connection, Connection)
        return connection

    async def ask(self, connection: Connection, operation: str, group: int, body: list[Any]) -> Reply | Failure:
        """One request on that connection."""
        expires_ms = connection.expires_ms(self.loop.time() + ASK_SECONDS)
        return await connection.ask(Request(next(self._numbers), operation, group, expires_ms, 0, body))

    async def leave_behind(self, number: int, pay: Callable[[], Awaitable[None]]) -> int:
        """Kills a follower of shard 1 and pays until the leader's log is cut beyond it; the last index that it has."""
        last = self.replica(number, 1).statistics().last_index
        self.cluster.crash(number)
        await pay()
        leader = self.replica(self.leader(1), 1)
        await self.until(lambda: leader.statistics().first_index > last + 1, "the log is cut")
        return last

    async def restart(self, number: int) -> None:
        """The process ends where it stands, and a new one starts."""
        self.cluster.crash(number)
        self.cluster.start(number)
        await self.until(lambda: self.is_serving(number), f"node {number} serves")

    def is_serving(self, number: int) -> bool:
        """Whether the node's process listens."""
        node = self.cluster.hosts[number].node
        return node is not None and node.is_serving.is_set()


Story = Callable[[World], Coroutine[Any, Any, None]]


def play(story: Story, *, nodes: int = 3, shards: int = 1, checkpoint_bytes: int = 1 << 20) -> None:
    """Starts a cluster, waits until its leaders are in their places, and lets the story happen."""
    world = World(nodes, shards, checkpoint_bytes)
    cluster = world.cluster

    async def whole() -> None:
        for number in cluster.hosts:
            cluster.start(number)
        await world.until(world.is_home, "leaders are in their places")
        async with world.client:
            await story(world)

    async def main() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(snapshots, "_snapshot_ids", itertools.count(1))
            try:
                await world.loop.spawn(world.owner, whole())
            finally:
                for number in cluster.hosts:
                    cluster.crash(number)
                world.loop.kill(world.owner)
                await asyncio.sleep(0)

    run(world.loop, main())
    for error in world.broken:
        raise error


async def together(*work: Awaitable[Any]) -> list[Any]:
    """Everything at once; failures are results."""
    return list(await asyncio.gather(*work, return_exceptions=True))
