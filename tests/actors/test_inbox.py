"""The bounded inbox and the task that drains it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import pytest

from node.actors.actor import Actor, Inbox


def test_a_full_inbox_refuses_and_counts() -> None:
    """What was queued before stays."""
    inbox: Inbox[int] = Inbox(2)
    assert [inbox.offer(event) for event in range(4)] == [True, True, False, False]
    assert (len(inbox), inbox.refused) == (2, 2)


async def test_push_passes_the_bound() -> None:
    """Answers to what the owner asked for are never lost."""
    inbox: Inbox[int] = Inbox(1)
    assert inbox.offer(1)
    inbox.push(2)
    assert not inbox.offer(3)
    assert await inbox.drain(10) == [1, 2]
    assert inbox.refused == 1


async def test_a_drain_takes_up_to_its_limit_in_order() -> None:
    """The rest waits for the next one."""
    inbox: Inbox[int] = Inbox(10)
    for event in range(7):
        inbox.offer(event)
    assert [await inbox.drain(3) for _ in range(3)] == [[0, 1, 2], [3, 4, 5], [6]]
    assert inbox.offer(7)


async def test_a_drain_waits_for_the_first_event() -> None:
    """And takes what came with it."""
    inbox: Inbox[int] = Inbox(10)
    draining = asyncio.ensure_future(inbox.drain(10))
    await asyncio.sleep(0)
    assert not draining.done()
    inbox.offer(1)
    inbox.offer(2)
    assert await draining == [1, 2]


async def test_a_cancelled_drain_loses_nothing() -> None:
    """The events are there for the next one."""
    inbox: Inbox[int] = Inbox(10)
    draining = asyncio.ensure_future(inbox.drain(10))
    await asyncio.sleep(0)
    inbox.offer(1)
    draining.cancel()
    with pytest.raises(asyncio.CancelledError):
        await draining
    inbox.offer(2)
    assert await inbox.drain(10) == [1, 2]


class Recorder(Actor[int]):
    """Remembers its drains; waits behind each where a test says so."""

    def __init__(self) -> None:
        super().__init__("recorder", 10, 2)
        self.drains: list[list[int]] = []
        self.gate: asyncio.Event | None = None

    def handle(self, events: list[int]) -> None:
        self.drains.append(events)
        if -1 in events:
            raise AssertionError("broken")

    def after(self) -> Awaitable[object] | None:  # type: ignore[override]  # what the event gives is not looked at
        return None if self.gate is None else self.gate.wait()


async def test_an_actor_handles_drains_until_it_is_cancelled() -> None:
    """Each bounded, in order."""
    actor = Recorder()
    for event in range(5):
        actor.inbox.offer(event)
    running = asyncio.ensure_future(actor.run())
    while len(actor.drains) < 3:
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert actor.drains == [[0, 1], [2, 3], [4]]


async def test_an_actor_that_must_wait_handles_nothing_meanwhile() -> None:
    """Events gather in the inbox."""
    actor = Recorder()
    actor.gate = asyncio.Event()
    running = asyncio.ensure_future(actor.run())
    for event in range(3):
        actor.inbox.offer(event)
    for _ in range(20):
        await asyncio.sleep(0)
    assert actor.drains == [[0, 1]] and len(actor.inbox) == 1
    actor.gate.set()
    while len(actor.drains) < 2:
        await asyncio.sleep(0)
    running.cancel()
    assert actor.drains == [[0, 1], [2]]


async def test_an_exception_ends_the_actor() -> None:
    """Nothing is swallowed: whoever owns the task sees it."""
    actor = Recorder()
    actor.inbox.offer(-1)
    with pytest.raises(AssertionError, match="broken"):
        await actor.run()
