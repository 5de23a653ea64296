"""Locks of the client: acquired in a queue, kept alive by renewals, released at the end of the block."""

from __future__ import annotations

import asyncio
import itertools
import math
import secrets
import weakref
from dataclasses import dataclass, field
from types import TracebackType

from protocol.answers import LockTold
from protocol.client.arguments import check_bool, check_text, wrong
from protocol.client.calls import LAST_FRACTION, RETRY_SECONDS, Calls
from protocol.errors import Busy, Refused, RingpayError, Unreachable
from protocol.expected import EXPECTED_OF_LOCK, expected_of_name
from protocol.operations import Operation
from protocol.placement import COORDINATOR
from protocol.requests import LockAction, LockWord
from protocol.status import LockStatus

RENEWALS_PER_TTL = 3  # two may be lost before the lease is
RENEWAL_SECONDS_MIN = 0.1  # for one try: an answer of a busy cluster is not given up before
MILLISECONDS_MAX = 1e12  # of a time to live that is sent: far above any that a node takes
# For a wait that is given up, the last tenth of a shorter one; if nobody answers, the time to live cleans up.
WITHDRAW_SECONDS = 1.0


@dataclass(slots=True)
class LockOwner:
    """Who claims locks. Several locks of one owner are never wounded or kept waiting by a younger owner.

    Make one for each piece of work that takes several locks, and keep it while the work is tried again: an owner keeps its
    age, so that it comes to its turn.
    """

    id: bytes = field(default_factory=lambda: secrets.token_bytes(16))
    age_ns: int = 0  # 0 until the cluster has seen it


class Lock:
    """A lock of the cluster; `async with` acquires and releases it.

    `token` fences: it rises from holder to holder, so whoever keeps the greatest one seen can refuse those who are late.
    """

    def __init__(
        self, calls: Calls, name: str, ttl: float, wait: float | None, owner: LockOwner | None, must_hold: bool
    ) -> None:
        _check(wait, owner)
        self.name = check_text(name, "lock")
        self.ttl = ttl
        self.token = 0
        self._calls = calls
        self._wait = wait
        self._owner = owner or LockOwner()
        self._must_hold = check_bool(must_hold, "must_hold")
        self._claim = b""
        self._ticket = 0
        self._holds_until = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._renewal: asyncio.Task[None] | None = None
        self._leaving: asyncio.Task[bool] | None = None

    @property
    def is_held(self) -> bool:
        """Whether the lease has not run out, as far as is known here; the nodes may know better."""
        return self.seconds_left > 0

    @property
    def seconds_left(self) -> float:
        """Of the lease, as far as is known here; 0 when it is over."""
        return max(0.0, self._holds_until - self._calls.now())

    def check(self) -> None:
        """Raises Refused(lock_not_held) if the lease is lost."""
        if not self.is_held:
            raise _refused(LockStatus.lock_not_held)

    # -- acquiring ------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Lock:
        await self.acquire()
        return self

    async def acquire(self) -> None:
        """Waits for the lock, at most `wait` seconds. Raises Refused(lock_is_held) only where the cluster answers, else Unreachable."""
        if self._claim:
            raise wrong(f"lock {self.name!r}: expected to be acquired once")
        self._make_claim()
        wait = self._wait or 0.0
        last = min(WITHDRAW_SECONDS, wait / LAST_FRACTION)
        try:
            async with asyncio.timeout(wait - last if wait else None):
                await self._stand_in_line()
        except TimeoutError as error:
            self._leaving = asyncio.ensure_future(self._withdraw())
            await asyncio.wait([self._leaving], timeout=last)
            if not (self._leaving.done() and self._leaving.result()):
                raise Unreachable(f"lock: no node answers for the lock's queue within {wait:g} s") from error
            raise _refused(LockStatus.lock_is_held, f"a lock that is free within {wait:g} s") from error
        except Refused:
            raise
        except RingpayError:  # its time is over
            self._leaving = asyncio.ensure_future(self._withdraw())
            raise
        except BaseException:
            await self._withdraw()
            raise
        self._renew_later()

    def _make_claim(self) -> None:
        self._claim, self._ticket = secrets.token_bytes(16), self._calls.lock_ticket

    async def _stand_in_line(self) -> None:
        action = LockAction.get_at_once if self._wait == 0 else LockAction.acquire
        while True:
            told = await self._say(action)
            if told.status is LockStatus.claim_is_over:
                self._make_claim()
            elif told.status is not LockStatus.waiting:
                break
        if told.status.is_refusal:
            raise _refused(told.status, expected_of_name(told.status, self.name))
        self.token, self._owner.age_ns = told.token, told.age_ns
        self._holds_until = self._calls.now() + self.ttl

    async def _withdraw(self) -> bool:
        """Nobody waits for this claim any more. Whether it was heard; else it will come to its turn and expire."""
        try:
            async with asyncio.timeout(WITHDRAW_SECONDS):
                await self._say(LockAction.release)
        except (RingpayError, TimeoutError):
            return False
        return True

    # -- holding --------------------------------------------------------------------------------------------------

    async def renew(self, ttl: float | None = None) -> None:
        """Begins the lease anew, with another time to live if one is given. Raises Refused(lock_not_held) if it is lost."""
        await self._renew(ttl, None)

    async def _renew(self, ttl: float | None, timeout: float | None) -> None:
        began = self._calls.now()
        ttl_ms = 0 if ttl is None else max(1, _milliseconds(ttl))
        told = await self._say(LockAction.renew, ttl_ms=ttl_ms, timeout=timeout)
        if told.status is LockStatus.renewed:
            self.ttl = self.ttl if ttl is None else ttl
            self._holds_until = began + self.ttl
            return
        if told.status is LockStatus.lock_not_held:
            self._lose()
        raise _refused(told.status)

    def _lose(self) -> None:
        self._holds_until = 0.0
        if self._timer is not None:
            self._timer.cancel()

    def _renew_later(self) -> None:
        """Unless nobody has this lock any more by then: nobody could give it back either."""
        reference = weakref.ref(self)

        def begin() -> None:
            if (lock := reference()) is not None:
                lock._begin_renewal()

        self._timer = asyncio.get_running_loop().call_later(self.ttl / RENEWALS_PER_TTL, begin)

    def _begin_renewal(self) -> None:
        self._renewal = asyncio.ensure_future(self._keep())

    async def _keep(self) -> None:
        try:
            await self._renew(None, max(self.ttl / RENEWALS_PER_TTL, RENEWAL_SECONDS_MIN))
        except Refused:
            await self._withdraw()  # behind an older owner that was let in, the claim must not come to its turn again
            return
        except RingpayError:
            if self.is_held:
                self._begin_renewal()  # the call has taken the time that is between two renewals
            return
        self._renew_later()

    # -- releasing ------------------------------------------------------------------------------------------------

    async def release(self) -> bool:
        """Gives the lock back; whether it was held until now. A release that no node answers is left to the time to live."""
        try:
            await self._stop_renewals()
            return await self._give_back()
        except asyncio.CancelledError:
            await self._withdraw()
            raise

    async def _give_back(self) -> bool:
        was_held, self._holds_until = self.is_held, 0.0
        try:
            told = await self._say(LockAction.release)
        except RingpayError:
            return was_held
        return told.status is LockStatus.released

    async def leave(self) -> None:
        """The client closes: gives back what is held, as far as a node answers in a moment, and renews it no more."""
        await self._stop_renewals()
        if self._leaving is not None:
            await asyncio.wait([self._leaving])
        if self.is_held:
            await self._withdraw()
            self._holds_until = 0.0

    async def _stop_renewals(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._renewal is not None and not self._renewal.done():
            self._renewal.cancel()
            await asyncio.wait([self._renewal])

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        was_held = await self.release()
        if self._must_hold and not was_held and error is None:
            raise _refused(LockStatus.lock_not_held)

    # -- words ----------------------------------------------------------------------------------------------------

    async def _say(self, action: LockAction, *, ttl_ms: int | None = None, timeout: float | None = None) -> LockTold:
        """One word, repeated until it is answered: the same claim again is a repetition."""
        ttl_ms = _milliseconds(self.ttl) if ttl_ms is None else ttl_ms
        owner = self._owner
        word = LockWord(action, self.name, self._claim, owner.id, ttl_ms, self.token, owner.age_ns, self._ticket)
        deadline = self._calls.now() + (self._calls.timeout if timeout is None else timeout)
        while True:
            try:
                told = LockTold.unpack(await self._calls.call(Operation.lock, COORDINATOR, word.pack(), timeout))
                self._calls.lock_ticket = max(told.ticket, self._calls.lock_ticket)
                return told
            except Busy as busy:
                if action is not LockAction.acquire and self._calls.now() + busy.retry_after > deadline:
                    raise
                await asyncio.sleep(max(busy.retry_after, RETRY_SECONDS))


class OpenLocks:
    """The locks of one client, in mind only as long as somebody has them."""

    def __init__(self) -> None:
        self._locks: weakref.WeakValueDictionary[int, Lock] = weakref.WeakValueDictionary()
        self._numbers = itertools.count()

    def add(self, lock: Lock) -> Lock:
        """A lock that the client has made."""
        self._locks[next(self._numbers)] = lock
        return lock

    async def leave(self) -> None:
        """The client closes."""
        await asyncio.gather(*(lock.leave() for lock in list(self._locks.values())))


def _check(wait: object, owner: object) -> None:
    if wait is not None and not (isinstance(wait, (int, float)) and wait >= 0):
        raise wrong(f"wait {wait!r}: expected seconds of 0 or more, or None for without end")
    if owner is not None and not isinstance(owner, LockOwner):
        raise wrong(f"owner {owner!r}: expected one that `client.lock_owner` gives, or None")


def _milliseconds(seconds: object) -> int:
    """What is out of the wire's range becomes the nearest in it; the node refuses it by its status."""
    if not isinstance(seconds, (int, float)) or math.isnan(seconds):
        raise wrong(f"ttl {seconds!r}: expected seconds")
    return round(max(0.0, min(seconds * 1_000, MILLISECONDS_MAX)))


def _refused(status: LockStatus, expected: str = "") -> Refused:
    return Refused(status.name, expected or EXPECTED_OF_LOCK.get(status, ""))
