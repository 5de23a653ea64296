"""Clients that read without end, that never take what they are answered, and that only sit there: nobody else is held up by real nodes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial

import pytest

from node.actors.session import CLIENTS_MAX
from protocol.client import Client
from protocol.errors import Busy, ErrorCode
from protocol.messages import NEVER_MS, Failure, Reply, Request, encode
from protocol.operations import Operation
from protocol.status import BALANCES_MAX, HISTORY_ROWS_MAX, TRANSFERS_MAX, Status
from scripts.local import LocalCluster
from tests.chaos.greedy import greedy_client
from tests.e2e.hostile_program import CLIENT, Connection
from tests.e2e.mutations import frame
from tests.e2e.nodes import running

BATCHES = 10  # of a full request each: some segments are in the file by then
READS = 1_000  # at once
PAYMENTS = 30
PATIENCE_SECONDS = 60.0  # a bound for a busy machine
GROWTH_BYTES = 150 << 20  # of a node: answers that nobody took would be hundreds of megabytes
NAMES = [f"{{one}}account:{number}" for number in range(TRANSFERS_MAX)]
PAGE = Request(1, "history", 1, NEVER_MS, 0, [NAMES[0], None, HISTORY_ROWS_MAX, True])
MANY_ACCOUNTS = Request(1, "balances", 1, NEVER_MS, 0, NAMES[:BALANCES_MAX])


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Real processes, with some history."""
    with running(3, 1) as cluster:
        asyncio.run(fill(cluster))
        yield cluster


async def fill(cluster: LocalCluster) -> None:
    async with Client(cluster.addresses, timeout=PATIENCE_SECONDS) as client:
        await client.create_accounts([[name, "EUR", None, None, "", bytes(500)] for name in NAMES])
        for _ in range(BATCHES):
            hub = [NAMES[0]] * (len(NAMES) - 1)
            assert set(await client.transfer_many(hub, NAMES[1:], [1] * len(hub))) == {Status.created}


async def leader_of(cluster: LocalCluster) -> str:
    """Where the shard is served."""
    async with cluster.client() as client:
        status = await client.cluster()
    node = status.placement.address(status.leaders[1])
    assert node is not None
    return f"{node.host}:{node.port}"


async def connect(address: str) -> Connection:
    """One that has been welcomed, or refused."""
    connection = await Connection.open(address, CLIENT)
    while connection.answers.welcome is None and await connection.read():
        pass
    return connection


def ask(connection: Connection, request: Request, count: int) -> None:
    """The same again and again, at once."""
    for number in range(1, count + 1):
        fields = (request.operation, request.group, request.expires_ms, request.placement_version, request.body)
        connection.send(frame(encode(Request(number, *fields))))


async def pay(cluster: LocalCluster, stem: str) -> None:
    """One payment after the other, as a polite client makes them: all are acknowledged, once."""
    names = payer, payee = f"{{one}}{stem}:a", f"{{one}}{stem}:b"
    async with Client(cluster.addresses, timeout=PATIENCE_SECONDS) as client:
        for name in names:
            await politely(partial(client.create_account, name, "EUR", minimum_balance=None))
        for _ in range(PAYMENTS):
            await politely(partial(client.transfer, payer, payee, 1, id=client.new_id()))
        assert (await client.account(payee)).posted == PAYMENTS


async def politely(call: Callable[[], Awaitable[object]]) -> None:
    """Comes again when it is told to."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        try:
            await call()
            return
        except Busy as busy:
            await asyncio.sleep(busy.retry_after)
    raise AssertionError("busy all the time")


async def refused_by(cluster: LocalCluster, number: int) -> int:
    """What a node has refused since its start."""
    admission = (await cluster.ask(number, Operation.cluster, [], PATIENCE_SECONDS))[6]
    return int(admission[2])


def memory_bytes(cluster: LocalCluster) -> list[int]:
    """What each node has in memory."""
    found = []
    for node in cluster.nodes():
        with open(f"/proc/{node.pid()}/status") as file:  # no disk is asked
            (line,) = [line for line in file if line.startswith("VmRSS")]
        found.append(int(line.split()[1]) * 1_024)
    return found


@pytest.mark.parametrize("request_", [PAGE, MANY_ACCOUNTS], ids=["pages", "accounts"])
async def test_a_thousand_reads_at_once(cluster: LocalCluster, request_: Request) -> None:
    """Each is answered or told when to come again; payments beside them are made, and the node does not grow."""
    before = memory_bytes(cluster)
    greedy = await connect(await leader_of(cluster))
    ask(greedy, request_, READS)
    await pay(cluster, f"beside {request_.operation}".replace(" ", "-"))
    while len(greedy.answers.by_id) < READS:
        assert await greedy.read(PATIENCE_SECONDS), "the connection falls silent"
    answers = list(greedy.answers.by_id.values())
    await greedy.close()
    read = [answer for answer in answers if isinstance(answer, Reply)]
    refused = [answer for answer in answers if isinstance(answer, Failure)]
    assert read and refused and all(answer.code == ErrorCode.busy and answer.retry_after_ms > 0 for answer in refused)
    assert all(now < then + GROWTH_BYTES for now, then in zip(memory_bytes(cluster), before, strict=True))


async def test_the_greedy_client_of_chaos(cluster: LocalCluster) -> None:
    """It is refused again and again, and payments go on."""
    address = await leader_of(cluster)
    number = cluster.addresses.index(address) + 1
    before = await refused_by(cluster, number)
    deadline = time.monotonic() + PATIENCE_SECONDS
    async with greedy_client(cluster, number, NAMES[:10]):
        await pay(cluster, "beside-chaos")
        while await refused_by(cluster, number) == before:
            assert time.monotonic() < deadline, "nothing is refused"


async def test_a_client_that_never_takes_its_answers(cluster: LocalCluster) -> None:
    """Its node stays small and serves the others, and hangs up in the end."""
    before = memory_bytes(cluster)
    silent = await connect(await leader_of(cluster))
    silent.stop_reading()
    deadline = time.monotonic() + PATIENCE_SECONDS
    number = 0
    while not silent.answers.is_closed:
        assert time.monotonic() < deadline, "the connection stays open"
        number += 1
        ask(silent, MANY_ACCOUNTS, 20)
        await pay(cluster, f"beside-silence-{number}")
        assert all(now < then + GROWTH_BYTES for now, then in zip(memory_bytes(cluster), before, strict=True))
    await silent.close()


async def test_more_clients_than_a_node_takes(cluster: LocalCluster) -> None:
    """The idle ones stay, the next is refused in a sentence, the cluster is served, and there is room when some have left."""
    address = cluster.addresses[0]
    idle = []
    while (connection := await connect(address)).answers.welcome is not None:
        idle.append(connection)
        assert len(idle) <= CLIENTS_MAX
    error = connection.answers.error
    assert error is not None and error.code == ErrorCode.busy and "clients connected to node 1" in error.message
    await pay(cluster, "beside-idle-ones")
    assert not any(connection.answers.is_closed for connection in idle)
    for one in idle:
        await one.close()
    async with Client(address, timeout=PATIENCE_SECONDS) as client:
        assert (await client.account(NAMES[0])).posted < 0
