"""Requests whose rows have nothing to do with each other, cut into as many as it takes to fit the frames."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

from protocol import frames
from protocol.answers import account_statuses_of, accounts_of
from protocol.client.calls import Calls, Deed
from protocol.errors import Busy, ProtocolError, Unreachable
from protocol.operations import Operation
from protocol.requests import AccountsRequest, BalancesRequest
from protocol.rows import AccountRow, NewAccount
from protocol.status import BALANCES_MAX, TRANSFERS_MAX, AccountStatus

PIECE_BYTES_MAX = frames.CLIENT_FRAME_BYTES_MAX // 2  # of the rows of one request, so that another one fits beside it
OPENING = Deed("opening accounts")
PIECES_AT_ONCE = 4  # reads of a thousand accounts; more would only wait in the node


async def open_accounts(calls: Calls, rows: list[NewAccount], timeout: float | None) -> list[AccountStatus]:
    """A status each. Raises Busy or Unreachable if nothing has happened, OutcomeUnknown where some accounts may be open."""
    deadline = calls.deadline(timeout)
    statuses: list[AccountStatus] = []
    for piece in _cut_by_bytes(rows):
        try:
            statuses += await _open_piece(calls, piece, deadline, may_wait=bool(statuses))
        except (Busy, Unreachable, ProtocolError) as failed:
            if not statuses:
                raise
            raise OPENING.unknown(f"the first {len(statuses)} of {len(rows)} were opened: {failed}") from failed
    return statuses


async def _open_piece(calls: Calls, piece: list[NewAccount], deadline: float, *, may_wait: bool) -> list[AccountStatus]:
    """Behind others that were opened, a busy shard is asked again."""
    asked, names = AccountsRequest(piece), [account.id for account in piece]
    while True:
        try:
            answer = await calls.ask(Operation.accounts, names, asked.pack(), calls.left(deadline), OPENING)
            return account_statuses_of(answer)
        except Busy as busy:
            if not may_wait or calls.now() + busy.retry_after >= deadline:
                raise
            await asyncio.sleep(busy.retry_after)


def _cut_by_bytes(rows: list[NewAccount]) -> Iterator[list[NewAccount]]:
    """At least one piece; a row that is too long for any frame stands alone."""
    piece: list[NewAccount] = []
    size = 0
    for row in rows:
        more = len(frames.pack(row))
        if piece and (size + more > PIECE_BYTES_MAX or len(piece) == TRANSFERS_MAX):
            yield piece
            piece, size = [], 0
        piece.append(row)
        size += more
    yield piece


async def read_accounts(calls: Calls, ids: Sequence[str], timeout: float | None) -> list[AccountRow | None]:
    """A row each, or None."""
    if len(ids) <= BALANCES_MAX:
        return await _read_piece(calls, list(ids), timeout)
    deadline = calls.deadline(timeout)
    pieces = [list(ids[start : start + BALANCES_MAX]) for start in range(0, len(ids), BALANCES_MAX)]
    rows: list[AccountRow | None] = []
    for start in range(0, len(pieces), PIECES_AT_ONCE):
        left = calls.left(deadline)
        asked = [_read_piece(calls, piece, left) for piece in pieces[start : start + PIECES_AT_ONCE]]
        for answer in await asyncio.gather(*asked):
            rows += answer
    return rows


async def _read_piece(calls: Calls, ids: list[str], timeout: float | None) -> list[AccountRow | None]:
    return accounts_of(await calls.ask(Operation.balances, ids, BalancesRequest(ids).pack(), timeout))
