"""Reads an account's history page by page; that of a split account from all its shares, merged by time."""

from __future__ import annotations

import heapq
from collections.abc import AsyncIterator
from dataclasses import dataclass

from protocol.answers import Page
from protocol.client.arguments import wrong
from protocol.client.calls import Calls
from protocol.errors import Refused
from protocol.operations import Operation
from protocol.requests import HistoryRequest
from protocol.rows import TransferRow
from protocol.status import HISTORY_ROWS_MAX, AccountStatus
from protocol.views import Entry


@dataclass(frozen=True, slots=True)
class Pages:
    """How an account's history is to be read."""

    id: str
    newest_first: bool
    rows: int  # of a page
    limit: int | None  # of all pages; None: without
    page_timeout: float | None  # seconds for each page; None: the client's
    deadline: float | None  # of the last page; None: without end

    def __post_init__(self) -> None:
        if type(self.rows) is not int or not 1 <= self.rows <= HISTORY_ROWS_MAX:
            raise wrong(f"page {self.rows!r:.40}: expected 1 to {HISTORY_ROWS_MAX} rows")
        if self.limit is not None and (type(self.limit) is not int or self.limit < 1):
            raise wrong(f"limit {self.limit!r:.40}: expected 1 row or more, or None for all")

    def seconds(self, calls: Calls) -> float:
        """For the next page."""
        limit = calls.deadline(self.page_timeout)
        return calls.left(limit if self.deadline is None else min(limit, self.deadline))


async def read_history(calls: Calls, pages: Pages) -> AsyncIterator[Entry]:
    """Raises Refused(account_not_found). Moves between the shares of a split account are no share of its history."""
    id = pages.id
    if id not in calls.split:
        async for row in _rows(calls, pages, None):
            if row is None:
                break
            yield Entry.of(row)
        if id not in calls.split:
            return
    shards = (await calls.table(pages.seconds(calls))).shards
    shares = [_rows(calls, pages, group) for group in range(1, shards + 1)]
    sign = -1 if pages.newest_first else 1
    waiting: list[tuple[int, int, TransferRow]] = []
    for place, share in enumerate(shares):
        if (row := await anext(share, None)) is not None:
            waiting.append((sign * row.timestamp_ns, place, row))
    heapq.heapify(waiting)
    while waiting:
        _, place, row = waiting[0]
        if row.debit != row.credit:
            yield Entry.of(row)
        if (following := await anext(shares[place], None)) is not None:
            heapq.heapreplace(waiting, (sign * following.timestamp_ns, place, following))
        else:
            heapq.heappop(waiting)


async def _rows(calls: Calls, pages: Pages, share: int | None) -> AsyncIterator[TransferRow | None]:
    """Rows of a share, or (None) of an account that is not known to be split; a None says that it is."""
    id = pages.id
    cursor: int | None = None
    while True:
        body = HistoryRequest(id, cursor, pages.rows, pages.newest_first, share).pack()
        seconds = pages.seconds(calls)
        if share is not None:
            page = Page.unpack(await calls.call(Operation.history, share, body, seconds))
        else:
            page = Page.unpack(await calls.ask(Operation.history, [id], body, seconds))
            if page.is_share:
                calls.split[id] = None
                yield None
                return
        if page.rows is None:
            raise Refused(AccountStatus.account_not_found.name, "an account that was created")
        for row in page.rows:
            yield row
        cursor = page.cursor
        if cursor is None:
            return
