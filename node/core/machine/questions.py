"""What a machine is asked about itself, whatever its parts, and what it answers. Each is packed and unpacked here alone.

A question knows how to read its answer. `telling.py` has the question of readers, which comes from clients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, TypeVar

from node.core.machine.answers import Marker, Superseded, Votes, unpack_answer, unpack_vote
from node.core.machine.operation import Body
from protocol.errors import ProtocolError

MACHINE = "machine"  # whom these are for: no part

Told_co = TypeVar("Told_co", covariant=True)


class Question(Protocol[Told_co]):
    """To a machine, or to one of its parts."""

    asked: ClassVar[str]  # a part's name, or `MACHINE`

    def pack(self) -> Body:
        """As it travels."""
        ...

    def read(self, body: Body) -> Told_co:
        """The answer to it."""
        ...


# -- answers ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Report:
    """A participant's trail of one row of a round. Times are stamps of its entries in ns; None: not yet, or not known any more."""

    protocol: str
    groups: list[int]  # the participants
    vote: int | None  # on the transaction of the row
    prepared_ns: int | None
    precommitted_ns: int | None
    carried_out_ns: int | None
    decision: int | None  # of the row
    attempt: int  # epoch of the last PRECOMMIT, 0 for none
    proposed: int | None  # what that proposed of the row

    def pack(self) -> Body:
        """As it travels."""
        return [
            self.protocol, self.groups, self.vote, self.prepared_ns, self.precommitted_ns, self.carried_out_ns,
            self.decision, self.attempt, self.proposed,
        ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class TransferRecord:
    """A shard's record of a transfer."""

    status: int
    timestamp_ns: int
    debit: str | None  # None for an account that it does not know
    credit: str | None

    def pack(self) -> Body:
        """As it travels."""
        return [self.status, self.timestamp_ns, self.debit, self.credit]


@dataclass(frozen=True, slots=True)
class Sighting:
    """A transfer in a round, as a part remembers it."""

    round_id: int
    number: int  # of the transaction
    row: int  # of the round, -1 where each transaction is one transfer
    sides: int  # which accounts live here


@dataclass(frozen=True, slots=True)
class PartTrace:
    """What a part tells of an id."""

    record: TransferRecord | None
    sightings: Sequence[Sighting]  # one a round that has seen it


@dataclass(frozen=True, slots=True)
class ShardTrace:
    """What a part tells of an id, with what the machine remembers of each round; rounds that are forgotten are left out."""

    record: TransferRecord | None
    seen: Sequence[tuple[Sighting, Report]]

    def pack(self) -> Body:
        """As it travels."""
        rows = [[at.round_id, at.number, at.row, at.sides, report.pack()] for at, report in self.seen]
        return ["trace", None if self.record is None else self.record.pack(), rows]

    @staticmethod
    def unpack(body: Body) -> ShardTrace:
        """Reads `pack`."""
        _, record, rows = body
        seen = [(Sighting(*at), Report(*report)) for *at, report in rows]
        return ShardTrace(None if record is None else TransferRecord(*record), seen)


@dataclass(frozen=True, slots=True)
class HeldVote:
    """Of a round that is open in a group, what its decision follows from where votes decide."""

    leg_layout: bytes  # the coordinator's own note
    vote: Votes | Superseded


@dataclass(frozen=True, slots=True)
class OpenRow:
    """A round that is open in a group."""

    round_id: int
    protocol: str
    groups: list[int]  # the participants
    opened_ns: int  # stamp of the entry that opened it here
    has_prepared: bool
    attempt: int  # epoch of the last PRECOMMIT, 0 for none
    ids: bytes  # the first of those that the part has here, 16 bytes each
    count: int  # transactions

    def pack(self) -> Body:
        """As it travels."""
        return [
            self.round_id, self.protocol, self.groups, self.opened_ns, self.has_prepared, self.attempt, self.ids, self.count,
        ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class OpenRounds:
    """All rounds that are open in a group."""

    rows: Sequence[OpenRow]
    finished: Sequence[int]  # rounds that were decided here and perhaps not everywhere

    def pack(self) -> Body:
        """As it travels."""
        return ["open", [row.pack() for row in self.rows], list(self.finished)]


# -- questions ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TraceQuestion:
    """What has become of an id of this part."""

    asked: ClassVar[str] = MACHINE
    part: str
    id: bytes

    def pack(self) -> Body:
        """See `Question`."""
        return ["trace", self.part, self.id]

    def read(self, body: Body) -> ShardTrace:
        """See `Question`."""
        return ShardTrace.unpack(body)


@dataclass(frozen=True, slots=True)
class RoundQuestion:
    """What a group remembers of a row of a round."""

    asked: ClassVar[str] = MACHINE
    round_id: int
    number: int  # of the transaction
    row: int  # -1 where each transaction is one transfer

    def pack(self) -> Body:
        """See `Question`."""
        return ["round", self.round_id, self.number, self.row]

    def answer(self, report: Report | None) -> Body:
        """What `read` reads."""
        return ["round", None if report is None else report.pack()]

    def read(self, body: Body) -> Report | None:
        """None where the round is not remembered."""
        _, report = body
        return None if report is None else Report(*report)


@dataclass(frozen=True, slots=True)
class VotesQuestion:
    """What a group has voted in a round."""

    asked: ClassVar[str] = MACHINE
    round_id: int

    def pack(self) -> Body:
        """See `Question`."""
        return ["votes", self.round_id]

    def answer(self, held: HeldVote | None) -> Body:
        """What `read` reads."""
        return ["votes", None if held is None else [held.leg_layout, held.vote.pack()]]

    def read(self, body: Body) -> HeldVote | None:
        """None where the round is not open there."""
        match body:
            case [_, [layout, vote]]:
                return HeldVote(layout, unpack_vote(vote))
            case _:
                return None


@dataclass(frozen=True, slots=True)
class OpenQuestion:
    """Which rounds are open in a group, with ids of this part."""

    asked: ClassVar[str] = MACHINE
    part: str

    def pack(self) -> Body:
        """See `Question`."""
        return ["open", self.part]

    def read(self, body: Body) -> OpenRounds:
        """See `Question`."""
        _, rows, finished = body
        return OpenRounds([OpenRow(*row) for row in rows], finished)


@dataclass(frozen=True, slots=True)
class MarkerQuestion:
    """The state at a cut's marker."""

    asked: ClassVar[str] = MACHINE
    name: str  # of the cut

    def pack(self) -> Body:
        """See `Question`."""
        return ["marker", self.name]

    def read(self, body: Body) -> Marker:
        """See `Question`."""
        marker = unpack_answer(body)
        assert isinstance(marker, Marker), f"no marker: {body[:1]}"
        return marker


def unpack_question(body: Body) -> TraceQuestion | RoundQuestion | VotesQuestion | OpenQuestion | MarkerQuestion:
    """From what `pack` of one of them made. Raises ProtocolError for anything else."""
    match body:
        case ["trace", str(part), bytes(id)]:
            return TraceQuestion(part, id)
        case ["round", int(round_id), int(number), int(row)]:
            return RoundQuestion(round_id, number, row)
        case ["votes", int(round_id)]:
            return VotesQuestion(round_id)
        case ["open", str(part)]:
            return OpenQuestion(part)
        case ["marker", str(name)]:
            return MarkerQuestion(name)
        case _:
            raise ProtocolError("machine: expected facts, trace, round, votes, open or marker")
