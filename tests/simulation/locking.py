"""Locks at work: users who hold one and pay under its token, some of whom fall asleep and do not notice that they lost it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from random import Random

from protocol.client import Client
from protocol.errors import Busy, OutcomeUnknown, Refused, Unreachable
from protocol.requests import LockAction
from protocol.status import LockStatus
from tests.simulation.fencing import Grant, Guarded
from tests.simulation.loop import SimLoop
from tests.simulation.records import ACCEPTED, Records
from tests.simulation.worker import CALL_SECONDS, Question, Work

LOCKS = ("lock0", "lock1")
VAULTS = ("vault0", "vault1", "vault2")
CURRENCY = "EUR"
TTL_SECONDS = (0.3, 1.0, 5.0)
WAIT_SECONDS = (0, 0.5, 3.0)
PAYMENTS_MAX = 3  # under one lease
HOLDING_SECONDS = 0.1  # mean, between two of them
GIVEN_UP_TTL_SECONDS = 20.0  # of a claim that nobody waits for: three of them one after the other would be noticed
SLEEP_TTLS = 2.0  # how long at most a sleeper sleeps, in times to live
REFUSED = ("lock_is_held", "lock_queue_full")  # an acquire that was served and got nothing
LOST = "lock_not_held"


class Locking:
    """A `Workload`."""

    def __init__(self, loop: SimLoop, client: Client, records: Records, random: Random) -> None:
        self.client = client
        self._loop = loop
        self._records = records
        self._random = random
        self.works: list[Work] = [(self._hold, 25), (self._stop_asking, 8)]

    async def open(self) -> None:
        """Opens the accounts."""
        for name in VAULTS:
            await self.client.create_account(name, CURRENCY, minimum_balance=None)

    def questions(self) -> list[Question]:
        """What became of payments, and whether locks are served."""
        asked: list[Question] = [("outcome", partial(self._settle, one)) for one in self._records.unsettled.values()]
        asked += [("outcome", partial(self._ask_again, one)) for one in self._records.lapsed.values()]
        return [*asked, *(("lock", partial(self._take, name)) for name in LOCKS)]

    async def _take(self, name: str) -> bool:
        try:
            async with self.client.lock(name, wait=CALL_SECONDS):
                return True
        except (Busy, Refused, Unreachable):
            return False

    async def _hold(self) -> None:
        """Acquires, pays, releases."""
        name, ttl = self._random.choice(LOCKS), self._random.choice(TTL_SECONDS)
        lock = self.client.lock(name, ttl=ttl, wait=self._random.choice(WAIT_SECONDS))
        invoked = self._loop.time()
        try:
            await lock.acquire()
        except Refused as refused:
            if refused.status not in REFUSED:
                self._records.broken.append(f"{name}: acquire refused with {refused.status}")
            return
        except (Busy, Unreachable):
            return
        self._records.grants.append(Grant(name, lock.token, invoked, self._loop.time(), ttl))
        sleeps = self._random.random() < 0.25
        if sleeps:
            await lock._stop_renewals()
        for _ in range(self._random.randint(0, PAYMENTS_MAX)):
            await self._pay(name, lock.token)
            await asyncio.sleep(self._random.expovariate(1 / HOLDING_SECONDS))
        if sleeps:
            await asyncio.sleep(self._random.uniform(0, SLEEP_TTLS) * ttl)
            await self._pay(name, lock.token)
        await lock.release()

    async def _stop_asking(self) -> None:
        """Stands in the queue and asks no more, as if it had been killed; what it is given by then it gives back."""
        lock = self.client.lock(self._random.choice(LOCKS), ttl=GIVEN_UP_TTL_SECONDS)
        lock._make_claim()
        asking = asyncio.ensure_future(lock._say(LockAction.acquire))
        await asyncio.wait([asking], timeout=self._random.uniform(0, 1.0))
        asking.cancel()
        try:
            told = await asking
        except (asyncio.CancelledError, Busy, Unreachable):
            return
        lock.token = told.token
        if told.status is LockStatus.granted:
            await lock._give_back()

    async def _pay(self, name: str, token: int) -> None:
        """Under the token, whether it still holds or not."""
        debit, credit = self._random.sample(VAULTS, 2)
        guarded = Guarded(self.client.new_id(), name, token, self._loop.time(), 0.0)
        try:
            await self.client.transfer(
                debit, credit, 1, id=guarded.id, lock=_Token(name, token), timeout=CALL_SECONDS
            )  # fmt: skip
        except Refused as refused:
            if refused.status != LOST:
                self._records.broken.append(f"{name}: payment refused with {refused.status}")
            self._records.lapsed[guarded.id] = replace(guarded, returned=self._loop.time()), debit
            return
        except (Busy, Unreachable):
            return
        except OutcomeUnknown:
            self._records.unsettled[guarded.id] = guarded, debit
            return
        self._happened(guarded)

    def _happened(self, guarded: Guarded) -> None:
        self._records.guarded.append(replace(guarded, returned=self._loop.time()))

    async def _settle(self, unsettled: tuple[Guarded, str]) -> bool:
        guarded, debit = unsettled
        try:
            status = await self.client.outcome(guarded.id, debit, timeout=CALL_SECONDS)
        except (Busy, OutcomeUnknown, Unreachable):
            return False
        del self._records.unsettled[guarded.id]
        if status.name in ACCEPTED:
            self._happened(guarded)
        return True

    async def _ask_again(self, lapsed: tuple[Guarded, str]) -> bool:
        """What was refused for its token stays refused so."""
        guarded, debit = lapsed
        try:
            status = await self.client.outcome(guarded.id, debit, timeout=CALL_SECONDS)
        except (Busy, OutcomeUnknown, Unreachable):
            return False
        if status.name != LOST:
            self._records.broken.append(f"transfer {guarded.id:032x}: {LOST}, in the end {status.name}")
        return True


class _Token:
    """All that a transfer needs of a lock."""

    def __init__(self, name: str, token: int) -> None:
        self.name = name
        self.token = token
