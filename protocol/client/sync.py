"""The synchronous twin."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from types import TracebackType
from typing import Any, TypeVar

from protocol.client.client import Client
from protocol.views import Entry

Result = TypeVar("Result")


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
        if name == "new_id":
            return method  # type: ignore[no-any-return]  # by name
        return lambda *arguments, **options: self._run(method(*arguments, **options))

    def history(self, id: str, **options: Any) -> list[Entry]:
        """All of the account's transfers."""

        async def collect() -> list[Entry]:
            return [entry async for entry in self._client.history(id, **options)]

        return self._run(collect())

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
