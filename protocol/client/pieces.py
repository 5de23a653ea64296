"""Requests whose rows have nothing to do with each other, cut into as many as it takes to fit the frames."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

from protocol import frames
from protocol.client.calls import Calls
from protocol.errors import Busy, Unreachable
from protocol.operations import Operation
from protocol.status import BALANCES_MAX, TRANSFERS_MAX

PIECE_BYTES_MAX = (
    frames.CLIENT_FRAME_BYTES_MAX // 2
)  # of the rows of one request: half a frame, so that another one fits beside it
PIECES_AT_ONCE = 4  # reads of a thousand accounts; more would only wait in the node


async def open_accounts(calls: Calls, rows: Sequence[Sequence[Any]], timeout: float | None) -> list[int]:
    """A status each. Raises Busy if nothing has happened, Unreachable where some accounts may be open: it can be repeated."""
    deadline = calls.deadline(timeout)
    statuses: list[int] = []
    for piece in _cut_by_bytes([list(row) for row in rows]):
        names = [row[0] for row in piece]
        while True:
            try:
                statuses += await calls.ask(Operation.accounts, names, piece, max(0.001, deadline - calls.now()))
                break
            except Busy as busy:
                if not statuses:
                    raise
                if calls.now() + busy.retry_after >= deadline:
                    raise Unreachable(
                        f"the first {len(statuses)} accounts of {len(rows)} were opened: {busy}"
                    ) from busy
                await asyncio.sleep(busy.retry_after)
    return statuses


def _cut_by_bytes(rows: list[list[Any]]) -> Iterator[list[list[Any]]]:
    """At least one piece; a row that is too long for any frame stands alone."""
    piece: list[list[Any]] = []
    size = 0
    for row in rows:
        more = len(frames.pack(row))
        if piece and (size + more > PIECE_BYTES_MAX or len(piece) == TRANSFERS_MAX):
            yield piece
            piece, size = [], 0
        piece.append(row)
        size += more
    yield piece


async def read_accounts(calls: Calls, ids: Sequence[str], timeout: float | None) -> list[Any]:
    """A row of fields each, or None."""
    deadline = calls.deadline(timeout)
    pieces = [list(ids[start : start + BALANCES_MAX]) for start in range(0, len(ids), BALANCES_MAX)] or [[]]
    rows: list[Any] = []
    for start in range(0, len(pieces), PIECES_AT_ONCE):
        left = max(0.001, deadline - calls.now())
        asked = [calls.ask(Operation.balances, piece, piece, left) for piece in pieces[start : start + PIECES_AT_ONCE]]
        for answer in await asyncio.gather(*asked):
            rows += answer
    return rows
