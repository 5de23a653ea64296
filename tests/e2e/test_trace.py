"""Traces of transfers through real nodes, and what is undecided while a shard cannot vote."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from node.cli.tracing import more_of, undecided_row
from protocol import ids
from protocol.client import Client, Undecided
from protocol.errors import Refused
from protocol.placement import group_of
from protocol.status import Status
from scripts.local import LocalCluster
from tests.e2e.nodes import running
from tests.e2e.programs import run

SHARDS = 3
FRESH_NS = 60 * 10**9
WAIT_SECONDS = 30.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Three nodes without replicas: a node that is paused takes its shards along and nobody stands in."""
    with running(3, SHARDS, replication=1) as cluster:
        yield cluster


@pytest.fixture
async def client(cluster: LocalCluster) -> AsyncIterator[Client]:
    """With an account that never lacks money and two that may, each in a shard of its own, and a near one."""
    async with cluster.client() as client:
        await client.create_accounts([[name, "EUR", None if name == PAYER else 0, None, "", b""] for name in ACCOUNTS])
        yield client


def name_in(shard: int) -> str:
    """An account of a shard."""
    return next(f"user:{number}" for number in range(999) if group_of(f"user:{number}", SHARDS) == shard)


PAYER, PAYEE, FAR = (name_in(shard) for shard in range(1, SHARDS + 1))
NEAR, FULL = f"{{{PAYER}}}:savings", f"{{{FAR}}}:full"
ACCOUNTS = (PAYER, PAYEE, FAR, NEAR)
GIVING, TAKING = 1, 2  # groups


@pytest.mark.parametrize("commit", ["2pc", "3pc"])
async def test_a_transfer_between_shards(client: Client, commit: str) -> None:
    """All phases in their order, at both participants, and who coordinated."""
    receipt = await client.transfer(PAYER, PAYEE, 5, commit=commit)
    await client.account(PAYEE)  # waits for the decision, and so does the other one
    await client.account(PAYER)
    trace = await client.trace(receipt.id)
    seen = await client.cluster()
    assert (trace.status, trace.decision, trace.protocol) == (Status.created, Status.created, commit)
    assert (trace.coordinator, trace.epoch) == (seen.coordinator, (trace.round_id or 0) >> 40)
    assert [shard.shard for shard in trace.participants] == [GIVING, TAKING]
    assert trace.recorded_ns is None or commit == "2pc"
    for shard in trace.participants:
        assert (shard.node, shard.vote) == (seen.leaders[shard.shard], Status.created)
        assert (shard.precommitted_ns is not None) == (commit == "3pc")
        assert shard.prepared_ns and shard.carried_out_ns and abs(time.time_ns() - shard.prepared_ns) < FRESH_NS
        assert shard.prepared_ns < (shard.precommitted_ns or shard.carried_out_ns) <= shard.carried_out_ns
    assert trace.decided_ns == max(shard.precommitted_ns or shard.prepared_ns or 0 for shard in trace.participants)
    assert trace.timestamp_ns == trace.participants[0].carried_out_ns
    assert await client.trace(receipt.id, PAYER) == trace


async def test_a_transfer_that_the_credit_shard_refuses(client: Client) -> None:
    """The trace says who objected, and with what."""
    id = client.new_id()
    await client.create_account(FULL, "EUR", maximum_balance=3)
    with pytest.raises(Refused, match="exceeds_maximum_balance"):
        await client.transfer(PAYER, FULL, 5, id=id)
    await client.account(PAYER)
    trace = await client.trace(id, PAYER)
    assert (trace.status, trace.decision) == (Status.exceeds_maximum_balance,) * 2
    assert [shard.vote for shard in trace.participants] == [Status.created, Status.exceeds_maximum_balance]


async def test_a_transfer_within_a_shard(client: Client) -> None:
    """It has no round: the shard, the time and the status are all there is; the same for a refused one."""
    id = client.new_id()
    with pytest.raises(Refused, match="insufficient_funds"):
        await client.transfer(NEAR, PAYER, 10**6, id=id)
    for traced, status in (
        ((await client.transfer(PAYER, NEAR, 5)).id, Status.created),
        (id, Status.insufficient_funds),
    ):
        trace = await client.trace(traced)
        (shard,) = trace.participants
        assert (trace.status, trace.protocol, trace.round_id, shard.shard) == (status, "one shard", None, GIVING)
        assert shard.carried_out_ns == trace.timestamp_ns is not None
        assert shard.vote is shard.prepared_ns is trace.decision is trace.decided_ns is None


async def test_an_unknown_id(client: Client) -> None:
    """It is refused with what was expected; so is a known one of another shard's account."""
    receipt = await client.transfer(PAYER, NEAR, 5)
    for id, debit in ((client.new_id(), None), (receipt.id, PAYEE), (receipt.id, NEAR)):
        with pytest.raises(Refused) as refused:
            await client.trace(id, debit)
        assert refused.value.status == "transfer_not_found"
        assert "the id of a transfer that some shard has seen" in str(refused.value)


async def test_what_is_undecided(cluster: LocalCluster, client: Client) -> None:
    """A round that waits for a paused shard is listed with its age, and gone when the shard is back."""
    seen = await client.cluster()
    group = next(number for number in (2, 3) if seen.leaders[number] not in (seen.coordinator, seen.leaders[GIVING]))
    payee, node = (PAYEE, FAR)[group - 2], cluster.node(seen.leaders[group])
    id = client.new_id()
    living = [address for number, address in enumerate(cluster.addresses, 1) if number != node.number]
    async with asyncio.timeout(WAIT_SECONDS), cluster.client(addresses=living) as other:
        assert node.send(signal.SIGSTOP)
        paying = asyncio.create_task(client.transfer(PAYER, payee, 5, id=id, timeout=WAIT_SECONDS))
        try:
            found = await listed(other, id)
            trace = await other.trace(id)
            shown = pay(living, "trace")
        finally:
            node.send(signal.SIGCONT)
            receipt = await paying
        (row,) = found.rounds
        assert (row.participants, row.prepared, row.ids) == ((GIVING, group), (GIVING,), (id,))
        assert (row.age_seconds >= 0, found.silent) == (True, (group,))
        assert (row.transactions, found.count) == (1, 1)
        assert trace.status.is_transient and trace.timestamp_ns is None
        assert [shard.vote for shard in trace.participants] == [Status.created, None]
        assert all((round["ids"], round["transactions"]) == ([ids.format(id)], 1) for round in shown), shown
        while (found := await other.undecided()).rounds or found.silent:
            await asyncio.sleep(0.05)
    assert receipt.status in (Status.created, Status.exists)
    assert (await client.trace(id)).status == Status.created
    (traced,) = pay(cluster.addresses, "trace", ids.format(id), "--debit", PAYER)
    assert (traced["status"], traced["protocol"]) == ("created", "2pc")
    assert [shard["vote"] for shard in traced["participants"]] == ["yes", "yes"]
    carried_out = [shard["carried_out_ns"] for shard in traced["participants"] if shard["carried_out_ns"] is not None]
    assert traced["decided_ns"] is not None and all(traced["decided_ns"] <= moment for moment in carried_out)


def test_what_is_not_listed_is_counted() -> None:
    """The true numbers of transactions and rounds."""
    (row,) = Undecided.unpack([[[7, "2pc", [1, 2], [1], 40, b"\1" * 16]], [], 66, [8_192]]).rounds
    assert (undecided_row(row, "table")["transactions"], undecided_row(row, "json")["transactions"]) == (8_192, 8_192)
    assert more_of(Undecided((row,), (), 66)) == "65 younger rounds are undecided too"
    assert more_of(Undecided((row,), (), 1)) == ""


async def listed(client: Client, id: int) -> Undecided:
    """What is undecided once this transfer is: asked again and again, as it is undecided for two seconds at the most."""
    asked: list[asyncio.Task[Undecided]] = []
    while True:
        asked.append(asyncio.create_task(client.undecided()))
        await asyncio.sleep(0.1)
        for found in [task.result() for task in asked if task.done()]:
            if any(id in row.ids for row in found.rounds):
                await asyncio.gather(*asked)
                return found


def pay(addresses: list[str], *arguments: str) -> list[dict[str, Any]]:
    """What scripts/pay prints for programs; it fails where a group does not answer."""
    done = run("pay", *arguments, "-o", "json", addresses=",".join(addresses))
    assert done.returncode == ("did not answer" in done.stderr), done.stderr
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows
