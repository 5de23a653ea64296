"""A cluster of real processes in one folder: what `cluster`, `demo`, `bench` and the tests start, wait for and stop.

The folder holds `cluster.toml`, and for node N its data `node-N/`, its log `node-N.log` and its pid file. A marker says
that it was made here: a folder with other things in it is refused, and `clean` deletes what was made here only. What
needs no settings is in `_folder`.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _folder import MARKER, STOP_SECONDS, ClusterError, ClusterFolder, open_folder
from _output import ENDS
from _processes import NodeProcess, free_base_port, uninterrupted, wait_for_port
from _venv import ROOT

from node.config import Config, ConfigError, load
from protocol.client import Client
from protocol.client.connection import Connection
from protocol.client.survey import leaders_of, recovering_of
from protocol.errors import ProtocolError, error_code
from protocol.messages import PROTOCOL_VERSION, Failure, Hello, Request, Role
from protocol.operations import Operation
from protocol.views import NodeState

__all__ = ["LocalCluster", "View", "ClusterError", "create", "open_cluster", "temporary", "until"]

SERVE_SECONDS = 60.0  # to start: a busy machine with long logs to read
WAITING_SECONDS = 3.0  # that a node may be on its way into the cluster before it counts as waiting for others
PORT_SECONDS = 1.0  # to be let go: a process that was killed looks gone a moment before its sockets are
ATTEMPT_SECONDS = 1.0  # one question to a cluster that is starting
POLL_SECONDS = 0.02  # between two of them
VIEW_POLL_SECONDS = 0.2  # of a cluster that may be under load: a view asks every node
LOG_LINES = 12  # of a node that failed to start
PORT_STEP = 50  # between the ports that are tried when the usual ones are taken
USUAL_PORT = 7101
LAST_PORT = 30_000  # above, the system gives ports to outgoing connections


async def until(condition: Callable[[], bool], seconds: float | None = None) -> None:
    """Returns once the condition holds. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for are levels, told by nobody
            await asyncio.sleep(POLL_SECONDS)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A node that runs and takes no clients yet."""

    reason: str  # what it waits for


@dataclass(frozen=True, slots=True)
class View:
    """The cluster as its nodes see it together."""

    leaders: tuple[int, ...]  # of each group, group 0 first; 0 for none
    answering: tuple[int, ...]  # nodes that answered
    committed: tuple[int, ...]  # the highest commit index of each group that a node knows
    reached: tuple[int, ...]  # the lowest one of its replicas that answered
    recovering: Mapping[int, Sequence[int]]  # by node: the groups whose replica there gets back what its disk lost
    waiting: Mapping[int, str]  # nodes that run and do not belong to the cluster yet, and what each waits for

    @property
    def coordinator(self) -> int:
        """The node that runs commit rounds, 0 for none."""
        return self.leaders[0]

    @property
    def leaderless(self) -> list[int]:
        """The groups that have no leader that answers."""
        return [group for group, leader in enumerate(self.leaders) if leader not in self.answering]

    @property
    def is_serving(self) -> bool:
        """Whether every group has a leader that answers."""
        return not self.leaderless


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
        return _combine(seen, self.config.cluster.shards + 1, waiting)

    async def _ask_state(self, number: int) -> NodeState | Waiting | None:
        """What a node says of itself; None if it does not answer."""
        try:
            return NodeState.unpack(await self.ask(number, Operation.cluster, [], ATTEMPT_SECONDS))
        except (OSError, TimeoutError, ProtocolError) as error:
            is_told = (
                isinstance(error, ConnectionRefusedError) and error.errno is None
            )  # by the node, not by the system
            return Waiting(str(error)) if is_told else None

    async def ask(self, number: int, operation: Operation, body: list[Any], seconds: float) -> list[Any]:
        """What this one node answers; a client would ask any. Raises OSError, TimeoutError or ProtocolError."""
        node = self.config.cluster.addresses()[number - 1]
        address = node.host, node.port
        token = self.config.security.client_token
        hello = Hello(PROTOCOL_VERSION, self.config.cluster.name, Role.client, 0, token, 0)
        connection = Connection(address, hello, lambda *_: None)
        try:
            async with asyncio.timeout(seconds):
                await asyncio.get_running_loop().create_connection(lambda: connection, *address)
                await connection.welcome
                expires_ms = connection.expires_ms(asyncio.get_running_loop().time() + seconds)
                answer = await connection.ask(Request(1, operation, -1, expires_ms, 0, body))
        finally:
            connection.close()
        if isinstance(answer, Failure):
            raise ProtocolError(answer.message, error_code(answer.code))
        return answer.body


def _combine(seen: Sequence[NodeState], groups: int, waiting: Mapping[int, str]) -> View:
    """One view of several."""
    commits: list[list[int]] = [[] for _ in range(groups)]
    for replica in (replica for state in seen for replica in state.groups):
        commits[replica.group].append(replica.commit)
    return View(
        leaders_of(seen, groups),
        tuple(state.node for state in seen),
        tuple(max(group, default=0) for group in commits),
        tuple(min(group, default=0) for group in commits),
        recovering_of(seen),
        waiting,
    )


def create(folder: Path, settings: Mapping[str, int | str]) -> LocalCluster:
    """Writes `cluster.toml` from the project's own and the settings given. Raises ClusterError for a foreign folder."""
    folder = folder.resolve()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ClusterError(f"{folder} holds other things; choose a folder that is empty or not there yet")
    text = (ROOT / "cluster.toml").read_text(encoding="utf-8")
    settings = {"peer_token": secrets.token_hex(16), **settings}  # so that no other local program can pass for a node
    for name, value in settings.items():
        written = json.dumps(value, ensure_ascii=False)  # TOML writes texts, numbers, true and false alike
        text, count = re.subn(rf"(?m)^({name}\s*=\s*)(\"[^\"]*\"|\S+)", lambda match, w=written: match[1] + w, text)  # type: ignore[misc]
        assert count == 1, name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).write_text("scripts/cluster --dir made this folder and may delete it\n")
    with open(folder / "cluster.toml", "x", encoding="utf-8", opener=for_owner) as file:
        file.write(text)
    try:
        return open_cluster(folder)
    except ClusterError:
        shutil.rmtree(folder)
        raise


def for_owner(path: str, flags: int) -> int:
    """Opens a file that only its owner may read: it holds tokens."""
    return os.open(path, flags, 0o600)


def open_cluster(folder: Path) -> LocalCluster:
    """The cluster of a folder. Raises ClusterError when there is none."""
    folder = open_folder(folder).folder
    try:
        return LocalCluster(folder, load(folder / "cluster.toml"))
    except ConfigError as error:
        raise ClusterError(str(error)) from error


@asynccontextmanager
async def temporary(
    nodes: int,
    shards: int,
    replication: int,
    folder: Path | None = None,
    *,
    base_port: int | None = None,
    settings: Mapping[str, int | str] | None = None,
    is_kept: Callable[[], bool] = lambda: False,
) -> AsyncIterator[LocalCluster]:
    """A cluster that serves, in a fresh folder, on free ports unless one is named; stopped and, unless it is kept, deleted afterwards."""
    place = Path(tempfile.mkdtemp(prefix="ringpay-")) if folder is None else folder
    if base_port is None:
        first = USUAL_PORT + os.getpid() % 300 * PORT_STEP  # scripts that start together do not race for the same ports
        base_port = free_base_port("127.0.0.1", nodes, range(first, LAST_PORT, PORT_STEP))
    cluster = create(
        place,
        {"name": f"ringpay-{os.getpid()}", "nodes": nodes, "shards": shards, "replication": replication,
         "base_port": base_port, **(settings or {})},
    )  # fmt: skip
    task = asyncio.current_task()
    assert task is not None
    for stop in ENDS[1:]:  # a script that is stopped still stops its nodes
        asyncio.get_running_loop().add_signal_handler(stop, task.cancel)
    try:
        cluster.start(*cluster.numbers)
        await cluster.wait_until_serving()
        yield cluster
    finally:
        for node in cluster.nodes():
            node.send(signal.SIGKILL)  # nothing of it is kept
        for node in cluster.nodes():
            node.wait_until_gone(STOP_SECONDS)
        if not is_kept():
            cluster.clean()
