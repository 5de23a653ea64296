"""Following what happens: a subscription asks each shard, from its position on, and merges what they tell.

The nodes keep nothing for it. At most one question a shard is under way or answered and not yet taken, so a consumer that is slow is simply
not asked for; whatever it has not been told stays where it is. A question at the end of a shard waits there for news.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable, Sequence
from types import TracebackType
from typing import Any, Literal, TypeVar, assert_never

from protocol.answers import FactsAhead, FactsTold, FactsTooOld, facts_of
from protocol.client.arguments import check_bool, check_text, wrong
from protocol.client.calls import Calls, check_seconds
from protocol.errors import Busy, CursorTooOld, Unreachable
from protocol.events import (
    CLUSTER_KINDS,
    NEWEST,
    OLDEST,
    PREFIX_BYTES_MAX,
    ROWS_MAX,
    Cursor,
    Event,
    EventBatch,
    EventKind,
    Position,
)
from protocol.operations import Operation
from protocol.placement import COORDINATOR, called
from protocol.requests import FactsRequest

Result = TypeVar("Result")
Kind = EventKind | Literal["accounts", "transfers", "holds", "allowances", "locks"]

WAIT_MS = 2_000  # for news, a question: shorter than an attempt of a call
SETTLING_MS = 1_000  # that rounds may take to be decided which have been answered already: some milliseconds, usually
WAITING_ROWS = (
    32  # that such a question may be answered with, so that it counts as a short one: many wait at a node at once
)
GATHERING_SECONDS = (
    0.1  # between two answers of a shard that has much to tell: many small ones would take its time from payments
)
AWAY_SECONDS = 0.2  # between two calls to a shard that a follower waits for
WHOLE_AT_ONCE = 2  # questions of a subscription that may be answered with a whole segment: some megabytes each


def check_kinds(kinds: object) -> tuple[EventKind, ...]:
    """Raises ProtocolError(bad_request) for anything but a list of kinds, or one."""
    known = ", ".join(EventKind)
    given = [kinds] if isinstance(kinds, str) else kinds
    if not isinstance(given, Iterable):
        raise wrong(f"kinds {kinds!r:.40}: expected some of {known}")
    chosen = []
    for kind in given:
        if kind not in tuple(EventKind):
            raise wrong(f"kind {kind!r:.40}: expected one of {known}")
        chosen.append(EventKind(kind))
    if not chosen:
        raise wrong(f"kinds: expected at least one of {known}")
    return tuple(dict.fromkeys(chosen))


def check_prefix(prefix: object) -> str:
    """Raises ProtocolError(bad_request) for what no name begins with."""
    text = check_text(prefix, "prefix")
    if len(text.encode()) > PREFIX_BYTES_MAX:
        expected = f"the first letters of account ids or lock names, at most {PREFIX_BYTES_MAX} bytes"
        raise wrong(f"prefix {text!r:.80}: expected {expected}")
    return text


def check_cursor(cursor: object) -> str | Cursor:
    """Raises ProtocolError(bad_request) for anything but a cursor's text, `oldest` or `newest`."""
    if cursor in (OLDEST, NEWEST):
        return str(cursor)
    return Cursor.unpack(cursor if isinstance(cursor, str) else repr(cursor))


class Subscription:
    """Events of a cluster, in the order of each shard; `async for` gives them one by one, `batches` as they come, in columns.

    Each is told at least once, whatever node dies meanwhile: whoever keeps `cursor` with what an event has led to, and subscribes with it
    again, misses nothing. `close`, by any task, or the end of an `async with` ends the reading.
    """

    def __init__(
        self,
        calls: Calls,
        kinds: Sequence[EventKind],
        prefix: str,
        cursor: str | Cursor,
        follow: bool,
        timeout: float | None,
    ) -> None:
        self._calls = calls
        self._kinds = kinds
        self._prefix = prefix
        self._start = cursor
        self._follow = follow
        self._timeout = calls.timeout if timeout is None else timeout
        self._positions: dict[int, Position] = dict(cursor.positions) if isinstance(cursor, Cursor) else {}
        self._ends: dict[
            int, Position
        ] = {}  # of each shard: when it was asked last, or without `follow` at the beginning
        self._busy: dict[int, None] = {}  # shards with much to tell: what comes is gathered for a moment
        self._whole = asyncio.Semaphore(WHOLE_AT_ONCE)
        self._under_way: dict[asyncio.Task[Any], None] = {}  # what `close` has to cancel
        self._has_begun = False
        self._closed = asyncio.Event()

    async def __aenter__(self) -> Subscription:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the reading, for good, behind the event that was given last, where `cursor` stays; whoever waits for the next is woken."""
        self._closed.set()
        under_way = list(self._under_way)
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)

    @property
    def cursor(self) -> str:
        """To go on from, in another subscription: behind the event, or the batch, that was given last, or where it has begun.

        Before `begin`, or the first event, it is what was asked for: `newest` stands for a later place whenever it is asked for again.
        """
        if not self._has_begun:
            return self._start if isinstance(self._start, str) else self._start.pack()
        return Cursor(self._calls.cluster_name, self._positions).pack()

    async def __aiter__(self) -> AsyncIterator[Event]:
        """Event by event."""
        async for batch in self.batches():
            for event in self.events_of(batch):
                yield event

    def events_of(self, batch: EventBatch) -> Iterable[Event]:
        """The events of the batch that was given last; meanwhile the cursor goes along with them."""
        self._positions[batch.shard] = batch.start
        for event, position in batch.walk():
            if self._closed.is_set():
                return
            self._positions[batch.shard] = position
            yield event
        self._positions[batch.shard] = batch.end

    async def batches(self) -> AsyncIterator[EventBatch]:
        """What each answer tells, in columns."""
        if (groups := await self._unless_closed(self._stand())) is None:
            return
        asked: dict[asyncio.Task[EventBatch], int] = {}
        for group in groups:
            if self._follow or self._positions[group] != self._ends[group]:
                asked[self._started(self._next(group, self._positions[group]))] = group
        try:
            while asked:
                done, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
                for task in [task for task in asked if task in done]:
                    if self._closed.is_set():
                        return
                    group, batch = asked.pop(task), task.result()
                    if self._follow or batch.end.is_before(self._ends[group]):
                        asked[self._started(self._next(group, batch.end))] = group
                    self._positions[group] = batch.end
                    if len(batch):
                        yield batch
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)

    async def begin(self) -> list[int]:
        """Finds out where each shard stands, and whether the cursor can be gone on from; the shards that are read.

        Reading does so by itself, with the first event that is asked for. To call it earlier is for whoever needs to know from when on
        nothing is missed: what happens after it will be told, by this subscription, or by a later one from its `cursor` on, `newest` too.
        Raises what reading would, and ProtocolError(bad_request) after `close`.
        """
        if (groups := await self._unless_closed(self._stand())) is None:
            raise wrong("the subscription is closed: expected one that is open")
        return groups

    async def _stand(self) -> list[int]:
        if self._follow and self._has_begun:  # whatever is away now is waited for
            return list(self._ends)
        table = await self._calls.table(self._timeout)
        if isinstance(self._start, Cursor):
            self._check_cursor(self._start, table.shards)
        groups = [COORDINATOR] if any(kind in CLUSTER_KINDS for kind in self._kinds) else []
        if any(kind not in CLUSTER_KINDS for kind in self._kinds):
            groups += range(1, table.shards + 1)
        first = self._start if isinstance(self._start, str) else OLDEST
        settling_ms = 0 if self._follow else SETTLING_MS
        told = await asyncio.gather(
            *(self._look(group, self._positions.get(group, first), 0, settling_ms) for group in groups)
        )
        for group, answer in zip(groups, self._all_kept(groups, told), strict=True):
            self._positions.setdefault(group, answer.start)
            self._ends[group] = answer.end
        self._has_begun = True
        return groups

    async def _unless_closed(self, work: Coroutine[Any, Any, Result]) -> Result | None:
        """Its result; None when `close` comes first."""
        if self._closed.is_set():
            work.close()
            return None
        task = self._started(work)
        try:
            await asyncio.wait([task])
        finally:
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        return None if self._closed.is_set() else task.result()

    def _started(self, work: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
        task = asyncio.create_task(work)
        self._under_way[task] = None
        task.add_done_callback(self._under_way.pop)
        return task

    def _check_cursor(self, cursor: Cursor, shards: int) -> None:
        if cursor.cluster != self._calls.cluster_name:
            raise wrong(f"a cursor of cluster {cursor.cluster}: expected one of {self._calls.cluster_name}")
        if unknown := [shard for shard in cursor.positions if not COORDINATOR <= shard <= shards]:
            raise wrong(f"a cursor with {called(unknown[0])}: expected shards of 0 to {shards}")

    async def _next(self, group: int, position: Position) -> EventBatch:
        """What comes next of a shard. A follower waits while it does not answer: the others go on meanwhile."""
        is_away = False
        while True:
            try:
                if is_away:  # a small question takes no turn from shards with much to tell
                    await self._ask(group, position, 0, 0)
                return await self._read(group, position)
            except (Unreachable, Busy):
                if not self._follow or not self._calls.left(self._calls.deadline(self._timeout)):
                    raise
                is_away = True
            await asyncio.sleep(AWAY_SECONDS)

    async def _read(self, group: int, position: Position) -> EventBatch:
        """As much as there is where the shard is ahead of the position, as far as that is known; else what comes."""
        is_behind = not self._follow or position.is_before(self._ends[group])
        if not is_behind and group in self._busy:
            await asyncio.sleep(GATHERING_SECONDS)
        if is_behind or group in self._busy:
            async with self._whole:
                told = await self._ask(group, position, ROWS_MAX, 0)
        else:
            told = await self._ask(group, position, WAITING_ROWS, WAIT_MS)
        if self._follow:
            self._ends[group] = told.end
        batch = told.batch(group)
        if len(batch) >= WAITING_ROWS:
            self._busy[group] = None
        else:
            self._busy.pop(group, None)
        return batch

    async def _ask(self, group: int, position: str | Position, rows: int, wait_ms: int) -> FactsTold:
        (told,) = self._all_kept([group], [await self._look(group, position, rows, wait_ms)])
        return told

    def _all_kept(self, groups: Sequence[int], answers: Sequence[FactsTold | FactsTooOld]) -> list[FactsTold]:
        """Raises CursorTooOld where one has forgotten what is asked for, with a cursor that is too old for none of them."""
        forgotten = {
            group: answer for group, answer in zip(groups, answers, strict=True) if isinstance(answer, FactsTooOld)
        }
        if not forgotten:
            return [answer for answer in answers if isinstance(answer, FactsTold)]
        oldest = {group: answer.oldest for group, answer in forgotten.items()}
        cursor = Cursor(self._calls.cluster_name, {**self._positions, **oldest}).pack()
        group, answer = next(iter(forgotten.items()))
        raise CursorTooOld(called(group), answer.start.facts, answer.oldest.facts, cursor)

    async def _look(self, group: int, position: str | Position, rows: int, wait_ms: int) -> FactsTold | FactsTooOld:
        """Asks again while a node is busy or away, as long as a call may take."""
        kinds = [kind.value for kind in self._kinds if (kind in CLUSTER_KINDS) == (group == COORDINATOR)]
        body = await self._answer(FactsRequest(group, kinds, self._prefix, position, rows, wait_ms))
        match answer := facts_of(body):
            case FactsTold() | FactsTooOld():
                return answer
            case FactsAhead(start, end):
                shown = (
                    f"row {start.rows} and fact {start.facts}, of {called(group)}, which has {end.rows} and {end.facts}"
                )
                raise wrong(f"a cursor ahead of {shown}: expected an earlier one. Was older data put back?")
            case _:
                assert_never(answer)

    async def _answer(self, asked: FactsRequest) -> list[Any]:
        body, group = asked.pack(), asked.group or -1
        deadline = self._calls.deadline(self._timeout)
        while True:
            try:
                return await self._calls.call_until(Operation.facts, group, body, deadline, None)
            except Busy as error:
                if self._calls.left(deadline) <= error.retry_after:
                    raise
                await asyncio.sleep(error.retry_after)


class Following:
    """The calls of a client that follow what happens."""

    _calls: Calls

    def subscribe(
        self,
        kinds: Kind | Sequence[Kind],
        *,
        prefix: str = "",
        cursor: str = OLDEST,
        follow: bool = True,
        timeout: float | None = None,
    ) -> Subscription:
        """What has happened and happens: accounts, transfers, holds, allowances, locks; one of these kinds, or several.

        Of accounts (locks) whose ids (names) begin with `prefix`. From `oldest`, `newest` (what happens from now on) or a `cursor` of an
        earlier subscription on; of shards that this one did not read, from their oldest. Without `follow` it ends with what there was when
        it began. In the order of each shard, each event at least once. Raises CursorTooOld, ProtocolError(bad_request) for a cursor of
        another cluster, or one ahead of it, and Unreachable or Busy when a shard has not answered within `timeout`: a follower only when
        it begins. From then on it waits for a shard that is away, while the others go on.

        What an event tells stands in its `.data`; amounts in minor units, ids as integers, `metadata` of an account as bytes:
        transfer, capture, void: id, debit, credit, amount, currency, code, reference; hold, of a capture or void; reverses and metadata,
        where there are some. hold: the same, with ttl in seconds. hold_ended: hold, debit, credit, rest (given back), currency, and
        reason (captured, voided or expired). account_opened, account_updated: account, currency, minimum, maximum, status, owner,
        metadata, version, split. allowance_set: account, amount (None: none any more), zone. lock_granted, lock_released: lock, token,
        owner; of the latter reason.
        """
        seconds = None if timeout is None else check_seconds(timeout)
        return Subscription(
            self._calls,
            check_kinds(kinds),
            check_prefix(prefix),
            check_cursor(cursor),
            check_bool(follow, "follow"),
            seconds,
        )
