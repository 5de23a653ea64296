"""The folder of a cluster: its nodes by the files they leave there, and what ends them.

None of this reads the settings: nodes can be stopped, and their data deleted, whatever was done to `cluster.toml`.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from scripts.local.processes import NodeProcess, wait_for

MARKER = ".made-by-ringpay"
STOP_SECONDS = 15.0  # to stop gracefully: a node gives itself five
DATA_SECONDS = 5.0  # to be let go: a process that was killed looks gone a moment before its files are closed
NODE_FILE = re.compile(r"node-([1-9]\d{0,3})(\.log|\.pid)?")
SUFFIXES = (".log", ".pid", ".env", ".clock")  # of a node's files beside its data


class ClusterError(Exception):
    """What stands in the way, and the remedy."""


@dataclass(frozen=True, slots=True)
class ClusterFolder:
    """The nodes that were ever started in a folder."""

    folder: Path

    @property
    def numbers(self) -> Sequence[int]:
        """Node numbers, rising."""
        found = (NODE_FILE.fullmatch(path.name) for path in self.folder.iterdir())
        return sorted({int(match[1]) for match in found if match})

    def node(self, number: int) -> NodeProcess:
        """One node. Raises ClusterError for a number that is none."""
        if number not in self.numbers:
            raise ClusterError(f"node {number} was never started in {self.folder}")
        return self._process(number)

    def _process(self, number: int) -> NodeProcess:
        path = self.folder / f"node-{number}"
        return NodeProcess(
            number, self.folder / "cluster.toml", path, path.with_suffix(".log"), path.with_suffix(".pid")
        )

    def nodes(self) -> list[NodeProcess]:
        """All nodes."""
        return [self.node(number) for number in self.numbers]

    def kill(self, number: int) -> None:
        """SIGKILL, as a power cut would. Raises ClusterError when the node does not run."""
        node = self.node(number)
        _send(node, signal.SIGKILL)
        node.wait_until_gone(STOP_SECONDS)

    def stop(self, number: int) -> None:
        """SIGTERM: the node hands over what it leads and goes. Raises ClusterError when it does not run, or does not go."""
        node = self.node(number)
        _send(node, signal.SIGTERM)
        node.send(signal.SIGCONT)
        if not node.wait_until_gone(STOP_SECONDS):
            raise ClusterError(f"node {number} does not stop; see {node.log}, or use kill")

    def pause(self, number: int) -> None:
        """Freezes a node, and returns once it is frozen. Raises ClusterError when it does not run."""
        node = self.node(number)
        _send(node, signal.SIGSTOP)
        wait_for(lambda: node.state() != "running", STOP_SECONDS)

    def resume(self, number: int) -> None:
        """Lets a frozen node go on. Raises ClusterError when it is not frozen."""
        node = self.node(number)
        if node.state() == "running":
            raise ClusterError(f"node {number} is not paused")
        _send(node, signal.SIGCONT)
        wait_for(lambda: node.state() != "paused", STOP_SECONDS)

    def down(self, numbers: Sequence[int] | None = None) -> None:
        """Stops these nodes, or all, together, and kills those that do not stop in time."""
        nodes = [self.node(number) for number in (self.numbers if numbers is None else numbers)]
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
        for node in self.nodes():
            if node.pid() is not None:
                raise ClusterError(f"node {node.number} runs; use down first")
            if not node.wait_until_data_is_free(DATA_SECONDS):
                raise ClusterError(f"a process holds {node.data}; end it first: pgrep -f {node.data} finds it")
        for node in self.nodes():
            shutil.rmtree(node.data, ignore_errors=True)
            for suffix in SUFFIXES:
                node.data.with_suffix(suffix).unlink(missing_ok=True)
        for kept in self.folder.glob("node-*.lost-*"):
            shutil.rmtree(kept, ignore_errors=True)
        for name in ("cluster.toml", MARKER):
            (self.folder / name).unlink(missing_ok=True)
        if not any(self.folder.iterdir()):
            self.folder.rmdir()


def _send(node: NodeProcess, number: signal.Signals) -> None:
    if not node.send(number):
        raise ClusterError(f"node {node.number} does not run")


def open_folder(folder: Path) -> ClusterFolder:
    """A folder that was made here. Raises ClusterError for any other."""
    folder = folder.resolve()
    if not (folder / MARKER).is_file():
        raise ClusterError(f"{folder} holds no cluster made by scripts/cluster")
    return ClusterFolder(folder)


@contextmanager
def alone(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Keeps other commands out of a folder that is there, and waits for one that is at work. Raises ClusterError.

    The lock is the folder itself, so that no file stays behind.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another command is at work in {folder}; waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        if not folder.exists() or not os.path.samestat(os.fstat(handle), folder.stat()):
            raise ClusterError(f"{folder} was deleted meanwhile")
        yield
    finally:
        os.close(handle)
