"""Every call ends within its time, whoever stands still: on real nodes, some or all of them paused."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from protocol.client import SyncClient, connect
from protocol.errors import Busy, OutcomeUnknown, ProtocolError, RingpayError, Unreachable
from protocol.status import Status
from scripts.local import LocalCluster
from tests.e2e.nodes import running
from tests.e2e.programs import run

LIMIT_SECONDS = 0.7
SLACK_SECONDS = 2.2  # of a busy machine; less than the least that a paused node used to cost
WAIT_SECONDS = 20.0  # until nodes that have stood still serve again
PROGRAM_SECONDS = 6.0  # for a program to start and end, or six times what one takes here that does nothing else
CALLS: dict[str, Callable[[SyncClient], object]] = {
    "account": lambda client: client.account("a", timeout=LIMIT_SECONDS),
    "accounts": lambda client: client.accounts(["a", "b"], timeout=LIMIT_SECONDS),
    "snapshot": lambda client: client.snapshot(["a", "b"], timeout=LIMIT_SECONDS),
    "audit": lambda client: client.audit(timeout=LIMIT_SECONDS),
    "cluster": lambda client: client.cluster(timeout=LIMIT_SECONDS),
    "undecided": lambda client: client.undecided(timeout=LIMIT_SECONDS),
    "history": lambda client: list(client.history("a", timeout=LIMIT_SECONDS)),
    "a page of history": lambda client: list(client.history("a", page_timeout=LIMIT_SECONDS)),
    "find": lambda client: client.find(1, timeout=LIMIT_SECONDS),
    "trace": lambda client: client.trace(1, timeout=LIMIT_SECONDS),
    "outcome": lambda client: client.outcome(1, "a", timeout=LIMIT_SECONDS),
    "transfer": lambda client: client.transfer("a", "b", 1, timeout=LIMIT_SECONDS),
    "transfer_many": lambda client: client.transfer_many(["a"], ["b"], [1], timeout=LIMIT_SECONDS),
    "capture": lambda client: client.capture(1, 1, timeout=LIMIT_SECONDS),
    "create_account": lambda client: client.create_account("c", "EUR", timeout=LIMIT_SECONDS),
    "create_accounts": lambda client: client.create_accounts([("c", "EUR", 0, None, "", b"")], timeout=LIMIT_SECONDS),
    "update_account": lambda client: client.update_account("a", owner="x", timeout=LIMIT_SECONDS),
    "lock": lambda client: client.lock("till", wait=LIMIT_SECONDS).__enter__(),
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Three nodes, two shards, two accounts."""
    with running(3, 2) as cluster:
        with connect(cluster.addresses) as client:
            client.create_account("a", "EUR", minimum_balance=None)
            client.create_account("b", "EUR")
        yield cluster


@contextmanager
def paused(cluster: LocalCluster, *numbers: int) -> Iterator[None]:
    """These nodes stand still."""
    for number in numbers:
        cluster.pause(number)
    try:
        yield
    finally:
        for number in numbers:
            cluster.resume(number)


def politely(call: Callable[[], object]) -> object:
    """Comes again while a node that has just gone on is busy, or has no leader yet."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            return call()
        except (Busy, Unreachable, OutcomeUnknown):
            assert time.monotonic() < deadline
            time.sleep(0.05)


def ends_in_time(call: Callable[[], object], seconds: float) -> RingpayError | None:
    """What it raises; the test fails if it takes longer."""
    began, raised = time.monotonic(), None
    try:
        call()
    except RingpayError as error:
        raised = error
    took = time.monotonic() - began
    assert took < seconds, f"{took:.1f} s, {raised!r}"
    return raised


@pytest.mark.parametrize("name", CALLS)
def test_every_call_while_all_nodes_stand_still(cluster: LocalCluster, name: str) -> None:
    """The connections are open, and nobody answers on them."""
    with connect(cluster.addresses) as client, paused(cluster, 1, 2, 3):
        raised = ends_in_time(lambda: CALLS[name](client), LIMIT_SECONDS + SLACK_SECONDS)
        assert raised is not None
        assert name != "lock" or isinstance(raised, Unreachable)  # nobody has said that it is held


def test_connecting(cluster: LocalCluster) -> None:
    """To nodes that all stand still in time; to one that answers among others that do not, soon."""
    with paused(cluster, 1, 2, 3):
        limit = LIMIT_SECONDS + SLACK_SECONDS
        raised = ends_in_time(lambda: connect(cluster.addresses, timeout=LIMIT_SECONDS), limit)
        assert isinstance(raised, Unreachable)
    with paused(cluster, 1, 2):
        for _ in cluster.addresses:  # whoever is asked first
            connect(cluster.addresses, timeout=LIMIT_SECONDS).close()


def test_a_time_limit_of_weeks(cluster: LocalCluster) -> None:
    """More milliseconds than 32 bits hold."""
    with connect(cluster.addresses) as client:
        assert client.audit(timeout=4_294_968).balanced
        assert client.transfer("a", "b", 1, timeout=1e300).status is Status.created


@pytest.mark.parametrize("seconds", [-1, float("nan"), "5", True])
def test_what_is_no_time_limit(cluster: LocalCluster, seconds: Any) -> None:
    """Nobody is asked."""
    with pytest.raises(ProtocolError, match="expected a number of seconds"):
        connect(cluster.addresses, timeout=seconds)
    with connect(cluster.addresses) as client, pytest.raises(ProtocolError, match="expected a number of seconds"):
        client.account("a", timeout=seconds)


@pytest.mark.parametrize(
    "words", ["audit", "status", "history a", "outcome 0123456789abcdef0123456789abcdef --debit a"]
)
def test_pay_ends_in_time(cluster: LocalCluster, words: str) -> None:
    """Connecting and all that it asks for together, while two of three nodes stand still."""

    def seconds_of(*arguments: str) -> float:
        began = time.monotonic()
        run("pay", *arguments)
        return time.monotonic() - began

    with paused(cluster, 2, 3):
        took = seconds_of(*words.split(), "--timeout=1", f"--addresses={','.join(cluster.addresses)}")
        nothing = seconds_of("account", "create", "--help")
    assert took < 1 + PROGRAM_SECONDS * max(1.0, nothing)


def test_a_client_that_a_fork_has_copied(cluster: LocalCluster) -> None:
    """Its thread is not there to answer: it says so at once, and the first one goes on."""
    with connect(cluster.addresses) as client:
        child = os.fork()
        if not child:
            try:
                client.account("a")
            except ProtocolError as error:
                os._exit(0 if "after the fork" in str(error) else 1)
            os._exit(2)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert client.account("a").id == "a"


def test_a_payment_in_doubt_names_its_id(cluster: LocalCluster) -> None:
    """The nodes have it, and stand still before they answer: settled when they go on."""
    with connect(cluster.addresses) as client:
        id, raised = 0, RingpayError()
        while not id or isinstance(
            raised, Unreachable
        ):  # no connection stood on a starved machine, so that it never left
            politely(lambda: client.account("a"))
            id = client.new_id()
            with paused(cluster, 1, 2, 3), pytest.raises(RingpayError) as caught:
                client.transfer("a", "b", 1, id=id, timeout=LIMIT_SECONDS)
            raised = caught.value
        assert isinstance(raised, OutcomeUnknown) and raised.ids == (id,)
        assert politely(lambda: client.outcome(id, "a")) in (Status.created, Status.cancelled)
