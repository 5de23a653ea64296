"""One client of `bench`: keeps some batches in flight, and notes when each was answered."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import uvloop
from _workload import Batch, Model, Source, Workload

from protocol import ids
from protocol.client import Client
from protocol.columns import Flag
from protocol.errors import Busy, OutcomeUnknown, Refused, Unreachable
from protocol.status import Status

PATIENCE_SECONDS = 30.0  # with a batch that no node takes
RETRY_SECONDS = 0.01
PAGE = 500  # rows of a query
PENDING_TTL_SECONDS = 86_400  # longer than any run


@dataclass(frozen=True, slots=True)
class Task:
    """What one client does."""

    addresses: str
    workload: Workload
    client: int
    transfer_count: int
    batch_count: int  # transfers a request
    in_flight: int
    delay_us: int
    is_pending: bool
    commit: str | None  # protocol between shards; None: the cluster's
    keeps_model: bool
    start_at: float  # on the machine's monotonic clock, so that clients start together


@dataclass(slots=True)
class Result:
    """What one client saw."""

    accepted: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    latencies_ms: list[float] = field(default_factory=list)  # of each batch
    answered: list[float] = field(default_factory=list)  # monotonic seconds
    began: float = 0.0
    ended: float = 0.0
    model: Model | None = None


def run_client(task: Task) -> Result:
    """Runs a client to its end, in a process of its own."""
    return uvloop.run(run_load(task, Result(), asyncio.Event()))


async def run_load(task: Task, result: Result, stop: asyncio.Event) -> Result:
    """Sends until all is sent or `stop` is set; `result` grows meanwhile."""
    async with Client(task.addresses) as client:
        worker = _Worker(task, client, result)
        if task.keeps_model:
            empty = [0] * task.workload.account_count
            result.model = Model(empty, empty, task.is_pending)
        await asyncio.sleep(max(0.0, task.start_at - time.monotonic()))
        result.began = time.monotonic()
        sizes = _sizes(task)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(task.in_flight):
                tasks.create_task(worker.work(sizes, stop))
        result.ended = time.monotonic()
    return result


def _sizes(task: Task) -> Iterator[int]:
    left = task.transfer_count
    while left > 0:
        yield min(left, task.batch_count)
        left -= task.batch_count


class _Worker:
    """Makes batches, sends them, notes the answers."""

    def __init__(self, task: Task, client: Client, result: Result) -> None:
        self._task = task
        self._client = client
        self._result = result
        self._source = Source(task.workload, task.client)
        self._names = np.array(task.workload.names(), object)

    async def work(self, sizes: Iterator[int], stop: asyncio.Event) -> None:
        result = self._result
        for size in sizes:
            if stop.is_set():
                return
            batch = self._source.next(size)
            debit, credit = self._names[batch.debit].tolist(), self._names[batch.credit].tolist()
            began = time.monotonic()
            statuses = await self._send(batch, debit, credit)
            now = time.monotonic()
            result.answered.append(now)
            result.latencies_ms.append((now - began) * 1000)
            self._note(batch, statuses)
            if self._task.delay_us:
                await asyncio.sleep(self._task.delay_us / 1_000_000)

    async def _send(self, batch: Batch, debit: list[str], credit: list[str]) -> list[Status]:
        """Repeats until there is an answer: with the same ids nothing happens twice."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                if len(debit) == 1:
                    return [await self._send_one(batch, debit[0], credit[0])]
                holds = len(debit) if self._task.is_pending else 0
                return await self._client.transfer_many(
                    debit, credit, batch.amount, ids=batch.ids,
                    flags=[Flag.hold] * holds or None, ttl=[PENDING_TTL_SECONDS] * holds or None,
                    commit=self._task.commit,
                )  # fmt: skip
            except (Busy, OutcomeUnknown, Unreachable) as error:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(error.retry_after if isinstance(error, Busy) else RETRY_SECONDS)

    async def _send_one(self, batch: Batch, debit: str, credit: str) -> Status:
        id, amount = ids.unpack(batch.ids), int(batch.amount[0])
        try:
            commit = self._task.commit
            if self._task.is_pending:
                receipt = await self._client.hold(debit, credit, amount, ttl=PENDING_TTL_SECONDS, id=id, commit=commit)
            else:
                receipt = await self._client.transfer(debit, credit, amount, id=id, commit=commit)
            return receipt.status
        except Refused as refused:
            return Status[refused.status]

    def _note(self, batch: Batch, statuses: list[Status]) -> None:
        result = self._result
        accepted = statuses.count(Status.created)
        if accepted < len(statuses):
            accepted += statuses.count(Status.exists)  # of a batch that was sent again
            result.refused.update(status.name for status in statuses if status > Status.exists)
        result.accepted += accepted
        if result.model is not None:
            result.model.add(batch, np.array(statuses, np.int64) <= Status.exists)


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
