"""Reads that take more than a moment: a few at a time, in turns of their connections, with a turn of the loop between two steps.

A read comes here when its read point is confirmed, and whatever it finds later is as good: the state only goes on. What reads rows
of a file, a page of history, or many accounts would otherwise hold up the payments of the whole node, and what waits would hold
what it has loaded. So one a turn of the loop is answered where it arrives, if the desk has nothing else to do and all that it wants
is in memory. Of all others at most `READERS` are begun, each is ended before its reader takes another one, and a read whose time is over
or whose asker is gone is dropped: before it is begun, and between its steps.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from node.actors.actor import RETRY_LATER_MS, not_done
from node.actors.events import Query
from node.core.machine import Need
from node.ports import Clock, ShardStore
from protocol.errors import ErrorCode

READERS = 2  # one works while the other waits for its rows, about ten megabytes each
READS_WAITING_MAX = 4_096  # of all shards; the bytes of their answers are bounded where they are admitted
GONE = "the one who asked is gone"
OVERDUE = "its turn to be read did not come in time"


class Shelf(Protocol):
    """Where a read looks: a replica."""

    @property
    def store(self) -> ShardStore:
        """Where rows are read that are not in memory."""
        ...

    def answer(self, query: Query) -> Need | None:
        """Answers from the applied state, or says which stored rows that takes."""
        ...


@dataclass(frozen=True, slots=True)
class ReadingStatistics:
    """The reads of a node since its start, and now."""

    waiting: int
    begun: int
    dropped: int  # overdue, or without anybody who waits


Item = tuple[Shelf, Query, Need | None]
"""A read that waits, and which rows it wants, if somebody has looked."""


class ReadingDesk:
    """One a node; `READERS` tasks run `run`."""

    def __init__(self, clock: Clock, is_here: Callable[[int], bool]) -> None:
        """`is_here` tells whether the connection of that number still stands."""
        self._clock = clock
        self._is_here = is_here
        self._lanes: dict[int, deque[Item]] = {}  # by connection; the one whose turn it is stands first
        self._waiting = 0
        self._arrived = asyncio.Semaphore(0)
        self._is_idle = True
        self._reading = 0  # begun by the readers, and not ended
        self._begun = 0
        self._dropped = 0

    def add(self, shelf: Shelf, query: Query) -> None:
        """Answers a read if the desk is idle, queues it behind the others of its connection, or refuses it at once."""
        need: Need | None = None
        if self._is_idle and not self._reading:
            if not self._may_go_on(query):
                return
            self._is_idle = False
            asyncio.get_running_loop().call_soon(self._rest)
            need = shelf.answer(query)
            if need is None:
                self._begun += 1
                return
        if self._waiting >= READS_WAITING_MAX:
            text = f"expected at most {READS_WAITING_MAX} reads waiting in a node"
            query.reply(not_done(ErrorCode.busy, text, RETRY_LATER_MS))
            return
        self._lanes.setdefault(query.source, deque()).append((shelf, query, need))
        self._waiting += 1
        self._arrived.release()

    def _rest(self) -> None:
        self._is_idle = not self._waiting

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._arrived.acquire()
            shelf, query, need = self._take()
            if self._may_go_on(query):
                self._begun += 1
                self._reading += 1
                await self._read(shelf, query, need)
                self._reading -= 1
                await asyncio.sleep(0)
            self._is_idle = not self._waiting

    async def _read(self, shelf: Shelf, query: Query, need: Need | None) -> None:
        while (need := need or shelf.answer(query)) is not None:
            rows = await shelf.store.read(need.missing(query.loaded))
            query.loaded, need = need.fill(query.loaded, rows), None
            if not self._may_go_on(query):
                return

    def _take(self) -> Item:
        source, lane = next(iter(self._lanes.items()))
        item = lane.popleft()
        del self._lanes[source]
        if lane:
            self._lanes[source] = lane
        self._waiting -= 1
        return item

    def _may_go_on(self, query: Query) -> bool:
        is_gone = not self._is_here(query.source)
        if is_gone or self._clock.monotonic() > query.deadline:
            self._dropped += 1
            query.reply(not_done(ErrorCode.busy, GONE if is_gone else OVERDUE, RETRY_LATER_MS))
            return False
        return True

    def statistics(self) -> ReadingStatistics:
        """The desk as it is now."""
        return ReadingStatistics(self._waiting, self._begun, self._dropped)
