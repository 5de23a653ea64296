"""The synchronous twin."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, TypeVar

from protocol.client.client import Client
from protocol.client.locks import Lock
from protocol.views import Entry

Result = TypeVar("Result")


class SyncLock:
    """A lock that is held."""

    def __init__(self, lock: Lock, run: Callable[[Coroutine[Any, Any, None]], None]) -> None:
        self._lock = lock
        self._run = run

    @property
    def name(self) -> str:
        """As it was asked for."""
        return self._lock.name

    @property
    def token(self) -> int:
        """Rises from holder to holder."""
        return self._lock.token

    @property
    def is_held(self) -> bool:
        """Whether the lease has not run out, as far as is known here."""
        return self._now(lambda: self._lock.is_held)

    def check(self) -> None:
        """Raises Refused(lock_not_held) if the lease is lost."""
        self._now(self._lock.check)

    def renew(self, ttl: float | None = None) -> None:
        """Begins the lease anew."""
        self._run(self._lock.renew(ttl))

    def _now(self, look: Callable[[], Result]) -> Result:
        found: list[Result] = []

        async def on_the_loop() -> None:
            found.append(look())

        self._run(on_the_loop())
        return found[0]


class SyncClient:
    """The same calls as `Client`, without await; `history` gives a list. Owns a thread with an event loop."""

    def __init__(self, addresses: str | Sequence[str], **options: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="ringpay client", daemon=True)
        self._thread.start()
        self._client = Client(addresses, **options)
        try:
            self._run(self._client.__aenter__())
        except BaseException:
            self.close()
            raise

    def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_") or not hasattr(Client, name):
            raise AttributeError(f"the client has no {name}")
        method = getattr(self._client, name)
        if name in ("new_id", "lock_owner"):
            return method  # type: ignore[no-any-return]  # by name
        return lambda *arguments, **options: self._run(method(*arguments, **options))

    def history(self, id: str, **options: Any) -> list[Entry]:
        """All of the account's transfers."""

        async def collect() -> list[Entry]:
            return [entry async for entry in self._client.history(id, **options)]

        return self._run(collect())

    @contextmanager
    def lock(self, name: str, **options: Any) -> Iterator[SyncLock]:
        """`with` it: acquires, renews meanwhile, releases."""
        lock = self._client.lock(name, **options)
        self._run(lock.__aenter__())
        try:
            yield SyncLock(lock, self._run)
        except BaseException as error:
            self._run(lock.__aexit__(type(error), error, error.__traceback__))
            raise
        self._run(lock.__aexit__(None, None, None))

    def close(self) -> None:
        """Closes the connections and ends the thread."""
        if self._thread.is_alive():
            self._run(self._client.close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def __enter__(self) -> SyncClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def connect(addresses: str | Sequence[str], **options: Any) -> SyncClient:
    """A synchronous client; `options` are those of `Client`."""
    return SyncClient(addresses, **options)
