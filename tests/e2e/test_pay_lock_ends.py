"""What a command that runs under `pay lock` leaves behind when pay ends, however that happens: nothing."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from node.cli.output import EXIT_FAILED
from node.cli.program import EXIT_INTERRUPTED
from protocol.client import SyncClient, connect
from protocol.errors import RingpayError
from scripts.local.processes import wait_for
from tests.e2e.nodes import running
from tests.e2e.programs import ROOT, environment, script

SECONDS = 60.0  # within which everything that a test waits for has happened
TTL_SECONDS = 3
FAMILY = """
echo $$ > {folder}/command
sleep 1000 & echo $! > {folder}/child
setsid sleep 1000 & echo $! > {folder}/daemon
(trap '' TERM HUP INT; echo $BASHPID > {folder}/stubborn; while :; do sleep 0.1; done) &
wait
"""
MEMBERS = ("command", "child", "daemon", "stubborn")


@pytest.fixture(scope="module")
def addresses() -> Iterator[str]:
    """Of three nodes that serve."""
    with running(3, 1) as cluster:
        yield ",".join(cluster.addresses)


@pytest.fixture
def client(addresses: str) -> Iterator[SyncClient]:
    """One of somebody else."""
    with connect(addresses) as made:
        yield made


class Family:
    """A command with a child, a daemon in a session of its own, and somebody who ignores requests to stop."""

    def __init__(self, addresses: str, folder: Path, lock: str) -> None:
        self._folder = folder
        pay = [script("pay"), "lock", lock, "--ttl", str(TTL_SECONDS), "--"]
        self.pay = subprocess.Popen(
            [*pay, "bash", "-c", FAMILY.format(folder=folder)], env=environment(RINGPAY_ADDRESSES=addresses), cwd=ROOT, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip

    def pid(self, member: str) -> int:
        """Of one of them; 0 while it has not begun."""
        try:
            return int((self._folder / member).read_text())
        except (OSError, ValueError):
            return 0

    def alive(self) -> list[str]:
        """Those that run."""
        return [member for member in MEMBERS if (pid := self.pid(member)) and is_alive(pid)]

    def end(self) -> None:
        """Whatever is left of them."""
        for pid in [self.pay.pid, *(self.pid(member) for member in MEMBERS)]:
            if pid and is_alive(pid):
                os.kill(pid, signal.SIGKILL)
        self.pay.communicate(timeout=SECONDS)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def family(addresses: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Family]:
    """All of them run, under a lock that is named after the test."""
    made = Family(addresses, tmp_path, request.node.name)
    try:
        assert wait_for(lambda: made.alive() == list(MEMBERS), SECONDS), "the command has begun"
        yield made
    finally:
        made.end()


def guard_of(pay: int) -> int:
    """The process between pay and the command."""
    (guard,) = [
        int(folder.name)
        for folder in Path("/proc").glob("[0-9]*")
        if (folder / "stat").exists() and (folder / "stat").read_text().rpartition(")")[2].split()[1] == str(pay)
    ]
    return guard


def is_free(client: SyncClient, name: str) -> Callable[[], bool]:
    def look() -> bool:
        try:
            with client.lock(name, wait=0):
                return True
        except RingpayError:
            return False

    return look


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGKILL])
def test_whatever_ends_pay_ends_all_that_it_has_started(
    family: Family, client: SyncClient, request: pytest.FixtureRequest, number: signal.Signals
) -> None:
    """And the lock is free, given back or left to its time to live."""
    family.pay.send_signal(number)
    assert wait_for(lambda: not family.alive(), SECONDS), family.alive()
    assert family.pay.wait(SECONDS) == (-number if number == signal.SIGKILL else EXIT_INTERRUPTED)
    assert wait_for(is_free(client, request.node.name), SECONDS)


def test_a_lock_is_given_back_behind_the_end_of_its_command(
    family: Family, client: SyncClient, request: pytest.FixtureRequest
) -> None:
    """One that ignores requests to stop keeps it until it is killed."""
    family.pay.send_signal(signal.SIGTERM)
    assert wait_for(lambda: family.alive() == ["stubborn"], SECONDS)
    assert wait_for(is_free(client, request.node.name), SECONDS)
    assert not family.alive()


def test_a_pay_that_stands_still_does_not_keep_its_command(family: Family) -> None:
    """It cannot renew the lease."""
    family.pay.send_signal(signal.SIGSTOP)
    assert wait_for(lambda: not family.alive(), SECONDS), family.alive()
    family.pay.send_signal(signal.SIGCONT)
    assert family.pay.wait(SECONDS) == EXIT_FAILED


def test_a_second_signal_waits_for_nobody(family: Family) -> None:
    """Those that ignore the first request are killed at once."""
    family.pay.send_signal(signal.SIGTERM)
    assert wait_for(lambda: family.alive() == ["stubborn"], SECONDS)
    family.pay.send_signal(signal.SIGTERM)
    assert wait_for(lambda: not family.alive(), SECONDS)


def test_pay_stands_in_for_a_guard_that_is_killed(family: Family) -> None:
    """Nothing of the command is left, and pay says that it has failed."""
    os.kill(guard_of(family.pay.pid), signal.SIGKILL)
    assert wait_for(lambda: not family.alive(), SECONDS), family.alive()
    assert family.pay.wait(SECONDS) == EXIT_FAILED
