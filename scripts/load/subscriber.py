"""A subscriber to all transfers beside the load: what it is told, and how far it is behind when the load ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from node.cli.output import say
from protocol.client import Client
from protocol.errors import RingpayError

BEHIND_SECONDS_MAX = 60.0  # then it has lost some


@dataclass(slots=True)
class Subscriber:
    """Counts what it is told, in columns."""

    told: int = 0
    amount: int = 0
    began: float = 0.0

    async def follow(self, client: Client, begun: asyncio.Event) -> None:
        """Until cancelled; what comes from now on."""
        events = client.subscribe("transfers", cursor="newest")  # named here: older commits have no such module
        await events.begin()
        begun.set()
        async for batch in events.batches():
            assert batch.transfers is not None, "of transfers"
            self.told += len(batch.transfers)
            self.amount += int(batch.transfers.amounts().sum())

    async def catch_up(self, expected: int) -> float:
        """Seconds from now until it has been told of so many. Raises RingpayError if it never is."""
        ended = time.monotonic()
        while self.told < expected:
            if time.monotonic() - ended > BEHIND_SECONDS_MAX:
                raise RingpayError(f"the subscriber was told of {self.told} transfers, expected {expected}")
            await asyncio.sleep(0.01)
        return time.monotonic() - ended


@asynccontextmanager
async def subscribed(client: Client) -> AsyncIterator[Subscriber]:
    """One that follows meanwhile."""
    subscriber, begun = Subscriber(), asyncio.Event()
    following = asyncio.create_task(subscriber.follow(client, begun))
    await begun.wait()
    try:
        yield subscriber
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def report_subscriber(subscriber: Subscriber, expected: int) -> bool:
    """How far it was behind; false if it was told of more than there was."""
    behind = await subscriber.catch_up(expected)
    say(f"subscriber told of {subscriber.told} transfers, {behind:.3f} s behind at the end")
    return subscriber.told == expected
