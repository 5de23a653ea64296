"""The log writer: one durable transaction a drain, `done` in order, and nothing survives a failing disk."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

import pytest

from node.actors import log_writer
from node.actors.log_writer import LogWriter, Write
from node.adapters.operator_log import MemoryOperatorLog
from node.core.raft import StoredGroup
from node.ports import LogWrite, StorageFailed
from tests.actors.clock import Clock


class Store:
    """A log store whose writes end when the test says so."""

    def __init__(self) -> None:
        self.writes: list[list[int]] = []
        self.gate = asyncio.Event()
        self.is_failing = False

    async def open(self) -> dict[int, StoredGroup]:
        return {}

    async def write(self, writes: Sequence[LogWrite]) -> None:
        self.writes.append([write.group for write in writes])
        await self.gate.wait()
        if self.is_failing:
            raise StorageFailed("the disk fails")

    async def close(self) -> None: ...


class Desk:
    """A writer at work and what it has called back for."""

    def __init__(self) -> None:
        self.store, self.clock = Store(), Clock()
        self.operator = MemoryOperatorLog(self.clock.monotonic)
        self.writer = LogWriter(self.store, self.clock, self.operator)
        self.done: list[int] = []
        self.running = asyncio.ensure_future(self.writer.run())

    def is_stalled(self) -> bool:
        """Whether the writer says so now."""
        return self.writer.is_stalled

    def write(self, *groups: int) -> None:
        """Hands in a write for each group."""
        for group in groups:
            self.writer.inbox.push(Write(LogWrite(group), partial(self.done.append, group)))

    async def settle(self) -> None:
        """Lets everything happen that can."""
        for _ in range(20):
            await asyncio.sleep(0)

    async def end(self) -> None:
        """Stops the writer."""
        self.running.cancel()
        await asyncio.wait([self.running])


async def test_a_drain_is_one_transaction() -> None:
    """What comes while one is under way shares the next."""
    desk = Desk()
    desk.write(3, 1)
    await desk.settle()
    desk.write(2, 3, 2)
    await desk.settle()
    assert desk.store.writes == [[3, 1]] and desk.done == []
    desk.store.gate.set()
    await desk.settle()
    assert desk.store.writes == [[3, 1], [2, 3, 2]] and desk.done == [3, 1, 2, 3, 2]
    assert (desk.writer.statistics().transactions, desk.writer.statistics().writes) == (2, 5)
    await desk.end()


async def test_a_transaction_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest is written next, and called back for next."""
    monkeypatch.setattr(log_writer, "DRAIN_MAX", 2)
    desk = Desk()
    desk.store.gate.set()
    desk.write(1, 2, 3, 4, 5)
    await desk.settle()
    assert desk.store.writes == [[1, 2], [3, 4], [5]] and desk.done == [1, 2, 3, 4, 5]
    await desk.end()


async def test_a_storage_failure_ends_the_writer() -> None:
    """Nobody is told that anything is on disk."""
    desk = Desk()
    desk.write(1, 2)
    await desk.settle()
    desk.store.is_failing = True
    desk.store.gate.set()
    with pytest.raises(StorageFailed):
        await desk.running
    assert desk.done == []


async def test_a_long_write_is_a_stall() -> None:
    """An idle writer is none, however long; neither is a write that has ended."""
    desk = Desk()
    desk.clock.now += 1_000
    assert not desk.is_stalled()
    desk.write(1)
    await desk.settle()
    desk.clock.now += log_writer.STALL_SECONDS
    assert not desk.is_stalled()
    desk.clock.now += 0.1
    assert desk.is_stalled()
    desk.store.gate.set()
    await desk.settle()
    assert desk.done == [1] and not desk.is_stalled()
    await desk.end()
