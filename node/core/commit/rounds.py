"""What the coordinator works on, and what it asks its surroundings to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NewType

import numpy as np
from numpy.typing import NDArray

from node.core.commit.legs import Legs
from node.core.commit.phases import Event, Phase
from node.core.commit.protocols import CommitProtocol
from node.core.commit.recovery import Orphan
from node.core.commit.votes import Vote
from node.core.machine import (
    ROUND_BITS,
    Body,
    EpochRequest,
    Marker,
    MarkerRequest,
    PartQuestion,
    Prepare,
    RoundRequest,
    Statuses,
    unpack_decision,
)
from protocol.columns import Transfers

Ticket = NewType("Ticket", int)


def epoch_of(round_id: int) -> int:
    """The epoch whose coordinator made the round."""
    return round_id >> ROUND_BITS


# -- effects ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ask:
    """Call a group until it answers or the epoch ends; the answer comes back to `asked`."""

    group: int
    request: EpochRequest | RoundRequest | MarkerRequest

    @property
    def prepare(self) -> Prepare | None:
        """The PREPARE that it brings, if any."""
        return self.request.prepare if isinstance(self.request, RoundRequest) else None


@dataclass(frozen=True, slots=True)
class Record:
    """Make a decision durable in group 0; `recorded` when it is."""

    round_id: int
    groups: tuple[int, ...]
    decision: bytes
    forgotten: tuple[int, ...]  # records to be dropped with it

    def command(self) -> Body:
        """For `Decisions`."""
        return ["record", list(self.forgotten), self.round_id, list(self.groups), self.decision]

    @staticmethod
    def unpack(body: Body) -> Record:
        """Reads `command`."""
        _, forgotten, round_id, groups, decision = body
        return Record(round_id, tuple(groups), decision, tuple(forgotten))


@dataclass(frozen=True, slots=True)
class Forget:
    """Drop records that every shard has carried out."""

    round_ids: tuple[int, ...]

    def command(self) -> Body:
        """For `Decisions`."""
        return ["forget", list(self.round_ids)]

    @staticmethod
    def unpack(body: Body) -> Forget:
        """Reads `command`."""
        _, round_ids = body
        return Forget(tuple(round_ids))


@dataclass(frozen=True, slots=True)
class Answered:
    """All transfers of a submission have a status (one byte each), final but for those that have waited too long."""

    ticket: Ticket
    statuses: bytes
    is_begun: bool  # whether any of them was in a round: else surely nothing has happened


@dataclass(frozen=True, slots=True)
class CutMade:
    """A consistent cut: each asked group's answer at its marker."""

    name: str
    answers: dict[int, Marker]


Effect = Ask | Record | Forget | Answered | CutMade


# -- state --------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Submission:
    """A client's batch on its way."""

    ticket: Ticket
    batch: Transfers
    groups: NDArray[np.int32]  # of the debit accounts, then of the credit accounts
    statuses: Statuses
    left: int  # transfers without a final status
    is_begun: bool = False  # whether any of them has been in a round
    tried: NDArray[np.int64] | None = (
        None  # where rows are balancing, the amounts that the next round tries; 0: not known
    )


@dataclass(frozen=True, slots=True)
class Piece:
    """Some rows of a submission, in a round."""

    submission: Submission
    rows: NDArray[np.intp]
    attempts: int = 0  # rounds that these rows have been in
    after: int = 0  # number of the last round that must be decided before they are tried again

    def batch(self) -> Transfers:
        """The rows as a batch."""
        whole = self.submission.batch
        return whole if len(self.rows) == len(whole) else whole.take(self.rows)

    def length(self) -> int:
        """Of the rows, about: as `Transfers.length` counts."""
        whole = self.submission.batch
        return whole.length() * len(self.rows) // len(whole)

    def groups(self) -> NDArray[np.int32]:
        """The groups of the rows' accounts: debits, then credits."""
        return self.submission.groups[:, self.rows]


def amounts_to_try(pieces: Sequence[Piece]) -> NDArray[np.int64] | None:
    """One a row of a round; None where no row is balancing."""
    if all(piece.submission.tried is None for piece in pieces):
        return None
    whole = [
        piece.submission.batch.amounts() if piece.submission.tried is None else piece.submission.tried
        for piece in pieces
    ]
    return np.concatenate([amounts[piece.rows] for amounts, piece in zip(whole, pieces, strict=True)])


@dataclass(slots=True)
class Round:
    """One round, until every participant has carried its decision out. An orphan has neither pieces nor legs."""

    round_id: int
    protocol: CommitProtocol
    phase: Phase
    groups: tuple[int, ...]  # the participants
    count: int  # transactions
    pieces: list[Piece] = field(default_factory=list)
    numbers: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))  # transaction of each row
    legs: dict[int, Legs] = field(default_factory=dict)
    votes: dict[int, Vote] = field(default_factory=dict)
    row_statuses: Statuses = field(default_factory=lambda: np.zeros(0, np.uint8))  # one a transfer
    decision: bytes = b""
    precommitted: dict[int, None] = field(default_factory=dict)  # participants that hold the attempt of this epoch
    waiting: dict[int, None] = field(default_factory=dict)  # participants that have not carried the decision out
    is_recording: bool = False  # a record is on its way or there
    is_recorded: bool = False  # it is there, to be forgotten in the end

    def orphan(self) -> Orphan:
        """What recovery looks at."""
        return Orphan(self.round_id, self.groups, self.count)


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a new coordinator has found out of a round that an earlier one left open; only for people."""

    round_id: int
    groups: tuple[int, ...]  # its participants
    event: Event  # by what it was found
    decision: bytes

    @property
    def outcome(self) -> str:
        """In words."""
        statuses = unpack_decision(self.decision)
        kept = int((statuses == 0).sum())
        return f"{kept} of {len(statuses)} transactions happen"


@dataclass(slots=True)
class Cut:
    """A consistent cut that is asked for or being made."""

    name: str
    groups: tuple[int, ...]
    wants_digest: bool
    questions: dict[int, list[PartQuestion]]  # by group; answered from the state at the cut
    answers: dict[int, Marker] = field(default_factory=dict)
