"""A client that floods real nodes: it is told when to come again, and nobody else feels it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest

from node.actors.session import CLIENT_BYTES_MAX, CLIENT_REQUESTS_MAX
from protocol.client import Client
from protocol.columns import SEPARATOR
from protocol.errors import Busy, ErrorCode
from protocol.messages import NEVER_MS, Failure, Reply, Request, encode
from protocol.status import TRANSFERS_MAX, Status
from scripts.local import LocalCluster
from tests.e2e.hostile_program import CLIENT, Connection
from tests.e2e.mutations import frame
from tests.e2e.nodes import running

REFERENCE = "60 characters, so that the flood of full batches is of bytes"
BATCHES = 4 * CLIENT_BYTES_MAX // (TRANSFERS_MAX * 100)  # four times what a connection may have under way
REQUESTS = 4 * CLIENT_REQUESTS_MAX
PAYMENTS = 20  # of the client beside the flood
PATIENCE_SECONDS = 30.0  # a bound for a busy machine
IN_DOUBT = (ErrorCode.not_leader, ErrorCode.outcome_unknown)  # should a busy machine let a leader fall meanwhile
CREATED = bytes([Status.created])


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Real processes."""
    with running(3, 1) as cluster:
        yield cluster


def payments(client: Client, name: str, rows: int, reference: str = "") -> list[Any]:
    """A batch of ones from `name`:a to `name`:b."""
    columns = [(b"".join(client.new_id().to_bytes(16, "big") for _ in range(rows)))]
    texts = [SEPARATOR.join([text] * rows) for text in (f"{name}:a", f"{name}:b", reference)]
    return [*columns, texts[0], texts[1], (1).to_bytes(8, "little") * rows, b"", b"", texts[2] if reference else ""]


async def leader_of(client: Client) -> str:
    """Where the shard is served."""
    status = await client.cluster()
    node = status.placement.address(status.leaders[1])
    assert node is not None
    return f"{node.host}:{node.port}"


async def flood(address: str, bodies: list[list[Any]]) -> list[Reply | Failure]:
    """Sends all requests at once on one connection; an answer each."""
    requests = [Request(number, "transfers", 1, NEVER_MS, 0, body) for number, body in enumerate(bodies, 1)]
    data = b"".join(frame(encode(request)) for request in requests)
    connection = await Connection.open(address, CLIENT)
    while connection.answers.welcome is None:
        assert await connection.read()
    connection.send(data)
    while len(connection.answers.by_id) < len(bodies):
        assert await connection.read(PATIENCE_SECONDS), "the connection falls silent"
    answers = dict(connection.answers.by_id)
    await connection.close()
    return [answers[request.id] for request in requests]


async def pay_calmly(address: str, name: str) -> int:
    """One payment after the other, as a polite client does it; how many were acknowledged."""
    acknowledged = 0
    async with Client(address, timeout=PATIENCE_SECONDS) as client:
        for _ in range(PAYMENTS):
            number, deadline = client.new_id(), time.monotonic() + PATIENCE_SECONDS
            while time.monotonic() < deadline:
                try:
                    acknowledged += (
                        await client.transfer(f"{name}:a", f"{name}:b", 1, id=number)
                    ).status <= Status.exists
                    break
                except Busy as busy:
                    await asyncio.sleep(busy.retry_after)
    return acknowledged


async def refused_by(cluster: LocalCluster) -> int:
    """What all nodes say they have refused."""
    shed: dict[int, int] = {}
    async with cluster.client() as client:
        while len(shed) < len(cluster.addresses):
            status = await client.cluster()
            shed[status.node] = status.shed
    return sum(shed.values())


@pytest.mark.parametrize(
    ("name", "count", "rows", "reference"),
    [("bytes", BATCHES, TRANSFERS_MAX, REFERENCE), ("requests", REQUESTS, 1, "")],
    ids=["of bytes", "of requests"],
)
async def test_a_flood(cluster: LocalCluster, name: str, count: int, rows: int, reference: str) -> None:
    """Four times what a connection may have under way: the rest is refused in time, what was acknowledged is there."""
    calm = f"calm:{name}"
    async with Client(cluster.addresses, timeout=PATIENCE_SECONDS) as client:
        await client.create_accounts(
            [[f"{owner}:{side}", "EUR", None, None, "", b""] for owner in (name, calm) for side in "ab"]
        )
        before = await refused_by(cluster)
        bodies = [payments(client, name, rows, reference) for _ in range(count)]
        address = await leader_of(client)
        answers, paid = await asyncio.gather(flood(address, bodies), pay_calmly(address, calm))
        created = [answer for answer in answers if isinstance(answer, Reply) and answer.body == [CREATED * rows]]
        busy = [answer for answer in answers if isinstance(answer, Failure) and answer.code == ErrorCode.busy]
        unknown = [answer for answer in answers if isinstance(answer, Failure) and answer.code in IN_DOUBT]
        assert created and busy and len(created) + len(busy) + len(unknown) == count
        assert all(failure.retry_after_ms > 0 and "expected at most" in failure.message for failure in busy)
        assert await refused_by(cluster) - before >= len(busy)
        assert paid == PAYMENTS
        assert (await client.account(f"{calm}:b")).posted == PAYMENTS
        posted = (await client.account(f"{name}:b")).posted
        assert len(created) * rows <= posted <= (len(created) + len(unknown)) * rows
        assert (await client.audit()).balanced
