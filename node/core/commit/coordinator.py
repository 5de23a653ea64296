"""The coordinator's rounds as a pure machine: events are method calls, effects are what they return."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NewType

import numpy as np
from numpy.typing import NDArray

from node.core.commit.legs import Legs, cut_legs, number_transactions
from node.core.commit.votes import merge_votes
from node.core.machine import Body, Statuses, pack_decision
from protocol.columns import Flag, Transfers
from protocol.status import TRANSFERS_MAX, Status

Ticket = NewType("Ticket", int)

ROUNDS_IN_FLIGHT_MAX = 4  # one voting, one recorded, one decided, one to spare: more only wait in the same queues
ATTEMPTS_MAX = 50  # rounds that a transaction waits for funds held by others: about as long as its client waits
FORGET_AT = 64  # records without their own entry to be forgotten with; a few kilobytes each
ROUND_BITS = 40  # round id = epoch << 40 | number: a million rounds a second last twelve days an epoch


def epoch_of(round_id: int) -> int:
    """The epoch whose coordinator made the round."""
    return round_id >> ROUND_BITS


@dataclass(frozen=True, slots=True)
class Ask:
    """Call a group until it answers or the epoch ends; the answer comes back to `asked`."""

    group: int
    body: Body  # a machine request without its kind: `["epoch", ...]`, `["round", ...]` or `["mark", ...]`


@dataclass(frozen=True, slots=True)
class Record:
    """Make a decision durable in group 0; `recorded` when it is."""

    round_id: int
    groups: tuple[int, ...]
    decision: bytes
    forgotten: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Forget:
    """Drop records that every shard has carried out."""

    round_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Answered:
    """All transfers of a submission have a status (one byte each), final but for those that have waited too long."""

    ticket: Ticket
    statuses: bytes


@dataclass(frozen=True, slots=True)
class Marked:
    """A consistent cut: each group's answer to the mark."""

    name: str
    answers: dict[int, Body]


Effect = Ask | Record | Forget | Answered | Marked


@dataclass(slots=True)
class Submission:
    """A client's batch on its way."""

    ticket: Ticket
    batch: Transfers
    debit_groups: NDArray[np.int32]
    credit_groups: NDArray[np.int32]
    statuses: Statuses
    left: int  # transfers without a final status


@dataclass(frozen=True, slots=True)
class Piece:
    """Some rows of a submission, in a round."""

    submission: Submission
    rows: NDArray[np.intp]
    attempts: int = 0  # rounds that these rows have been in


@dataclass(slots=True)
class Round:
    """One round from PREPARE to the last carried-out decision."""

    round_id: int
    pieces: list[Piece]
    numbers: NDArray[np.int32]  # transaction of each row
    legs: dict[int, Legs]
    votes: dict[int, Body] = field(default_factory=dict)
    statuses: Statuses = field(default_factory=lambda: np.zeros(0, np.uint8))  # one a transaction
    row_statuses: Statuses = field(default_factory=lambda: np.zeros(0, np.uint8))  # one a transfer


@dataclass(slots=True)
class Ending:
    """A decided round that some groups have not carried out."""

    waiting: dict[int, None]
    is_recorded: bool


class Coordinator:
    """Active between `lead` and `resign`; all other calls while inactive return nothing."""

    def __init__(self) -> None:
        self.epoch = 0
        self.active = False
        self._groups: tuple[int, ...] = ()
        self._ready: dict[int, None] = {}  # groups that have accepted the epoch
        self._records: dict[int, bytes] = {}  # decisions of earlier epochs
        self._gathered: list[Piece] = []
        self.voting: dict[int, Round] = {}
        self._recording: dict[int, Round] = {}
        self._ending: dict[int, Ending] = {}
        self._outbox: dict[int, list[tuple[int, bytes]]] = {}
        self._forgotten: list[int] = []
        self._number = 0
        self._marks: list[str] = []  # waiting for the rounds in flight to end
        self._marking: dict[str, dict[int, Body]] = {}

    # -- epochs ---------------------------------------------------------------------------------------------------

    def lead(self, epoch: int, groups: tuple[int, ...], records: dict[int, tuple[list[int], bytes]]) -> list[Effect]:
        """This node now leads group 0 with term `epoch`; `records` are group 0's decisions not yet carried out everywhere."""
        self.__init__()  # type: ignore[misc]  # a new epoch starts from nothing
        self.epoch, self.active, self._groups = epoch, True, groups
        self._records = {round_id: decision for round_id, (_, decision) in records.items()}
        self._ending = {round_id: Ending(dict.fromkeys(names), True) for round_id, (names, _) in records.items()}
        return [Ask(group, ["epoch", epoch]) for group in groups]

    def resign(self) -> list[Ticket]:
        """No longer coordinator: the submissions whose outcome is unknown to this node."""
        pieces = [piece for rounds in (self.voting, self._recording) for r in rounds.values() for piece in r.pieces]
        tickets = dict.fromkeys(piece.submission.ticket for piece in [*self._gathered, *pieces])
        self.__init__()  # type: ignore[misc]  # as above
        return list(tickets)

    def _accepted(self, group: int, open_rounds: list[list[int]]) -> list[Effect]:
        """A group refuses lower epochs from now on, so every round still open there can be ended.

        Only the first answer counts: by a repeated one, rounds of this epoch may be open there.
        """
        if group in self._ready:
            return []
        self._ready[group] = None
        opened = dict.fromkeys(round_id for round_id, _ in open_rounds)
        for round_id, count in open_rounds:
            aborted = pack_decision(np.full(count, Status.retry, np.uint8))
            self._outbox.setdefault(group, []).append((round_id, self._records.get(round_id, aborted)))
            self._ending.setdefault(round_id, Ending({}, False)).waiting[group] = None
        for round_id in [round_id for round_id in self._ending if round_id not in opened]:
            self._carried_out(round_id, group)
        return []

    # -- gathering ------------------------------------------------------------------------------------------------

    def submit(
        self, ticket: Ticket, batch: Transfers, debit_groups: NDArray[np.int32], credit_groups: NDArray[np.int32]
    ) -> list[Effect]:
        """Takes a batch of up to `TRANSFERS_MAX` transfers with the groups of their accounts."""
        submission = Submission(ticket, batch, debit_groups, credit_groups, np.zeros(len(batch), np.uint8), len(batch))
        rows = np.arange(len(batch))
        if batch.flag_bits()[-1] & Flag.linked:
            rows = self._refuse_open_chain(submission)
        if len(rows):
            self._gathered.append(Piece(submission, rows))
        effects: list[Effect] = []
        self._answer(submission, effects)
        return effects

    def _refuse_open_chain(self, submission: Submission) -> NDArray[np.intp]:
        numbers = number_transactions(submission.batch)
        chain = numbers == numbers[-1]
        submission.statuses[chain] = Status.linked_event_failed
        submission.statuses[-1] = Status.linked_event_chain_open
        submission.left -= int(chain.sum())
        return np.flatnonzero(~chain)

    @property
    def in_flight(self) -> int:
        """Rounds without a durable decision."""
        return len(self.voting) + len(self._recording)

    def _start_rounds(self) -> list[Effect]:
        effects: list[Effect] = []
        while self._gathered and self.in_flight < ROUNDS_IN_FLIGHT_MAX and not (self._marks or self._marking):
            pieces = self._take_pieces()
            if not pieces:
                break
            effects += self._prepare(pieces)
        return effects

    def _take_pieces(self) -> list[Piece]:
        """The next round's rows: whole pieces whose groups have all accepted the epoch, in order of arrival."""
        taken: list[Piece] = []
        left: list[Piece] = []
        size = 0
        for piece in self._gathered:
            if size + len(piece.rows) <= TRANSFERS_MAX and self._is_ready(piece):
                taken.append(piece)
                size += len(piece.rows)
            else:
                left.append(piece)
        self._gathered = left
        return taken

    def _is_ready(self, piece: Piece) -> bool:
        if len(self._ready) == len(self._groups):
            return True
        groups = np.concatenate([piece.submission.debit_groups[piece.rows], piece.submission.credit_groups[piece.rows]])
        return all(group in self._ready for group in np.unique(groups).tolist())

    # -- voting ---------------------------------------------------------------------------------------------------

    def _prepare(self, pieces: list[Piece]) -> list[Effect]:
        self._number += 1
        round_id = self.epoch << ROUND_BITS | self._number
        batch = Transfers.concatenate([_rows_of(piece) for piece in pieces])
        numbers = number_transactions(batch)
        debit = np.concatenate([piece.submission.debit_groups[piece.rows] for piece in pieces])
        credit = np.concatenate([piece.submission.credit_groups[piece.rows] for piece in pieces])
        legs = cut_legs(batch, numbers, debit, credit)
        self.voting[round_id] = Round(round_id, pieces, numbers, legs)
        count = int(numbers[-1]) + 1
        return [self._ask_round(group, [round_id, count, [["ledger", leg.body]]]) for group, leg in legs.items()]

    def _ask_round(self, group: int, prepare: Body | None) -> Ask:
        decisions = [list(decision) for decision in self._outbox.pop(group, [])]
        return Ask(group, ["round", self.epoch, self._oldest_open(), decisions, prepare])

    def _oldest_open(self) -> int:
        opened = [*self.voting, *self._recording, *self._ending]
        return min(opened, default=(self.epoch << ROUND_BITS | self._number) + 1)

    def go_on(self) -> list[Effect]:
        """Starts what can start; call it after a drain of events, so that they share a round.

        Decisions for which no PREPARE is about to leave go alone.
        """
        if not self.active:
            return []
        effects = self._start_rounds()
        effects += [self._ask_round(group, None) for group in list(self._outbox)]
        if len(self._forgotten) >= FORGET_AT:
            effects.append(Forget(tuple(self._forgotten)))
            self._forgotten.clear()
        if (
            self._marks
            and not self.voting
            and not self._recording
            and not self._ending
            and len(self._ready) == len(self._groups)
        ):
            for name in self._marks:
                self._marking[name] = {}
                effects += [Ask(group, ["mark", self.epoch, name]) for group in self._groups]
            self._marks.clear()
        return effects

    def asked(self, ask: Ask, answer: Body) -> list[Effect]:
        """A group's answer to an `Ask` of this epoch. A group that knows a higher epoch ends this one: `active` turns false."""
        if not self.active or ask.body[1] != self.epoch:
            return []
        if answer[0] == "stale_epoch":
            self.active = False
            return []
        if ask.body[0] == "epoch":
            return self._accepted(ask.group, answer[1])
        if ask.body[0] == "mark":
            return self._marked(ask.group, ask.body[2], answer)
        for round_id, _ in ask.body[3]:
            self._carried_out(round_id, ask.group)
        return self._voted(ask.group, ask.body[4][0], answer) if ask.body[4] is not None else []

    def mark(self, name: str) -> list[Effect]:
        """Asks for a consistent cut; no round starts until every round in flight is carried out and the marks have left."""
        self._marks.append(name)
        return []

    def abandon_mark(self, name: str) -> None:
        """Gives a cut up that some group does not answer; rounds may start again."""
        if name in self._marks:
            self._marks.remove(name)
        self._marking.pop(name, None)

    def wants(self, ask: Ask) -> bool:
        """Whether the answer can still matter; if not, the call need not be repeated."""
        if ask.body[1] != self.epoch or not self.active:
            return False
        return ask.body[0] != "mark" or ask.body[2] in self._marking

    def _marked(self, group: int, name: str, answer: Body) -> list[Effect]:
        answers = self._marking.get(name)
        if answers is None:
            return []
        answers[group] = answer
        if len(answers) < len(self._groups):
            return []
        del self._marking[name]
        return [Marked(name, answers)]

    def _voted(self, group: int, round_id: int, answer: Body) -> list[Effect]:
        opened = self.voting.get(round_id)
        if opened is None:
            return []
        opened.votes[group] = answer
        return self._conclude(opened) if len(opened.votes) == len(opened.legs) else []

    def abandon(self, round_id: int) -> list[Effect]:
        """Ends a round whose votes do not come: nothing is recorded yet, so abort is safe; its transfers are tried again."""
        opened = self.voting.get(round_id)
        if opened is None:
            return []
        for group in opened.legs:
            opened.votes.setdefault(group, ["void"])
        return self._conclude(opened)

    def _conclude(self, opened: Round) -> list[Effect]:
        del self.voting[opened.round_id]
        opened.statuses, rows = merge_votes(opened.legs, opened.votes, opened.numbers)
        opened.row_statuses = rows
        if (opened.statuses >= Status.undecided).all():
            return self._decided(opened, is_recorded=False)
        self._recording[opened.round_id] = opened
        forgotten, self._forgotten = tuple(self._forgotten), []
        return [Record(opened.round_id, tuple(opened.legs), pack_decision(opened.statuses), forgotten)]

    # -- deciding -------------------------------------------------------------------------------------------------

    def recorded(self, round_id: int) -> list[Effect]:
        """The decision is durable in group 0: clients may hear it and shards carry it out."""
        opened = self._recording.pop(round_id, None)
        if opened is None:
            return []
        return self._decided(opened, is_recorded=True)

    def _decided(self, opened: Round, *, is_recorded: bool) -> list[Effect]:
        self._ending[opened.round_id] = Ending(dict.fromkeys(opened.legs), is_recorded)
        decision = pack_decision(opened.statuses)
        for group in opened.legs:
            self._outbox.setdefault(group, []).append((opened.round_id, decision))
        effects: list[Effect] = []
        position = 0
        for piece in opened.pieces:
            self._settle(piece, opened.row_statuses[position : position + len(piece.rows)], effects)
            position += len(piece.rows)
        return effects

    def _settle(self, piece: Piece, statuses: Statuses, effects: list[Effect]) -> None:
        submission = piece.submission
        again = statuses >= Status.undecided
        if again.any() and piece.attempts + 1 < ATTEMPTS_MAX:
            self._gathered.append(Piece(submission, piece.rows[again], piece.attempts + 1))
            piece, statuses = Piece(submission, piece.rows[~again]), statuses[~again]
        submission.statuses[piece.rows] = statuses
        submission.left -= len(piece.rows)
        self._answer(submission, effects)

    def _answer(self, submission: Submission, effects: list[Effect]) -> None:
        if submission.left == 0:
            submission.left = -1
            effects.append(Answered(submission.ticket, submission.statuses.tobytes()))

    def _carried_out(self, round_id: int, group: int) -> None:
        ending = self._ending.get(round_id)
        if ending is None:
            return
        ending.waiting.pop(group, None)
        if not ending.waiting:
            del self._ending[round_id]
            if ending.is_recorded:
                self._forgotten.append(round_id)


def _rows_of(piece: Piece) -> Transfers:
    batch = piece.submission.batch
    return batch if len(piece.rows) == len(batch) else batch.take(piece.rows)
