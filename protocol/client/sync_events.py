"""The synchronous twin of a subscription."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import suppress
from types import TracebackType

from protocol.client.events import Subscription
from protocol.client.sync_locks import Run, documented_as
from protocol.errors import ProtocolError
from protocol.events import Event, EventBatch


class SyncSubscription:
    """Events of a cluster, in the order of each shard; `for` gives them one by one, `batches` as they come, in columns.

    Each is told at least once, whatever node dies meanwhile: whoever keeps `cursor` with what an event has led to, and subscribes with it
    again, misses nothing. `close`, by any thread, or the end of a `with` ends the reading.
    """

    def __init__(self, subscription: Subscription, run: Run) -> None:
        self._subscription = subscription
        self._run = run

    def __enter__(self) -> SyncSubscription:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @documented_as(Subscription.close)
    def close(self) -> None:
        with suppress(ProtocolError):  # the client is closed: nothing is under way
            self._run(self._subscription.close())

    @property
    @documented_as(Subscription.cursor)
    def cursor(self) -> str:
        return self._subscription.cursor

    def __iter__(self) -> Iterator[Event]:
        for batch in self.batches():
            yield from self._subscription.events_of(batch)

    @documented_as(Subscription.events_of)
    def events_of(self, batch: EventBatch) -> Iterable[Event]:
        return self._subscription.events_of(batch)

    @documented_as(Subscription.begin)
    def begin(self) -> list[int]:
        return self._run(self._subscription.begin())

    @documented_as(Subscription.batches)
    def batches(self) -> Iterator[EventBatch]:
        batches = self._subscription.batches()
        try:
            while (batch := self._run(_following(batches))) is not None:
                yield batch
        finally:
            with suppress(ProtocolError):  # the client is closed: it has ended them
                self._run(_end(batches))


async def _following(batches: AsyncIterator[EventBatch]) -> EventBatch | None:
    return await anext(batches, None)


async def _end(batches: AsyncIterator[EventBatch]) -> None:
    close = getattr(batches, "aclose", None)
    assert close is not None, "batches come from a generator"
    await close()
