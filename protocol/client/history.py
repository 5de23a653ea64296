"""Reads an account's history page by page; that of a split account from all its parts, merged by time."""

from __future__ import annotations

import heapq
from collections.abc import AsyncIterator
from typing import Any

from protocol import ids as transfer_ids
from protocol.client.calls import Calls
from protocol.errors import Refused
from protocol.operations import Operation
from protocol.status import AccountStatus
from protocol.views import Entry

Row = list[Any]
TIMESTAMP = 7  # place in a row


async def read_history(calls: Calls, id: str, newest_first: bool, page: int) -> AsyncIterator[Entry]:
    """Raises Refused(account_not_found). Moves between the parts of a split account are no part of its history."""
    if id not in calls.split:
        async for row in _rows(calls, id, newest_first, page, 0):
            if row is None:
                break
            yield Entry(transfer_ids.unpack(row[0]), *row[1:8])
        if id not in calls.split:
            return
    assert calls.placement is not None
    parts = [_rows(calls, id, newest_first, page, group) for group in range(1, calls.placement.shards + 1)]
    sign = -1 if newest_first else 1
    waiting: list[tuple[int, int, Row]] = []
    for place, part in enumerate(parts):
        if (row := await anext(part, None)) is not None:
            waiting.append((sign * row[TIMESTAMP], place, row))
    heapq.heapify(waiting)
    while waiting:
        _, place, row = waiting[0]
        if row[1] != row[2]:
            yield Entry(transfer_ids.unpack(row[0]), *row[1:8])
        if (following := await anext(parts[place], None)) is not None:
            heapq.heapreplace(waiting, (sign * following[TIMESTAMP], place, following))
        else:
            heapq.heappop(waiting)


async def _rows(calls: Calls, id: str, newest_first: bool, page: int, part: int) -> AsyncIterator[Row | None]:
    """Rows of a part, or of an account that is not known to be split (0); a None says that it is."""
    cursor: int | None = None
    while True:
        body = [id, cursor, page, newest_first]
        if part:
            rows, cursor, *_ = await calls.call(Operation.history, part, [*body, part], None, None)
        else:
            rows, cursor, *is_part = await calls.ask(Operation.history, [id], body, None)
            if is_part:
                calls.split[id] = None
                yield None
                return
        if rows is None:
            raise Refused(AccountStatus.account_not_found.name, "an account that was created")
        for row in rows:
            yield row
        if cursor is None:
            return
