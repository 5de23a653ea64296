"""The synchronous twin of a lock."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from inspect import CORO_CREATED, getcoroutinestate
from types import TracebackType
from typing import Any, Protocol, TypeVar

from protocol.client.locks import Lock
from protocol.errors import RingpayError

Result = TypeVar("Result")
Method = TypeVar("Method", bound=Callable[..., object])


def documented_as(original: object) -> Callable[[Method], Method]:
    """A method that says of itself what its original says, so that `help` shows that with the method's own arguments."""

    def tell(method: Method) -> Method:
        method.__doc__ = original.__doc__
        return method

    return tell


class Run(Protocol):
    """Does work on the client's loop and waits for it: its result, or what it raises; an interrupt cancels it."""

    def __call__(self, work: Coroutine[Any, Any, Result]) -> Result: ...


class SyncLock:
    """A lock of the cluster; `with` acquires it, renews it meanwhile, and releases it. An interrupt leaves no claim behind."""

    def __init__(self, lock: Lock, run: Run) -> None:
        self._lock = lock
        self._run = run

    def __enter__(self) -> SyncLock:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run_begun(self._lock.__aexit__(kind, error, trace))

    @property
    def name(self) -> str:
        """As it was asked for."""
        return self._lock.name

    @property
    def ttl(self) -> float:
        """Seconds of the lease from each renewal on."""
        return self._lock.ttl

    @property
    def token(self) -> int:
        """Rises from holder to holder."""
        return self._lock.token

    @property
    @documented_as(Lock.is_held)
    def is_held(self) -> bool:
        return self._on_the_loop(lambda: self._lock.is_held)

    @property
    @documented_as(Lock.seconds_left)
    def seconds_left(self) -> float:
        return self._on_the_loop(lambda: self._lock.seconds_left)

    @documented_as(Lock.check)
    def check(self) -> None:
        self._on_the_loop(self._lock.check)

    @documented_as(Lock.acquire)
    def acquire(self) -> None:
        try:
            self._run(self._lock.acquire())
        except RingpayError:
            raise
        except BaseException:
            if self._lock.token:  # the interrupt came when the lock was granted already
                self.release()
            raise

    @documented_as(Lock.renew)
    def renew(self, ttl: float | None = None) -> None:
        self._run(self._lock.renew(ttl))

    @documented_as(Lock.release)
    def release(self) -> bool:
        return self._run_begun(self._lock.release())

    def _run_begun(self, release: Coroutine[Any, Any, Result]) -> Result:
        try:
            return self._run(release)
        except BaseException:
            if getcoroutinestate(release) == CORO_CREATED:  # the interrupt came before it was begun
                self._run(release)
            raise

    def _on_the_loop(self, look: Callable[[], Result]) -> Result:
        """What is told by the loop's clock."""

        async def looked() -> Result:
            return look()

        return self._run(looked())
