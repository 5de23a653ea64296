"""Clients that queue for one lock: how many grants a second, and whether one at a time, with rising tokens."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from protocol.client import Client

CONNECTIONS = 4  # that the clients share; a connection takes about a thousand unanswered requests
WARM_UP_SECONDS = 1.0  # until everybody stands in the queue
TTL_SECONDS = 60.0
NAME = "bench"


@dataclass(slots=True)
class Grants:
    """What was seen."""

    count: int = 0
    last_token: int = 0
    inside: int = 0
    wrong: list[str] = field(default_factory=list)


async def _queue(client: Client, grants: Grants, stop: asyncio.Event) -> None:
    while not stop.is_set():
        async with client.lock(NAME, ttl=TTL_SECONDS) as lock:
            grants.inside += 1
            if grants.inside > 1:
                grants.wrong.append(f"token {lock.token} was granted while another one held")
            if lock.token <= grants.last_token:
                grants.wrong.append(f"token {lock.token} came after {grants.last_token}")
            grants.last_token = lock.token
            grants.count += 1
            await asyncio.sleep(0)  # another one that held as well could show itself
            grants.inside -= 1


async def queue_for_a_lock(addresses: str, token: str, clients: int, seconds: float) -> tuple[float, int, list[str]]:
    """Grants a second, grants in all, and what went wrong."""
    grants, stop = Grants(), asyncio.Event()
    async with AsyncExitStack() as stack:
        shared = [
            await stack.enter_async_context(Client(addresses, token=token)) for _ in range(min(CONNECTIONS, clients))
        ]
        async with asyncio.TaskGroup() as group:
            for number in range(clients):
                group.create_task(_queue(shared[number % len(shared)], grants, stop))
            await asyncio.sleep(WARM_UP_SECONDS)
            count, began = grants.count, time.monotonic()
            await asyncio.sleep(seconds)
            rate = (grants.count - count) / (time.monotonic() - began)
            stop.set()
    return rate, grants.count, grants.wrong
