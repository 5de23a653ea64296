"""Node processes on this machine: started apart from the script, found again by their pid files, ended by signals.

A pid alone proves nothing, since the system uses it again: a process counts as a node only while its command line is
the one that started it.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from node.cli.program import ENDS

START_SECONDS = 5.0  # to load a program: instantly, on a machine that is not on its knees
POLL_SECONDS = 0.01  # a process that was killed is gone within milliseconds


@dataclass(frozen=True, slots=True)
class NodeProcess:
    """Where one node lives, and what can be done to its process."""

    number: int
    config: Path
    data: Path
    log: Path
    pid_file: Path

    def command(self) -> list[str]:
        """How the node is started; -P keeps the current folder from hiding the product's modules."""
        program = [sys.executable, "-P", "-m", "node"]
        return [*program, "--config", str(self.config), "--node", str(self.number), "--data", str(self.data)]

    @property
    def variables_file(self) -> Path:
        """Where variables for the environment of this process alone can be written, as an object of JSON."""
        return self.log.with_suffix(".env")

    def environment(self) -> dict[str, str]:
        """What it is started with. Raises OSError."""
        own = self.variables_file
        return os.environ | (json.loads(own.read_bytes()) if own.exists() else {})

    def pid(self) -> int | None:
        """The running process, paused or not; None when there is none."""
        try:
            pid = int(self.pid_file.read_text())
        except (OSError, ValueError):
            return None
        _reap(pid)
        program = self.command()[1:]
        return pid if _command_line(pid)[1:][: len(program)] == program else None

    def state(self) -> str:
        """`running`, `paused` or `stopped`."""
        pid = self.pid()
        if pid is None:
            return "stopped"
        return "paused" if _status(pid).get("State", "").startswith("T") else "running"

    def rss_bytes(self) -> int:
        """Memory in use, 0 when it does not run."""
        pid = self.pid()
        return 0 if pid is None else int(_status(pid).get("VmRSS", "0 kB").split()[0]) * 1024

    def start(self, *arguments: str) -> int:
        """Starts the node unless it runs, with these arguments besides; its pid. Output is added to the log."""
        if (pid := self.pid()) is not None:
            return pid
        self.data.mkdir(parents=True, exist_ok=True)
        command, environment = [*self.command(), *arguments], self.environment()
        with uninterrupted():  # a process whose pid is not written could not be found again
            pid = os.posix_spawn(
                command[0], command, environment, setsid=True,  # a Ctrl-C in the terminal is not the nodes' business
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_OPEN, 1, self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
                    (os.POSIX_SPAWN_DUP2, 1, 2),
                ],
            )  # fmt: skip
            try:
                unfinished = self.pid_file.with_suffix(".new")
                unfinished.write_text(f"{pid}\n")
                unfinished.replace(self.pid_file)
            except OSError:
                os.kill(pid, signal.SIGKILL)
                raise
            wait_for(lambda: _command_line(pid) != [""], START_SECONDS)  # it is empty while the program loads
        return pid

    def send(self, number: signal.Signals) -> bool:
        """Sends a signal; whether there was a process to get it."""
        pid = self.pid()
        if pid is None:
            return False
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return False
        return True

    def wait_until_gone(self, seconds: float) -> bool:
        """Whether the process ended in time; its pid file goes with it."""
        gone = wait_for(lambda: self.pid() is None, seconds)
        if gone:
            self.pid_file.unlink(missing_ok=True)
        return gone

    def data_is_held(self) -> bool:
        """Whether a process uses the data folder, be its pid known or not."""
        try:
            lock = os.open(self.data / "lock", os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False

    def wait_until_data_is_free(self, seconds: float) -> bool:
        """Whether no process used the data folder any more in time."""
        return wait_for(lambda: not self.data_is_held(), seconds)

    def log_end(self, lines: int) -> str:
        """The last lines of the log."""
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return ""


@contextmanager
def uninterrupted() -> Iterator[None]:
    """A KeyboardInterrupt waits until the end of it.

    Not by a signal mask: the threads of libraries have none and would take the signal for the process.
    """
    caught: list[int] = []
    is_main = threading.current_thread() is threading.main_thread()  # no other thread is ever interrupted
    raising = [number for number in ENDS if is_main and signal.getsignal(number) is signal.default_int_handler]
    for number in raising:
        signal.signal(number, lambda number, _: caught.append(number))
    try:
        yield
    finally:
        for number in raising:
            signal.signal(number, signal.default_int_handler)
    if caught:
        raise KeyboardInterrupt


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether the condition came true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def port_is_free(host: str, port: int) -> bool:
    """Whether a node could listen there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that linger do not count
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def wait_for_port(host: str, port: int, seconds: float) -> bool:
    """Whether a node could listen there in time."""
    return wait_for(lambda: port_is_free(host, port), seconds)


def free_base_port(host: str, count: int, wanted: Sequence[int]) -> int:
    """The first of the wanted ports with `count` free ones from there on. Raises OSError where none has."""
    for base in wanted:
        if all(port_is_free(host, base + place) for place in range(count)):
            return base
    raise OSError(f"no {count} free ports in a row from {wanted[0]} on")


def _reap(pid: int) -> None:
    """Takes the exit status of a child, so that it does not stay behind; other processes are not ours to wait for."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass


def _command_line(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
    except OSError:
        return []


def _status(pid: int) -> dict[str, str]:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
