"""How transactions are judged: one after another, each by all parts, and by columns where no order could refuse any.

A *docket* is a part's view of the transactions of one batch, from when its entry is applied until each has its status. `judge` gives
what judging them one by one would give. Where they are few, that is what it does. Else first every docket says which outcomes are known
and which transactions some order of the batch could refuse; all others are taken by columns, since they commute with each other and
with those in question; then those in question are judged in order, each as a whole or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from protocol.columns import BALANCING
from protocol.status import Status

Statuses = NDArray[np.uint8]
"""One `protocol.status.Status` a transaction."""

Int32s = NDArray[np.int32]
Marks = NDArray[np.bool_]

SETTLED = 0x80  # in a status: the id has an outcome, or waits for one, or belongs elsewhere, so nobody else's objection counts
NOT_TOLD, NOT_SURE = -(2**63), 2**63 - 1
"""How far apart the amount that a round tries for a balancing row is from what bounds it: nothing does here, or a round may change it."""
TRANSIENT = int(Status.elsewhere)  # from here on a status is no outcome

Failure = tuple[int, int]
"""The row at which a transaction fails, and the status, perhaps with `SETTLED`."""


@dataclass(frozen=True, slots=True)
class Payments:
    """What a batch of transfers moves, in columns, for parts that join it. A transaction is one row or several in a row."""

    ids: bytes  # 16 each
    debit: Int32s  # row of the ledger's account; below 0 it is not here
    credit: Int32s
    amounts: NDArray[np.int64]  # minor units, as asked for: a capture's or hold's own, of a void nothing; see below
    flags: NDArray[np.uint16] | None  # `protocol.columns.Flag`; None: all are plain transfers
    sides: NDArray[np.uint8] | None  # which accounts live here, 1 debit, 2 credit; None: both
    numbers: Int32s | None  # the transaction of each row; None: each row is one
    hold_ids: bytes  # 16 each: the hold that the row captures or voids; empty if none does
    # By row, once the part that opens them has judged it: what a capture or void gives back of its hold, 0 for nothing.
    rests: Mapping[int, int]

    def is_open(self, rows: Int32s) -> Marks:
        """Which rows are balancing: in `amounts` stands 0 until the part that opens them has judged them, then what they move."""
        if self.flags is None:
            return np.zeros(len(rows), np.bool_)
        marks: Marks = (self.flags[rows] & BALANCING) != 0
        return marks


class Docket(Protocol):
    """A part's transactions of one batch while they are judged. The methods are called in this order."""

    def few(self) -> Sequence[int] | None:
        """All transactions, in order, if they are so few that columns would not pay; else None.

        Asked of the docket that opens them alone. Where it names them, all dockets judge them, and nobody sorts or takes.
        """
        ...

    def sort(self, statuses: Statuses) -> Marks | None:
        """Which transactions some order of the batch could refuse (None: none), by columns and without changing anything.

        Writes the status of each transaction whose outcome is known for sure into `statuses`; nobody judges those.
        """
        ...

    def take(self, chosen: Marks | None) -> None:
        """Takes these transactions, by columns; None: all. No order could refuse any of them."""
        ...

    def judge(self, number: int, *, may_be_given_back: bool) -> Failure | None:
        """The transaction as if it came now: None and it is taken, or where and why it fails, and nothing has changed."""
        ...

    def give_back(self, number: int) -> None:
        """What `judge` has just taken of the transaction: another part refuses it."""
        ...

    def refuse(self, number: int, failure: Failure) -> None:
        """The word of all parts on a transaction that was judged and fails."""
        ...

    def close(self, statuses: Statuses) -> bytes:
        """All have their status. What is told of them: to the client, or in a round to the coordinator."""
        ...

    def payments(self) -> Payments | None:
        """What other parts may have a say in."""
        ...


def judge(dockets: Sequence[Docket], count: int) -> Statuses:
    """The status of each of `count` transactions, which all dockets have taken or refused accordingly."""
    statuses = np.zeros(count, np.uint8)
    few = dockets[0].few()
    if few is not None:
        for number in few:
            statuses[number] = _judge_one(dockets, number)
        return statuses
    question: Marks | None = None
    for docket in dockets:
        marks = docket.sort(statuses)
        if marks is not None:
            question = marks if question is None else question | marks
    chosen: Marks | None = None
    if question is not None or statuses.any():
        chosen = statuses == 0
        if question is not None:
            question = question & chosen
            chosen &= ~question
    for docket in dockets:
        docket.take(chosen)
    if question is not None:
        for number in np.flatnonzero(question).tolist():
            statuses[number] = _judge_one(dockets, number)
    return statuses


def _judge_one(dockets: Sequence[Docket], number: int) -> int:
    """The objection to the first row counts; of several to that, a final one before one that may pass, then the smallest."""
    failures: list[Failure] = []
    taken: list[Docket] = []
    are_several = len(dockets) > 1
    for docket in dockets:
        failure = docket.judge(number, may_be_given_back=are_several)
        if failure is None:
            taken.append(docket)
            continue
        failures.append(failure)
        if failure[1] & SETTLED:
            break
    if not failures:
        return 0
    for docket in reversed(taken):
        docket.give_back(number)
    failure = min(failures, key=_precedence)
    for docket in dockets:
        docket.refuse(number, failure)
    return failure[1] & ~SETTLED


def _precedence(failure: Failure) -> tuple[bool, int, bool, int]:
    row, status = failure
    return not status & SETTLED, row, status >= TRANSIENT, status
