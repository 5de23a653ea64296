"""Locks of synchronous programs and of `pay lock`, on real node processes: interrupts, nests, and what is refused."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from node.cli.output import EXIT_FAILED
from node.cli.program import EXIT_INTERRUPTED
from protocol.client import LockOwner, SyncClient, connect
from protocol.errors import Refused
from scripts.local.processes import wait_for
from tests.e2e.nodes import running
from tests.e2e.programs import ROOT, Outcome, environment, run, script

SECONDS = 30.0  # within which everything that a test waits for has happened
PAY = script("pay")


@pytest.fixture(scope="module")
def addresses() -> Iterator[str]:
    """Of three nodes that serve."""
    with running(3, 1) as cluster:
        yield ",".join(cluster.addresses)


@pytest.fixture
def client(addresses: str) -> Iterator[SyncClient]:
    """One of the program under test."""
    with connect(addresses) as made:
        yield made


@pytest.fixture
def other(addresses: str) -> Iterator[SyncClient]:
    """One of somebody else."""
    with connect(addresses) as made:
        yield made


def has_claim(client: SyncClient, name: str, owner: LockOwner) -> bool:
    """Whether the owner holds the lock, which somebody has, or waits for it."""
    with pytest.raises(Refused) as refused, client.lock(name, owner=LockOwner(owner.id), wait=0):
        pass
    return refused.value.status == "lock_already_claimed"


def start_pay(addresses: str, *arguments: str, owners: str = "") -> subprocess.Popen[str]:
    """`pay` in the background."""
    variables = environment(RINGPAY_ADDRESSES=addresses, RINGPAY_LOCK_OWNERS=owners)
    return subprocess.Popen(
        [PAY, *arguments], env=variables, cwd=ROOT, text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip


def pay_nested(addresses: str, *names: str) -> Outcome:
    """`pay lock A -- pay lock B -- ... true`."""
    inner = [word for name in names[1:] for word in (PAY, "lock", name, "--")]
    return run("pay", "lock", names[0], "--", *inner, "true", addresses=addresses)


def interrupt_when(*conditions: Callable[[], bool]) -> threading.Thread:
    """An interrupt of the main thread for each condition, when that has come true."""

    def watch() -> None:
        for condition in conditions:
            if wait_for(condition, SECONDS):
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def test_an_interrupted_wait_leaves_no_claim(client: SyncClient, other: SyncClient) -> None:
    """The program goes on, and the lock that its holder gives back is free."""
    owner = client.lock_owner()
    with other.lock("till"):
        interrupting = interrupt_when(lambda: has_claim(other, "till", owner))
        with pytest.raises(KeyboardInterrupt), client.lock("till", ttl=60, owner=owner):
            pytest.fail("somebody else holds it")
        interrupting.join()
        assert not has_claim(other, "till", owner)
    with other.lock("till", wait=0):
        pass


def test_an_interrupt_behind_the_grant_gives_the_lock_back(client: SyncClient, other: SyncClient) -> None:
    """It is granted, but the block is never entered."""
    lock = client.lock("granted", ttl=60)
    plainly = lock._run

    def run_and_interrupt(work: Coroutine[Any, Any, Any]) -> NoReturn:
        lock._run = plainly
        plainly(work)
        raise KeyboardInterrupt

    lock._run = run_and_interrupt
    with pytest.raises(KeyboardInterrupt), lock:
        pytest.fail("the interrupt comes before")
    assert lock.token
    with other.lock("granted", wait=0):
        pass


def test_a_second_interrupt_waits_for_nothing(client: SyncClient) -> None:
    """The first one waits for the work's own end, which here never comes."""
    began, ending = threading.Event(), threading.Event()
    never = asyncio.Event()

    async def work() -> None:
        try:
            began.set()
            await never.wait()
        finally:
            ending.set()
            await never.wait()

    interrupting = interrupt_when(began.is_set, ending.is_set)
    with pytest.raises(KeyboardInterrupt):
        client._run(work())
    interrupting.join()
    assert ending.is_set()
    client._background.loop.call_soon_threadsafe(never.set)


def test_an_interrupt_before_the_release_gives_the_lock_back(client: SyncClient, other: SyncClient) -> None:
    """The release has not been begun."""
    lock = client.lock("released", ttl=60)
    plainly = lock._run

    def interrupt(work: object) -> NoReturn:
        lock._run = plainly
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), lock:
        lock._run = interrupt
    with other.lock("released", wait=0):
        pass


def test_a_lock_without_a_block(client: SyncClient, other: SyncClient) -> None:
    """It is renewed, and kept from others until it is released."""
    lock = client.lock("by hand", ttl=60)
    lock.acquire()
    lock.renew(30)
    lock.check()
    assert (lock.name, lock.ttl, lock.is_held) == ("by hand", 30, True) and 20 < lock.seconds_left <= 30
    with pytest.raises(Refused, match="lock_is_held"):
        other.lock("by hand", wait=0).acquire()
    assert lock.release() and not lock.is_held
    with other.lock("by hand", wait=0):
        pass


def test_interrupted_work_that_waits_for_the_loop_begins(client: SyncClient) -> None:
    """So that a release is heard of: the loop comes to the work and to its end in one turn."""
    blocked, go, begun = threading.Event(), threading.Event(), threading.Event()
    queue = client._background.loop._ready  # type: ignore[attr-defined]  # of the standard loop

    def block() -> None:
        blocked.set()
        go.wait(SECONDS)

    async def work() -> None:
        begun.set()
        await asyncio.sleep(SECONDS)

    client._background.loop.call_soon_threadsafe(block)
    assert blocked.wait(SECONDS)
    before = len(queue)

    def unblock() -> None:
        wait_for(lambda: len(queue) == before + 2, SECONDS)
        go.set()

    interrupting = interrupt_when(lambda: len(queue) == before + 1)
    unblocking = threading.Thread(target=unblock)
    unblocking.start()
    with pytest.raises(KeyboardInterrupt):
        client._run(work())
    interrupting.join()
    unblocking.join()
    assert begun.is_set()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_pay_that_is_interrupted_while_it_waits_leaves_no_claim(
    addresses: str, other: SyncClient, number: signal.Signals
) -> None:
    """It says so in one line. It is given its owner, by which its claim is seen."""
    owner = other.lock_owner()
    with other.lock("queue"):
        waiting = start_pay(addresses, "lock", "queue", "--ttl", "60", "--", "true", owners=f"{owner.id.hex()} 0 queue")
        try:
            assert wait_for(lambda: has_claim(other, "queue", owner), SECONDS)
            waiting.send_signal(number)
            _, complaint = waiting.communicate(timeout=SECONDS)
        finally:
            waiting.kill()
        assert (waiting.returncode, complaint) == (EXIT_INTERRUPTED, "pay: interrupted\n")
    with other.lock("queue", wait=0):
        pass


@pytest.mark.parametrize("names", [("nest", "nest"), ("nest", "egg", "nest")])
def test_pay_refuses_a_lock_that_it_runs_under(addresses: str, names: tuple[str, ...]) -> None:
    """It would wait for itself."""
    refused = pay_nested(addresses, *names)
    assert refused.returncode == EXIT_FAILED
    assert (
        "lock_already_claimed: expected a lock that this command does not run under already, unlike nest"
        in refused.stderr
    )
    assert pay_nested(addresses, "nest", "egg").returncode == 0


def test_commands_side_by_side_under_a_lock_queue_for_another(addresses: str) -> None:
    """They are of one age, and the one that came first keeps the lock."""
    both = f"{PAY} lock shared -- sleep 1 & {PAY} lock shared -- sleep 1; second=$?; wait $! && exit $second"
    done = run("pay", "lock", "around", "--", "sh", "-c", both, addresses=addresses)
    assert done.returncode == 0, done.stderr


def test_nests_in_opposite_order_do_not_deadlock(addresses: str, tmp_path: Path) -> None:
    """The older one takes the lock of the younger, whose command is ended."""

    def nest(outer: str, inner: str) -> subprocess.Popen[str]:
        both = f"touch {tmp_path / outer}; until [ -e {tmp_path / inner} ]; do sleep 0.05; done"
        script = f"{both}; exec {PAY} lock {inner} --ttl 1 -- true"
        return start_pay(addresses, "lock", outer, "--ttl", "1", "--", "sh", "-c", script)

    older = nest("left", "right")
    assert wait_for((tmp_path / "left").exists, SECONDS)
    younger = nest("right", "left")
    try:
        complaints = [each.communicate(timeout=SECONDS)[1] for each in (older, younger)]
    finally:
        older.kill()
        younger.kill()
    assert (older.returncode, younger.returncode) == (0, EXIT_FAILED), complaints
    assert "lock_not_held" in complaints[1]


@pytest.mark.parametrize("wait", ["-1", "nan", "soon"])
def test_pay_takes_no_wait_that_cannot_be(wait: str) -> None:
    """Wrong usage: nobody is asked."""
    refused = run("pay", "lock", "x", "--wait", wait, "--", "true")
    assert refused.returncode == 2 and f"--wait: {wait!r}: expected a number of 0 to 31536000" in refused.stderr
