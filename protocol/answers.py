"""What nodes answer, by name, and how it travels: a body is read here, by clients and by nodes that ask each other, and nowhere else.

What a person reads as it is, of an audit or a trace say, is read by the `unpack` of its view, in `views`. Rows are `rows`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from protocol.errors import ProtocolError
from protocol.events import EventBatch, JournalFact, Position, TransferEvents
from protocol.operations import Body, Operation
from protocol.rows import AccountRow, AllowanceRow, TransferRow
from protocol.status import AccountStatus, AllowanceStatus, LockStatus, Status
from protocol.views import Trace


@dataclass(frozen=True, slots=True)
class Transferred:
    """To `transfers`: one byte a row, a `Status` with `REPEATED` where it was on record."""

    statuses: bytes

    @staticmethod
    def unpack(body: Body) -> Transferred:
        """From `[statuses]`."""
        (statuses,) = body
        return Transferred(statuses)

    def pack(self) -> Body:
        """As it travels."""
        return [self.statuses]


@dataclass(frozen=True, slots=True)
class Updated:
    """To `update`."""

    status: AccountStatus
    version: int  # that the account has now

    @staticmethod
    def unpack(body: Body) -> Updated:
        """From `[status, version]`."""
        number, version = body
        return Updated(AccountStatus(number), version)


@dataclass(frozen=True, slots=True)
class Page:
    """To `history`."""

    rows: list[TransferRow] | None  # None for an account that was not found
    cursor: int | None  # of the next page; None behind the last one
    is_share: bool  # the account is split, and this tells of one share

    @staticmethod
    def unpack(body: Body) -> Page:
        """From `[rows or null, cursor or null]`, and true behind them for a share."""
        rows, cursor, *is_share = body
        return Page(None if rows is None else [TransferRow(*row) for row in rows], cursor, bool(is_share))


@dataclass(frozen=True, slots=True)
class LockTold:
    """To `lock`."""

    status: LockStatus
    token: int = 0  # of the claim, where the one who speaks may know it
    age_ns: int = 0  # of its owner, 0 where that is not known
    ticket: int = 0  # how many claims had ended

    @staticmethod
    def unpack(body: Body) -> LockTold:
        """From `[status, token, age_ns, ticket]`."""
        number, token, age_ns, ticket = body
        return LockTold(LockStatus(number), token, age_ns, ticket)

    def pack(self) -> Body:
        """As it travels."""
        return [int(self.status), self.token, self.age_ns, self.ticket]


@dataclass(frozen=True, slots=True)
class FactsTold:
    """To `facts`: what has been chosen between two positions."""

    start: Position
    following: Position  # to ask from next
    end: Position  # of all that there is
    transfers: TransferEvents | None
    facts: Sequence[JournalFact]

    @staticmethod
    def unpack(body: Body) -> FactsTold:
        """From what `pack` gives."""
        _, *positions, columns, facts = body
        start, following, end = (Position.unpack(position) for position in positions)
        transfers = None if columns is None else TransferEvents.unpack(columns)
        return FactsTold(start, following, end, transfers, [JournalFact.unpack(fact) for fact in facts])

    def pack(self) -> Body:
        """`["told", start, next, end, columns or null, facts]`."""
        positions = [position.pack() for position in (self.start, self.following, self.end)]
        columns = None if self.transfers is None else self.transfers.pack()
        return ["told", *positions, columns, [fact.pack() for fact in self.facts]]

    def batch(self, shard: int) -> EventBatch:
        """Of a shard, as a reader takes it."""
        return EventBatch(shard, self.start, self.following, self.transfers, self.facts)


@dataclass(frozen=True, slots=True)
class FactsTooOld:
    """To `facts`: what stands at the position is not kept any more."""

    start: Position
    oldest: Position  # from which on everything is

    def pack(self) -> Body:
        """`["too_old", start, oldest]`."""
        return ["too_old", self.start.pack(), self.oldest.pack()]


@dataclass(frozen=True, slots=True)
class FactsAhead:
    """To `facts`: nobody can have been told so much; the shard is an older one, put back."""

    start: Position
    end: Position  # of all that there is

    def pack(self) -> Body:
        """`["ahead", start, end]`."""
        return ["ahead", self.start.pack(), self.end.pack()]


def facts_of(body: Body) -> FactsTold | FactsTooOld | FactsAhead:
    """To `facts`. Raises ProtocolError for anything else."""
    match body:
        case ["told", *_]:
            return FactsTold.unpack(body)
        case ["too_old", start, oldest]:
            return FactsTooOld(Position.unpack(start), Position.unpack(oldest))
        case ["ahead", start, end]:
            return FactsAhead(Position.unpack(start), Position.unpack(end))
        case _:
            raise ProtocolError(f"facts: expected told, too_old or ahead, not {body[:1]}")


@dataclass(frozen=True, slots=True)
class Replacement:
    """To `replace`."""

    data_id: int  # of the node's folder, as the table of members has it
    state: int  # a `MemberState`
    standings: dict[int, str]  # by group what the node is in it: out, learner, voter; empty where nobody has said

    @staticmethod
    def unpack(body: Body) -> Replacement:
        """From `[data id, state, [[group, standing], ...]]`."""
        data_id, state, standings = body
        return Replacement(data_id, state, dict(standings))

    def pack(self) -> Body:
        """As it travels."""
        return [self.data_id, self.state, [[*each] for each in self.standings.items()]]


def status_of(body: Body) -> int:
    """The number of the status, of whatever answer has one: it comes first."""
    number, *_ = body
    return int(number)


CONFLICTS: Mapping[str, int] = {
    Operation.update: AccountStatus.version_conflict,
    Operation.set_allowance: AllowanceStatus.version_conflict,
}


def is_conflict(operation: str, body: Body) -> bool:
    """Whether a change is answered that something else came in between: where it was sent twice, perhaps its own first copy."""
    conflict = CONFLICTS.get(operation)
    return conflict is not None and status_of(body) == conflict


def account_statuses_of(body: Body) -> list[AccountStatus]:
    """To `accounts`: one an account."""
    return [AccountStatus(number) for number in body]


def outcome_of(body: Body) -> Status:
    """To `outcome`: what became of a transfer."""
    return Status(status_of(body))


def accounts_of(body: Iterable[Body | None]) -> list[AccountRow | None]:
    """To `balances` and `snapshot`: a row an account, None for one that was not found."""
    return [None if row is None else AccountRow(*row) for row in body]


def transfer_of(body: Body) -> TransferRow | None:
    """To `transfer` and `find`."""
    (row,) = body
    return None if row is None else TransferRow(*row)


def trace_of(id: int, body: Body) -> Trace | None:
    """To `trace`; None for an id that no shard has seen."""
    (row,) = body
    return None if row is None else Trace.unpack(id, row)


def allowance_of(body: Body) -> AllowanceRow | None:
    """To `allowance`; None for an account whose allowance nobody has ever set."""
    (row,) = body
    return None if row is None else AllowanceRow(*row)
