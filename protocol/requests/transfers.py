"""Transfers on record: one by its id, or an account's history."""

from __future__ import annotations

from dataclasses import dataclass

from protocol.errors import ProtocolError
from protocol.operations import Body
from protocol.placement import SHARDS_MAX
from protocol.requests.checks import expect, is_id
from protocol.status import HISTORY_ROWS_MAX


@dataclass(frozen=True, slots=True)
class OutcomeRequest:
    """Settles what became of a transfer: one that no node has seen is cancelled."""

    id: bytes
    debit: str  # account

    def pack(self) -> Body:
        """`[id, debit account]`."""
        return [self.id, self.debit]

    @classmethod
    def unpack(cls, body: Body) -> OutcomeRequest:
        """From what `pack` gives."""
        return cls(*_id_and_debit(body, "debit account"))


@dataclass(frozen=True, slots=True)
class TransferRequest:
    """Reads a transfer in the shard of its debit account."""

    id: bytes
    debit: str  # account

    def pack(self) -> Body:
        """`[id, debit account]`."""
        return [self.id, self.debit]

    @classmethod
    def unpack(cls, body: Body) -> TransferRequest:
        """From what `pack` gives."""
        return cls(*_id_and_debit(body, "debit account"))


@dataclass(frozen=True, slots=True)
class TraceRequest:
    """What became of a transfer, phase by phase."""

    id: bytes
    debit: str = ""  # account; empty where it is not known

    def pack(self) -> Body:
        """`[id, debit account or ""]`."""
        return [self.id, self.debit]

    @classmethod
    def unpack(cls, body: Body) -> TraceRequest:
        """From what `pack` gives."""
        return cls(*_id_and_debit(body, 'debit account or ""'))


def _id_and_debit(body: Body, expected: str) -> tuple[bytes, str]:
    match body:
        case [bytes(id), str(debit)] if is_id(id):
            return id, debit
    raise ProtocolError(f"expected [id of 16 bytes, {expected}]")


@dataclass(frozen=True, slots=True)
class FindRequest:
    """Reads a transfer whose debit account is not known."""

    id: bytes

    def pack(self) -> Body:
        """`[id]`."""
        return [self.id]

    @classmethod
    def unpack(cls, body: Body) -> FindRequest:
        """From what `pack` gives."""
        match body:
            case [bytes(id)] if is_id(id):
                return cls(id)
        raise ProtocolError("expected [id of 16 bytes]")


@dataclass(frozen=True, slots=True)
class HistoryRequest:
    """Reads a page of an account's history."""

    account: str
    cursor: int | None  # of an earlier page
    rows: int
    newest_first: bool
    group: int | None = None  # whose share of a split account is meant; None for any other account

    def pack(self) -> Body:
        """`[account id, cursor or null, rows, newest first]`, and behind them the group where there is one."""
        share = [] if self.group is None else [self.group]
        return [self.account, self.cursor, self.rows, self.newest_first, *share]

    @classmethod
    def unpack(cls, body: Body) -> HistoryRequest:
        """From what `pack` gives."""
        expect(len(body) in (4, 5), "[account id, cursor, rows, newest first]")
        account, cursor, rows, newest_first, *group = body
        expect(type(account) is str, "[account id, cursor, rows, newest first]")
        expect(all(type(number) is int and 0 < number <= SHARDS_MAX for number in group), "the group of a share")
        expect(cursor is None or (type(cursor) is int and cursor >= 0), "a cursor from an earlier page, or null")
        expect(type(rows) is int and 1 <= rows <= HISTORY_ROWS_MAX, f"1 to {HISTORY_ROWS_MAX} rows")
        expect(type(newest_first) is bool, "newest first as true or false")
        return cls(account, cursor, rows, newest_first, *group)

    @staticmethod
    def rows_in(body: Body) -> int:
        """That it may be answered with, of a body of which nothing has been checked."""
        match body:
            case [_, _, int(rows), *_]:
                return max(1, min(rows, HISTORY_ROWS_MAX))
        return 1
