"""What waits for a round: clients' batches in the order in which they came, and rows of them that are tried again."""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
from numpy.typing import NDArray

from node.core.commit.legs import number_transactions
from node.core.commit.rounds import Answered, Effect, Piece, Submission, Ticket
from node.core.machine import Statuses
from protocol.columns import BALANCING, Flag, Transfers
from protocol.status import MERGED_LENGTH_MAX, REPEATED, TRANSFERS_MAX, Status

ATTEMPTS_MAX = 50  # rounds that a transaction waits for funds held by others: about as long as its client waits
PATIENT_FROM = 2  # rounds after which a transaction lets those in flight end first
UNDECIDED = int(Status.undecided)  # numpy is slow with members of an enum


class Gathering:
    """Batches that name no protocol are decided by the default one."""

    def __init__(self, default_protocol: str) -> None:
        self.pieces: list[Piece] = []
        self._default_protocol = default_protocol

    def add(
        self, ticket: Ticket, batch: Transfers, debit_groups: NDArray[np.int32], credit_groups: NDArray[np.int32]
    ) -> list[Effect]:
        """Takes a batch of up to `TRANSFERS_MAX` transfers with the groups of their accounts."""
        submission = Submission(
            ticket, batch, np.stack([debit_groups, credit_groups]), np.zeros(len(batch), np.uint8), len(batch)
        )
        rows = np.arange(len(batch))
        if batch.flags and (batch.flag_bits() & BALANCING).any():
            submission.tried = batch.amounts().copy()
        if batch.flags and int(batch.flag_bits()[-1]) & Flag.linked:
            rows = _refuse_open_chain(submission)
        if len(rows):
            self.pieces.append(Piece(submission, rows))
        effects: list[Effect] = []
        _answer(submission, effects)
        return effects

    def give_up(self, tickets: Collection[Ticket]) -> list[Effect]:
        """Their clients wait no longer: rows that are in no round stay undecided."""
        mine = [piece for piece in self.pieces if piece.submission.ticket in tickets]
        self.pieces = [piece for piece in self.pieces if piece.submission.ticket not in tickets]
        effects: list[Effect] = []
        for piece in mine:
            _settle_rows(piece, np.full(len(piece.rows), Status.retry, np.uint8), effects)
        return effects

    def protocol_of(self, piece: Piece) -> str:
        """What decides these rows."""
        return piece.submission.batch.commit or self._default_protocol

    def take(self, may_join: Callable[[Piece], bool]) -> list[Piece]:
        """The next round's rows: whole pieces of one protocol, as many as fit, in order of arrival."""
        taken: list[Piece] = []
        left: list[Piece] = []
        size, length = 0, 0
        for place, piece in enumerate(self.pieces):
            if size == TRANSFERS_MAX:
                left += self.pieces[place:]
                break
            is_alike = not taken or self.protocol_of(piece) == self.protocol_of(taken[0])
            more = piece.length()
            fits = size + len(piece.rows) <= TRANSFERS_MAX and (not taken or length + more <= MERGED_LENGTH_MAX)
            if is_alike and fits and may_join(piece):
                taken.append(piece)
                piece.submission.is_begun = True
                size, length = size + len(piece.rows), length + more
            else:
                left.append(piece)
        self.pieces = left
        return taken

    def come_closer(self, pieces: list[Piece], apart: NDArray[np.int64]) -> None:
        """What a round has tried for its balancing rows was so far `apart` from what they can move."""
        position = 0
        for piece in pieces:
            if piece.submission.tried is not None:
                piece.submission.tried[piece.rows] += apart[position : position + len(piece.rows)]
            position += len(piece.rows)

    def settle(self, pieces: list[Piece], row_statuses: Statuses, last_round: int) -> list[Effect]:
        """A round's rows have these statuses. What is undecided is tried again, in the end behind `last_round`."""
        effects: list[Effect] = []
        position = 0
        for piece in pieces:
            self._settle(piece, row_statuses[position : position + len(piece.rows)], last_round, effects)
            position += len(piece.rows)
        return effects

    def _settle(self, piece: Piece, statuses: Statuses, last_round: int, effects: list[Effect]) -> None:
        submission = piece.submission
        again = (statuses >= UNDECIDED) & (statuses < REPEATED)
        if again.any() and piece.attempts + 1 < ATTEMPTS_MAX:
            attempts = piece.attempts + 1
            after = last_round if attempts >= PATIENT_FROM else 0
            self.pieces.append(Piece(submission, piece.rows[again], attempts, after))
            piece, statuses = Piece(submission, piece.rows[~again]), statuses[~again]
        _settle_rows(piece, statuses, effects)


def _refuse_open_chain(submission: Submission) -> NDArray[np.intp]:
    numbers = number_transactions(submission.batch)
    chain = numbers == numbers[-1]
    submission.statuses[chain] = Status.linked_event_failed
    submission.statuses[-1] = Status.linked_event_chain_open
    submission.left -= int(chain.sum())
    return np.flatnonzero(~chain)


def _settle_rows(piece: Piece, statuses: Statuses, effects: list[Effect]) -> None:
    submission = piece.submission
    submission.statuses[piece.rows] = statuses
    submission.left -= len(piece.rows)
    _answer(submission, effects)


def _answer(submission: Submission, effects: list[Effect]) -> None:
    if submission.left == 0:
        submission.left = -1
        effects.append(Answered(submission.ticket, submission.statuses.tobytes(), submission.is_begun))
