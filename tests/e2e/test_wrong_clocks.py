"""Real nodes whose wall clocks are wrong by an hour, by libfaketime."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest

from protocol.client import SyncClient, connect
from protocol.errors import RingpayError
from protocol.placement import group_of
from scripts.local import LocalCluster
from scripts.local.processes import wait_for
from tests.chaos.wrong_clocks import MISSING, find_library, set_ahead
from tests.e2e.nodes import running
from tests.e2e.programs import run

Answer = TypeVar("Answer")
SECONDS = 60.0  # within which everything that a test waits for has happened
HOUR_SECONDS = 3_600

pytestmark = pytest.mark.skipif(find_library() is None, reason=MISSING)


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Three nodes whose clocks can be set."""
    with running(3, 2, prepare=set_right) as made:
        yield made


@pytest.fixture
def client(cluster: LocalCluster) -> Iterator[SyncClient]:
    """One whose own clock is right."""
    with connect(cluster.addresses) as made:
        yield made
    set_right(cluster)


def set_right(cluster: LocalCluster) -> None:
    for node in cluster.nodes():
        set_ahead(node, 0)


def wait_until(condition: Callable[[], object], what: str) -> None:
    def holds() -> bool:
        try:
            return bool(condition())
        except RingpayError:
            return False

    assert wait_for(holds, SECONDS), f"{what}: not within {SECONDS:g} s"


def served(call: Callable[[], Answer]) -> Answer:
    """The call's answer, however often a busy machine has to be asked for it."""
    answers: list[Answer] = []

    def asked() -> bool:
        answers.append(call())
        return True

    wait_until(asked, "an answer")
    return answers[-1]


def is_far_off(client: SyncClient, node: int) -> bool:
    return [clock.node for clock in client.cluster().clocks if clock.is_far_off] == [node]


@pytest.mark.parametrize("ahead_seconds", [HOUR_SECONDS, -HOUR_SECONDS])
def test_an_hour_on_a_leaders_clock_ends_nothing_early(
    cluster: LocalCluster, client: SyncClient, ahead_seconds: int
) -> None:
    """A hold of ten minutes stays, one of a second lives for a second, and the node lets others lead until it is right."""
    name = f"{{clock{ahead_seconds}}}"
    world, payee, long, short = f"{name}:world", f"{name}:a", client.new_id(), client.new_id()
    served(lambda: client.create_account(world, "EUR", minimum_balance=None))
    served(lambda: client.create_account(payee, "EUR"))
    served(lambda: client.hold(world, payee, 40, ttl=600, id=long))
    leader = served(lambda: client.cluster().leaders[group_of(world, 2)])
    set_ahead(cluster.node(leader), ahead_seconds)
    began = time.monotonic()
    served(lambda: client.hold(world, payee, 2, ttl=1, id=short))
    wait_until(lambda: client.account(world).held == 40, "the short hold ends")
    assert time.monotonic() - began >= 1.0
    wait_until(lambda: is_far_off(client, leader), "the others say that it is far off")
    wait_until(lambda: leader not in client.cluster().leaders, "it gives its leaderships away")
    rows = json.loads(run("pay", "status", "-o", "json", addresses=",".join(cluster.addresses)).stdout)
    (told,) = [row for row in rows if row["clock_is_far_off"]]
    assert told["node"] == leader and abs(told["clock_ahead_ns"] / 1e9 - ahead_seconds) < SECONDS
    captured = client.new_id()
    served(lambda: client.capture(long, 40, id=captured))
    stamps = [entry.timestamp_ns / 1e9 for entry in served(lambda: list(client.history(world)))]
    assert stamps and all(abs(stamp - time.time()) < SECONDS for stamp in stamps)
    set_ahead(cluster.node(leader), 0)
    wait_until(lambda: leader in client.cluster().leaders, "it leads again")


def test_a_node_that_starts_with_a_wrong_clock_does_not_lead(cluster: LocalCluster, client: SyncClient) -> None:
    """Not even its home shards, until its clock is set right."""
    wrong = served(lambda: client.cluster().leaders[2])
    cluster.kill(wrong)
    set_ahead(cluster.node(wrong), -HOUR_SECONDS)
    cluster.start(wrong)
    wait_until(lambda: is_far_off(client, wrong), "the others say that it is far off")
    wait_until(lambda: wrong not in client.cluster().leaders, "it leads nothing")
    set_ahead(cluster.node(wrong), 0)
    wait_until(lambda: wrong in client.cluster().leaders, "it leads again")
