"""What works on the cluster: a user of one client, busy with one or several workloads."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from random import Random
from typing import Any, Protocol

from protocol.client import Client
from tests.simulation.loop import Owner

CALL_SECONDS = 4.0  # that a call may take until its caller gives up

Work = tuple[Callable[[], Awaitable[None]], int]
"""One kind of call, and how often it is made compared with the others."""

Question = tuple[str, Callable[[], Coroutine[Any, Any, bool]]]
"""What is asked, and the asking: true once there was an answer."""


class Workload(Protocol):
    """Calls of one kind of use, which note in the records what they were told. It never judges a history itself."""

    works: list[Work]

    async def open(self) -> None:
        """Makes what the calls need; once a run, before any fault."""
        ...

    def questions(self) -> list[Question]:
        """After the faults: what to ask until it is answered, so that the records are complete."""
        ...


class Worker:
    """One client's user."""

    def __init__(self, owner: Owner, client: Client, workloads: Sequence[Workload], random: Random) -> None:
        self.owner = owner
        self.client = client
        self.workloads = workloads
        self._random = random
        self._stop = False

    async def connect(self) -> None:
        """Finds the cluster."""
        await self.client.__aenter__()

    async def run(self, mean_seconds: float) -> None:
        """Works until told to stop; every call comes to its end."""
        works, weights = zip(*(work for workload in self.workloads for work in workload.works), strict=True)
        while not self._stop:
            await asyncio.sleep(self._random.expovariate(1 / mean_seconds))
            (work,) = self._random.choices(works, weights)
            await work()

    def stop(self) -> None:
        """Lets the current call end, and no other begin."""
        self._stop = True
