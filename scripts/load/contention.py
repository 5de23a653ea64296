"""Clients that all change one account: with a lock, with `if_version`, and with neither."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from protocol.client import Client
from protocol.errors import Busy, Refused

WIDTHS = (1, 2, 4, 8, 16, 32, 64)  # clients at once
HOT, OTHER = "{contended}:EUR", "{other}:EUR"  # in two shards where there are several
LOCK = "contended"
LOCK_TTL_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Point:
    """What so many clients got done one way."""

    way: str
    clients: int
    per_second: float
    attempts: float  # transfers sent for each that happened


Change = Callable[[Client], Awaitable[int]]
"""Moves one unit after reading the account; gives how many transfers that took."""


async def change_with_neither(client: Client) -> int:
    """The books' own limits decide: no reading is needed."""
    await client.transfer(HOT, OTHER, 1)
    return 1


async def change_with_version(client: Client) -> int:
    """Reads, then transfers if nobody has changed the account meanwhile; else again."""
    version = (await client.account(HOT)).version
    attempts = 1
    while True:
        try:
            await client.transfer(HOT, OTHER, 1, if_version=version)
            return attempts
        except Refused as refused:
            if refused.version is None:
                raise
            version, attempts = refused.version, attempts + 1


async def change_with_lock(client: Client) -> int:
    """Waits for its turn, reads, transfers while it holds."""
    async with client.lock(LOCK, ttl=LOCK_TTL_SECONDS) as lock:
        await client.account(HOT)
        await client.transfer(HOT, OTHER, 1, lock=lock)
    return 1


WAYS: dict[str, Change] = {
    "neither": change_with_neither, "if_version": change_with_version, "lock": change_with_lock,
}  # fmt: skip


async def measure_contention(addresses: str, token: str, seconds: float) -> list[Point]:
    """Each way with each number of clients, each for so many seconds."""
    points = []
    async with Client(addresses, token=token) as client:
        for account in (HOT, OTHER):
            await client.create_account(account, "EUR", minimum_balance=None)
        for way, change in WAYS.items():
            for clients in WIDTHS:
                points.append(await _measure(client, way, change, clients, seconds))
    return points


async def _measure(client: Client, way: str, change: Change, clients: int, seconds: float) -> Point:
    done = attempts = 0
    until = time.monotonic() + seconds

    async def work() -> None:
        nonlocal done, attempts
        while time.monotonic() < until:
            try:
                sent = await change(client)  # before the sum is read: the others go on meanwhile
                attempts, done = attempts + sent, done + 1
            except Busy as busy:
                await asyncio.sleep(busy.retry_after)

    began = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(clients):
            tasks.create_task(work())
    return Point(way, clients, done / (time.monotonic() - began), attempts / max(1, done))
