"""The clients of `bench`: each keeps requests in flight, of a load that was made beforehand, and notes when each was answered.

While the load runs nothing is drawn, looked up or added up here: what is measured is the cluster and its client.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from protocol import ids
from protocol.client import Client
from protocol.columns import Flag
from protocol.errors import Busy, OutcomeUnknown, Refused, Unreachable
from protocol.status import Status
from scripts.load.workload import Batch, Ids, Model, Workload, in_turn

PATIENCE_SECONDS = 30.0  # with a batch that no node takes
RETRY_SECONDS = 0.01
PAGE = 500  # rows of a query
PENDING_TTL_SECONDS = 86_400  # longer than any run


@dataclass(frozen=True, slots=True)
class Task:
    """What one client does."""

    batches: Sequence[Batch]  # sent in turn, again and again
    ids: Ids
    transfer_count: int
    in_flight: int
    delay_us: int
    is_pending: bool
    commit: str | None  # protocol between shards; None: the cluster's


@dataclass(slots=True)
class Result:
    """What all clients saw; it grows meanwhile."""

    latencies_ms: list[float] = field(default_factory=list)  # of each request
    answered: list[float] = field(default_factory=list)  # monotonic seconds, rising
    answers: list[tuple[Batch, list[Status] | None]] = field(default_factory=list)  # None: all rows were created
    seconds: float = 0.0

    def count(self) -> Counter[Status]:
        """How many transfers had which status."""
        counts: Counter[Status] = Counter()
        for batch, statuses in self.answers:
            counts.update({Status.created: len(batch)} if statuses is None else statuses)
        return counts

    def add_to(self, model: Model) -> None:
        """What the accepted transfers must have done."""
        for batch, statuses in self.answers:
            accepted = None if statuses is None else np.array(statuses, np.int64) <= Status.exists
            model.add(batch, accepted)


async def run_load(clients: Sequence[Client], tasks: Sequence[Task], result: Result, stop: asyncio.Event) -> None:
    """Sends until all is sent or `stop` is set."""
    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for client, task in zip(clients, tasks, strict=True):
            batches = in_turn(task.batches, task.transfer_count)
            for _ in range(task.in_flight):
                group.create_task(_work(client, task, batches, result, stop))
    result.seconds = time.monotonic() - began


async def _work(client: Client, task: Task, batches: Iterator[Batch], result: Result, stop: asyncio.Event) -> None:
    for batch in batches:
        if stop.is_set():
            return
        packed = task.ids.take(len(batch))
        began = time.monotonic()
        statuses = await _send(client, task, batch, packed)
        now = time.monotonic()
        result.answered.append(now)
        result.latencies_ms.append((now - began) * 1000)
        is_created = statuses.count(Status.created) == len(statuses)
        result.answers.append((batch, None if is_created else statuses))
        if task.delay_us:
            await asyncio.sleep(task.delay_us / 1_000_000)


async def _send(client: Client, task: Task, batch: Batch, packed: bytes) -> list[Status]:
    """Repeats until there is an answer: with the same ids nothing happens twice."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            if len(batch) == 1:
                return [await _send_one(client, task, batch, packed)]
            holds = len(batch) if task.is_pending else 0
            return await client.transfer_many(
                batch.debits, batch.credits, batch.amount, ids=packed,
                flags=[Flag.hold] * holds or None, ttl=[PENDING_TTL_SECONDS] * holds or None, commit=task.commit,
            )  # fmt: skip
        except (Busy, OutcomeUnknown, Unreachable) as error:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(error.retry_after if isinstance(error, Busy) else RETRY_SECONDS)


async def _send_one(client: Client, task: Task, batch: Batch, packed: bytes) -> Status:
    id, amount = ids.unpack(packed), int(batch.amount[0])
    debit, credit, commit = batch.debits[0], batch.credits[0], task.commit
    try:
        if task.is_pending:
            receipt = await client.hold(debit, credit, amount, ttl=PENDING_TTL_SECONDS, id=id, commit=commit)
        else:
            receipt = await client.transfer(debit, credit, amount, id=id, commit=commit)
        return receipt.status
    except Refused as refused:
        return Status[refused.status]


async def query_latencies_ms(client: Client, workload: Workload, count: int) -> list[float]:
    """Reads the newest page of history of random accounts."""
    random = np.random.default_rng(workload.seed)
    names = workload.names()
    latencies = []
    for row in random.integers(0, workload.account_count, count).tolist():
        began = time.monotonic()
        rows = 0
        async for _ in client.history(names[row], newest_first=True, page=PAGE):
            rows += 1
            if rows == PAGE:
                break
        latencies.append((time.monotonic() - began) * 1000)
    return latencies
