"""A cluster of real processes in one folder: what `cluster`, `demo`, `bench` and the tests start, wait for and stop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from node.config import Config
from protocol.client import Client
from protocol.client.connection import Connection
from protocol.errors import ProtocolError
from protocol.messages import PROTOCOL_VERSION, Hello, Role
from protocol.operations import Body, Operation
from protocol.requests import EmptyRequest
from protocol.views import NodeState
from scripts.local.folder import ClusterError, ClusterFolder
from scripts.local.processes import NodeProcess, uninterrupted, wait_for_port
from scripts.local.view import View, Waiting, combine

SERVE_SECONDS = 60.0  # to start: a busy machine with long logs to read
WAITING_SECONDS = 3.0  # that a node may be on its way into the cluster before it counts as waiting for others
PORT_SECONDS = 1.0  # to be let go: a process that was killed looks gone a moment before its sockets are
ATTEMPT_SECONDS = 1.0  # one question to a cluster that is starting
POLL_SECONDS = 0.02  # between two of them
VIEW_POLL_SECONDS = 0.2  # of a cluster that may be under load: a view asks every node
LOG_LINES = 12  # of a node that failed to start


async def until(condition: Callable[[], bool], seconds: float | None = None) -> None:
    """Returns once the condition holds. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for are levels, told by nobody
            await asyncio.sleep(POLL_SECONDS)


@dataclass(frozen=True, slots=True)
class LocalCluster(ClusterFolder):
    """The cluster of a folder, with its settings."""

    config: Config

    @property
    def numbers(self) -> range:
        """Node numbers, from 1, whether they were ever started or not."""
        return range(1, self.config.cluster.nodes + 1)

    @property
    def addresses(self) -> list[str]:
        """host:port of every node."""
        return [f"{address.host}:{address.port}" for address in self.config.cluster.addresses()]

    def client(self, timeout: float = 10.0, addresses: list[str] | None = None) -> Client:
        """A client of this cluster that begins with the given nodes, or any."""
        return Client(addresses or self.addresses, timeout=timeout, token=self.config.security.client_token)

    def node(self, number: int) -> NodeProcess:
        """One node. Raises ClusterError for a number that is none."""
        if number not in self.numbers:
            raise ClusterError(f"node {number}: expected 1 to {self.config.cluster.nodes}")
        return self._process(number)

    @property
    def renewal(self) -> str:
        """How to make a cluster with other settings here."""
        return "clean it" if all(node.state() == "stopped" for node in self.nodes()) else "use down, then clean"

    def check_fault_switch(self) -> None:
        """Raises ClusterError where the nodes take no faults."""
        if not self.config.testing.fault_switch:
            text = f"expected fault_switch = true in its cluster.toml; {self.renewal}, then up --faults"
            raise ClusterError(f"{self.folder}: {text}")

    def start(self, *numbers: int) -> None:
        """Starts nodes, or none of them. Raises ClusterError when one runs, or another program has the port of one."""
        self.check_startable(numbers)
        for number in numbers:
            self.node(number).start()

    def check_startable(self, numbers: Sequence[int]) -> None:
        """Raises ClusterError when one of the nodes runs, or another program has the port of one."""
        for number in numbers:
            match self.node(number).state():
                case "paused":
                    raise ClusterError(f"node {number} is paused; use resume {number}")
                case "running":
                    raise ClusterError(f"node {number} runs already")
        addresses = [self.config.cluster.addresses()[number - 1] for number in numbers]
        deadline = time.monotonic() + PORT_SECONDS
        for address in addresses:
            if not wait_for_port(address.host, address.port, deadline - time.monotonic()):
                text = "is taken by another program; choose another base_port (up --base-port, or in its cluster.toml)"
                raise ClusterError(f"{address.host}:{address.port} {text}")

    @contextmanager
    def started(self, numbers: Sequence[int], *arguments: str) -> Iterator[None]:
        """Starts nodes, and stops them again when that or what is done meanwhile fails. Raises ClusterError."""
        self.check_startable(numbers)
        try:
            for number in numbers:
                self.node(number).start(*arguments)
            yield
        except BaseException as error:
            with uninterrupted():
                self.down(numbers)
            if isinstance(error, ClusterError):
                raise ClusterError(f"what was started is stopped again: {error}") from error
            raise

    async def wait_until_serving(self) -> View:
        """Returns once every node answers and every group has a leader. Raises ClusterError."""
        deadline = time.monotonic() + SERVE_SECONDS
        while time.monotonic() < deadline:
            for node in self.nodes():
                self._check_started(node)
            view = await self.view()
            if view.is_serving and len(view.answering) == len(self.numbers):
                return view
            await asyncio.sleep(POLL_SECONDS)
        waiting = "".join(f"; {reason}" for reason in dict.fromkeys((await self.view()).waiting.values()))
        text = f"the cluster does not serve after {SERVE_SECONDS:.0f} s{waiting}; see the logs in {self.folder}"
        raise ClusterError(text)

    async def wait_until_caught_up(self) -> None:
        """Returns once every replica has what was committed when this was called. Raises ClusterError."""
        deadline = time.monotonic() + SERVE_SECONDS
        wanted = (await self.wait_until_serving()).committed
        while any(reached < commit for reached, commit in zip((await self.view()).reached, wanted, strict=True)):
            if time.monotonic() > deadline:
                raise ClusterError(f"a replica does not catch up within {SERVE_SECONDS:.0f} s")
            await asyncio.sleep(VIEW_POLL_SECONDS)

    async def wait_until_at_home(self) -> None:
        """Returns once each group is led by the node that the placement prefers. Raises ClusterError."""
        homes = tuple(nodes[0] for nodes in self.config.cluster.placement().replicas)
        deadline = time.monotonic() + SERVE_SECONDS
        while (leaders := (await self.view()).leaders) != homes:
            if time.monotonic() > deadline:
                raise ClusterError(f"leaders {leaders}: expected {homes} within {SERVE_SECONDS:.0f} s")
            await asyncio.sleep(VIEW_POLL_SECONDS)

    async def wait_until_answering(self, number: int) -> str:
        """Returns once the node answers, or for some seconds has waited for others; what for. Raises ClusterError."""
        node = self.node(number)
        began = time.monotonic()
        deadline = began + SERVE_SECONDS
        while not isinstance(found := await self._ask_state(number), NodeState):
            self._check_started(node)
            if found is not None and time.monotonic() > began + WAITING_SECONDS:
                return found.reason
            if time.monotonic() > deadline:
                raise ClusterError(f"node {number} does not answer after {SERVE_SECONDS:.0f} s; see {node.log}")
            await asyncio.sleep(POLL_SECONDS)
        return ""

    def _check_started(self, node: NodeProcess) -> None:
        if node.pid() is None:
            raise ClusterError(f"node {node.number} stopped while starting:\n{node.log_end(LOG_LINES)}")

    async def view(self) -> View:
        """Asks every node that runs; where they differ, the leader of the highest term counts."""
        running = [node.number for node in self.nodes() if node.state() == "running"]
        asked = await asyncio.gather(*(self._ask_state(number) for number in running))
        seen = [found for found in asked if isinstance(found, NodeState)]
        waiting = {
            number: found.reason for number, found in zip(running, asked, strict=True) if isinstance(found, Waiting)
        }
        return combine(seen, self.config.cluster.shards + 1, waiting)

    async def _ask_state(self, number: int) -> NodeState | Waiting | None:
        """What a node says of itself; None if it does not answer."""
        try:
            return NodeState.unpack(await self.ask(number, Operation.cluster, EmptyRequest().pack(), ATTEMPT_SECONDS))
        except (OSError, TimeoutError, ProtocolError) as error:
            # By the node, not by the system.
            is_told = isinstance(error, ConnectionRefusedError) and error.errno is None
            return Waiting(str(error)) if is_told else None

    def connection(self, number: int) -> Connection:
        """To this one node, to be opened; a client would take any."""
        node, token = self.config.cluster.addresses()[number - 1], self.config.security.client_token
        hello = Hello(PROTOCOL_VERSION, self.config.cluster.name, Role.client, 0, token, 0)
        return Connection((node.host, node.port), hello, lambda *_: None)

    async def ask(self, number: int, operation: Operation, body: Body, seconds: float) -> Body:
        """What this one node answers. Raises OSError, TimeoutError or ProtocolError."""
        connection, limit = self.connection(number), asyncio.get_running_loop().time() + seconds
        try:
            async with asyncio.timeout_at(limit):
                await connection.connect()
                return await connection.answer_to(1, operation, body, limit)
        finally:
            connection.close()
