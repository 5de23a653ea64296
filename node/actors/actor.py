"""What an actor is: one task, one machine, one bounded inbox."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from protocol.errors import ErrorCode, ProtocolError

RETRY_AFTER_MS = 20  # where a queue is full: a node that works empties a good part of it meanwhile
RETRY_LATER_MS = 100  # where a shard or a disk did not answer in time

Event = TypeVar("Event")


@dataclass(frozen=True, slots=True)
class Failed:
    """A request was not carried out here, or it is not known whether it was."""

    code: ErrorCode
    message: str = ""
    retry_after_ms: int = 0
    hint: int = 0  # node id of the leader, 0 where unknown
    may_have_happened: bool = True  # or may yet happen; whoever knows better says so


def not_done(code: ErrorCode, message: str = "", retry_after_ms: int = 0, hint: int = 0) -> Failed:
    """A request of which surely nothing was carried out here, nor will be."""
    return Failed(code, message, retry_after_ms, hint, may_have_happened=False)


def malformed(error: ProtocolError) -> Failed:
    """What a request is told whose body has a wrong form. Codes that end a connection are for what is wrong with the connection itself."""
    return not_done(ErrorCode.bad_request if error.code.closes else error.code, str(error))


def overdue(what: str) -> Failed:
    """What somebody is told whose request is looked at when its time is over: it may be a copy that the network held back."""
    return not_done(ErrorCode.overdue, f"{what}: came after its time, and was left undone")


Outcome = list[Any] | Failed
Reply = Callable[[Outcome], None]
"""Takes the outcome of a request, once."""


def promised() -> tuple[asyncio.Future[Outcome], Reply]:
    """An outcome to wait for, and the reply that brings it; one that comes when nobody waits any more is dropped."""
    future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    def reply(outcome: Outcome) -> None:
        if not future.done():
            future.set_result(outcome)

    return future, reply


class Spawn(Protocol):
    """Starts a task that the supervisor owns."""

    def __call__(self, work: Coroutine[Any, Any, None]) -> object: ...


class Inbox(Generic[Event]):
    """A bounded queue with one reader. `offer` refuses when it is full; `push` is for answers to what the owner asked for."""

    __slots__ = ("_events", "_size", "_waiter", "refused")

    def __init__(self, size: int) -> None:
        self._events: deque[Event] = deque()
        self._size = size
        self._waiter: asyncio.Future[None] | None = None
        self.refused = 0

    def __len__(self) -> int:
        return len(self._events)

    def __iter__(self) -> Iterator[Event]:
        return iter(self._events)

    def offer(self, event: Event) -> bool:
        """Queues the event unless the inbox is full."""
        if len(self._events) >= self._size:
            self.refused += 1
            return False
        self.push(event)
        return True

    def push(self, event: Event) -> None:
        """Queues the event in any case; bounded by what the owner has under way."""
        self._events.append(event)
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def drain(self, limit: int) -> list[Event]:
        """Waits for an event, then takes up to `limit`."""
        if not self._events:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        elif len(self._events) > 0:
            await asyncio.sleep(0)  # a busy actor still lets the others run
        if len(self._events) <= limit:
            events = list(self._events)
            self._events.clear()
            return events
        return [self._events.popleft() for _ in range(limit)]


class Actor(Generic[Event]):
    """Drains its inbox and hands the events to `handle`, which never waits."""

    def __init__(self, name: str, inbox_size: int, drain_max: int) -> None:
        self.name = name
        self.inbox: Inbox[Event] = Inbox(inbox_size)
        self._drain_max = drain_max

    async def run(self) -> None:
        """Until cancelled; an exception stops the node."""
        while True:
            self.handle(await self.inbox.drain(self._drain_max))
            rest = self.after()
            if rest is not None:
                await rest

    def handle(self, events: list[Event]) -> None:
        """Takes a drain of events, in order."""
        raise AssertionError(f"{self.name} handles nothing")

    def after(self) -> Awaitable[None] | None:
        """What must be waited for before the next drain, if anything."""
        return None
