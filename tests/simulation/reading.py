"""Readers of events: each goes on from its cursor again and again, some start anew, and all note what they were told."""

from __future__ import annotations

import asyncio
from random import Random

from protocol.client import Client
from protocol.errors import Busy, RingpayError, Unreachable
from protocol.events import OLDEST, EventKind
from tests.simulation.events import Told, told_of
from tests.simulation.loop import SimLoop
from tests.simulation.records import Records
from tests.simulation.worker import CALL_SECONDS, Question, Work

KINDS = tuple(EventKind)
EVENTS_MAX = 60  # that a reader takes before it leaves
WAITING_SECONDS = 2.0  # for what comes, at most
SLOW_SECONDS = 0.02  # a slow reader takes for an event


class Readers:
    """A `Workload` of one reader that lasts."""

    def __init__(self, loop: SimLoop, client: Client, records: Records, random: Random) -> None:
        self.client = client
        self._loop = loop
        self._records = records
        self._random = random
        self._cursor = OLDEST
        self._told: list[Told] = []
        records.readers.append(self._told)
        self.works: list[Work] = [(self._go_on, 25), (self._start_anew, 2)]

    async def open(self) -> None:
        """Nothing of its own."""

    def questions(self) -> list[Question]:
        """All that there is, for the reader that lasts, and once for everybody."""
        return [("events", self._read_up), ("all events", self._read_all)]

    async def _go_on(self) -> None:
        """For a while, or some events; then the reader is gone, in the middle of whatever it was told."""
        follow, slow = self._random.random() < 0.5, self._random.random() < 0.3
        left = self._random.randint(1, EVENTS_MAX)
        events = self.client.subscribe(KINDS, cursor=self._cursor, follow=follow, timeout=CALL_SECONDS)
        try:
            async with asyncio.timeout(self._random.uniform(0, WAITING_SECONDS)):
                async for event in events:
                    self._told.append(told_of(event))
                    self._cursor = events.cursor
                    left -= 1
                    if not left:
                        break
                    if slow:
                        await asyncio.sleep(SLOW_SECONDS)
        except (Busy, Unreachable, TimeoutError):
            pass
        except RingpayError as error:
            self._records.broken.append(f"a reader with a good cursor: {error}")

    async def _start_anew(self) -> None:
        """A reader that has lost its cursor is told the same again."""
        again: list[Told] = []
        if await self._read(OLDEST, again) is not None:
            self._records.readings.append(again)

    async def _read(self, cursor: str, told: list[Told]) -> str | None:
        """All up to now; the cursor behind it, None where there was no answer to all questions."""
        events = self.client.subscribe(KINDS, cursor=cursor, follow=False, timeout=CALL_SECONDS)
        try:
            async for event in events:
                told.append(told_of(event))
                cursor = events.cursor
        except (Busy, Unreachable):
            return None
        except RingpayError as error:
            self._records.broken.append(f"a reader: {error}")
            return None
        return cursor

    async def _read_up(self) -> bool:
        told: list[Told] = []
        cursor = await self._read(self._cursor, told)
        self._told += told if cursor is not None else []
        return cursor is not None

    async def _read_all(self) -> bool:
        told: list[Told] = []
        if await self._read(OLDEST, told) is None:
            return False
        self._records.events = told
        return True
