"""A cluster of real processes in one folder: what `cluster`, `demo`, `bench` and the tests start, wait for and stop.

The folder holds `cluster.toml`, and for node N its data `node-N/`, its log `node-N.log` and its pid file. A marker says
that it was made here: a folder with other things in it is refused, and `clean` deletes what was made here only.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from _processes import NodeProcess, free_base_port, port_is_free, wait_for
from _venv import ROOT

from node.config import Config, ConfigError, load
from protocol.client import Client, ClusterStatus
from protocol.errors import RingpayError

MARKER = ".made-by-ringpay"
SERVE_SECONDS = 60.0  # to start: a busy machine with long logs to read
PORT_SECONDS = 1.0  # to be let go: a process that was killed looks gone a moment before its sockets are
STOP_SECONDS = 15.0  # to stop gracefully: a node gives itself five
ATTEMPT_SECONDS = 1.0  # one question to a cluster that is starting
POLL_SECONDS = 0.02  # between two of them
VIEW_POLL_SECONDS = 0.2  # of a cluster that may be under load: a view asks every node
LOG_LINES = 12  # of a node that failed to start
PORT_STEP = 50  # between the ports that are tried when the usual ones are taken
USUAL_PORT = 7101
LAST_PORT = 30_000  # above, the system gives ports to outgoing connections


class ClusterError(Exception):
    """What stands in the way, and the remedy."""


async def until(condition: Callable[[], bool], seconds: float | None = None) -> None:
    """Returns once the condition holds. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for are levels, told by nobody
            await asyncio.sleep(POLL_SECONDS)


@dataclass(frozen=True, slots=True)
class View:
    """The cluster as its nodes see it together."""

    leaders: tuple[int, ...]  # of each group, group 0 first; 0 for none
    answering: tuple[int, ...]  # nodes that answered
    committed: tuple[int, ...]  # the highest commit index of each group that a node knows
    reached: tuple[int, ...]  # the lowest one of its replicas that answered

    @property
    def coordinator(self) -> int:
        """The node that runs commit rounds, 0 for none."""
        return self.leaders[0]

    @property
    def is_serving(self) -> bool:
        """Whether every group has a leader that answers."""
        return all(leader in self.answering for leader in self.leaders)


@dataclass(frozen=True, slots=True)
class LocalCluster:
    """The cluster of a folder."""

    folder: Path
    config: Config

    @property
    def numbers(self) -> range:
        """Node numbers, from 1."""
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
        path = self.folder / f"node-{number}"
        return NodeProcess(
            number, self.folder / "cluster.toml", path, path.with_suffix(".log"), path.with_suffix(".pid")
        )

    def nodes(self) -> list[NodeProcess]:
        """All nodes."""
        return [self.node(number) for number in self.numbers]

    def check_fault_switch(self) -> None:
        """Raises ClusterError where the nodes take no faults."""
        if not self.config.testing.fault_switch:
            text = "expected fault_switch = true in its cluster.toml; clean it and use up --faults"
            raise ClusterError(f"{self.folder}: {text}")

    def start(self, number: int) -> None:
        """Starts a node. Raises ClusterError when another program has its port."""
        node = self.node(number)
        if node.pid() is None:
            address = self.config.cluster.addresses()[number - 1]
            if not wait_for(lambda: port_is_free(address.host, address.port), PORT_SECONDS):
                raise ClusterError(f"{address.host}:{address.port} is taken by another program; choose --base-port")
            node.start()

    def kill(self, number: int) -> None:
        """SIGKILL, as a power cut would."""
        node = self.node(number)
        if not node.send(signal.SIGKILL):
            raise ClusterError(f"node {number} does not run")
        node.wait_until_gone(STOP_SECONDS)

    def stop(self, number: int) -> None:
        """SIGTERM: the node hands over what it leads and goes."""
        node = self.node(number)
        if not node.send(signal.SIGTERM):
            raise ClusterError(f"node {number} does not run")
        node.send(signal.SIGCONT)
        if not node.wait_until_gone(STOP_SECONDS):
            raise ClusterError(f"node {number} does not stop; see {node.log}, or use kill")

    def down(self) -> None:
        """Stops all nodes together, and kills those that do not stop in time."""
        nodes = self.nodes()
        for node in nodes:
            node.send(signal.SIGTERM)
            node.send(signal.SIGCONT)
        deadline = time.monotonic() + STOP_SECONDS
        for node in nodes:
            if not node.wait_until_gone(deadline - time.monotonic()):
                node.send(signal.SIGKILL)
                node.wait_until_gone(STOP_SECONDS)

    def clean(self) -> None:
        """Deletes what was made here, and the folder if that was all. Raises ClusterError while a node runs."""
        running = [node.number for node in self.nodes() if node.pid() is not None]
        if running:
            raise ClusterError(f"node {running[0]} runs; use down first")
        for node in self.nodes():
            shutil.rmtree(node.data, ignore_errors=True)
            node.log.unlink(missing_ok=True)
            node.pid_file.unlink(missing_ok=True)
        for name in ("cluster.toml", MARKER):
            (self.folder / name).unlink(missing_ok=True)
        if not any(self.folder.iterdir()):
            self.folder.rmdir()

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
        raise ClusterError(f"the cluster does not serve after {SERVE_SECONDS:.0f} s; see the logs in {self.folder}")

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

    async def wait_until_answering(self, number: int) -> None:
        """Returns once the node answers. Raises ClusterError."""
        node = self.node(number)
        deadline = time.monotonic() + SERVE_SECONDS
        while not await self._answers(number):
            self._check_started(node)
            if time.monotonic() > deadline:
                raise ClusterError(f"node {number} does not answer after {SERVE_SECONDS:.0f} s; see {node.log}")
            await asyncio.sleep(POLL_SECONDS)

    def _check_started(self, node: NodeProcess) -> None:
        if node.pid() is None:
            raise ClusterError(f"node {node.number} stopped while starting:\n{node.log_end(LOG_LINES)}")

    async def view(self) -> View:
        """Asks every node that runs; where they differ, the leader of the highest term counts."""
        seen: dict[int, ClusterStatus] = {}
        running = [self.addresses[node.number - 1] for node in self.nodes() if node.state() == "running"]
        try:
            async with self.client(ATTEMPT_SECONDS, running) as client:
                for _ in self.numbers:  # the client asks another node each time
                    status = await client.cluster()
                    seen[status.node] = status
        except RingpayError:
            pass  # what was seen until then counts
        return _combine(list(seen.values()), self.config.cluster.shards + 1)

    async def _answers(self, number: int) -> bool:
        try:
            async with self.client(ATTEMPT_SECONDS, [self.addresses[number - 1]]):
                return True
        except RingpayError:
            return False


def _combine(seen: list[ClusterStatus], groups: int) -> View:
    """One view of several; rows are (group, role, term, leader, commit index, ...)."""
    leaders = [(0, 0)] * groups
    commits: list[list[int]] = [[] for _ in range(groups)]
    for group, _, term, leader, commit, *_ in (row for status in seen for row in status.groups):
        leaders[group] = max(leaders[group], (term, leader))
        commits[group].append(commit)
    return View(
        tuple(leader for _, leader in leaders),
        tuple(status.node for status in seen),
        tuple(max(group, default=0) for group in commits),
        tuple(min(group, default=0) for group in commits),
    )


def create(folder: Path, settings: Mapping[str, int | str]) -> LocalCluster:
    """Writes `cluster.toml` from the project's own and the settings given. Raises ClusterError for a foreign folder."""
    folder = folder.resolve()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ClusterError(f"{folder} holds other things; choose a folder that is empty or not there yet")
    text = (ROOT / "cluster.toml").read_text()
    settings = {"peer_token": secrets.token_hex(16), **settings}  # so that no other local program can pass for a node
    for name, value in settings.items():
        written = f'"{value}"' if isinstance(value, str) else str(value).lower()  # true, false
        text, count = re.subn(rf"(?m)^({name}\s*=\s*)(\"[^\"]*\"|\S+)", lambda match, w=written: match[1] + w, text)  # type: ignore[misc]
        assert count == 1, name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).write_text("scripts/cluster --dir made this folder and may delete it\n")
    (folder / "cluster.toml").write_text(text)
    try:
        return open_cluster(folder)
    except ClusterError:
        shutil.rmtree(folder)
        raise


def open_cluster(folder: Path) -> LocalCluster:
    """The cluster of a folder. Raises ClusterError when there is none."""
    folder = folder.resolve()
    if not (folder / MARKER).is_file():
        raise ClusterError(f"{folder} holds no cluster made by scripts/cluster")
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
    settings: Mapping[str, int | str] | None = None,
    is_kept: Callable[[], bool] = lambda: False,
) -> AsyncIterator[LocalCluster]:
    """A cluster that serves, in a fresh folder on ports of its own; stopped and, unless it is to be kept, deleted afterwards."""
    place = Path(tempfile.mkdtemp(prefix="ringpay-")) if folder is None else folder
    first = USUAL_PORT + os.getpid() % 300 * PORT_STEP  # scripts that start together do not race for the same ports
    base_port = free_base_port("127.0.0.1", nodes, range(first, LAST_PORT, PORT_STEP))
    cluster = create(
        place,
        {"name": f"ringpay-{os.getpid()}", "nodes": nodes, "shards": shards, "replication": replication,
         "base_port": base_port, **(settings or {})},
    )  # fmt: skip
    task = asyncio.current_task()
    assert task is not None
    for stop in (signal.SIGTERM, signal.SIGHUP):  # a script that is stopped still stops its nodes
        asyncio.get_running_loop().add_signal_handler(stop, task.cancel)
    try:
        for number in cluster.numbers:
            cluster.start(number)
        await cluster.wait_until_serving()
        yield cluster
    finally:
        for node in cluster.nodes():
            node.send(signal.SIGKILL)  # nothing of it is kept
        for node in cluster.nodes():
            node.wait_until_gone(STOP_SECONDS)
        if not is_kept():
            cluster.clean()
