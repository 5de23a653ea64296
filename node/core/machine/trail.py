"""Rounds that are open here, and the *trail*: what the last ones came to, for whoever asks what became of a transaction.

The trail is no state: it is in no digest and in no checkpoint, and bounded. It refers to bytes that the rounds had anyway. After a
restart it goes back only as far as the log that is applied again; a replica that was sent a snapshot begins with none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from node.core.machine.answers import Superseded, Votes, unpack_vote
from node.core.machine.decision import status_of
from node.core.machine.operation import Body
from node.core.machine.questions import Report

ROUNDS_MAX = 1_024  # a megabyte of lone payments a shard
TRANSACTIONS_MAX = 32_768  # another one: at some 24 bytes each, with their ids; seconds of full load, hours of a little

Kept = TypeVar("Kept")


class Trail(Generic[Kept]):
    """What is remembered of the last rounds, the oldest first."""

    def __init__(self) -> None:
        self._kept: dict[int, tuple[int, Kept]] = {}
        self._transactions = 0

    def __iter__(self) -> Iterator[tuple[int, Kept]]:
        return ((round_id, kept) for round_id, (_, kept) in self._kept.items())

    def get(self, round_id: int) -> Kept | None:
        """What was kept of a round, None where it is not remembered."""
        found = self._kept.get(round_id)
        return None if found is None else found[1]

    def keep(self, round_id: int, transactions: int, kept: Kept) -> None:
        """Remembers a round instead of the oldest ones; of one that is remembered already, the first report counts."""
        if round_id in self._kept:
            return
        self._kept[round_id] = transactions, kept
        self._transactions += transactions
        while len(self._kept) > ROUNDS_MAX or self._transactions > TRANSACTIONS_MAX:
            gone, _ = self._kept.pop(next(iter(self._kept)))
            self._transactions -= gone


@dataclass(slots=True)
class OpenRound:
    """A round that is prepared here and not yet decided; on the trail, one that was."""

    protocol: str  # name of the commit protocol
    groups: list[int]  # its participants
    leg_layout: bytes  # the coordinator's own note for its successors
    parts: list[str]  # empty where the PREPARE has not come: then it is superseded
    count: int  # transactions
    answer: Body  # what the first PREPARE gave, packed, for a repeated one
    opened_ns: int  # stamp of the entry that opened it here
    attempt: int = 0  # epoch of the last PRECOMMIT, 0 before the first
    precommitted: bytes = b""  # the decision that it proposed
    precommitted_ns: int = 0  # stamp of its entry; this and what follows is for the trail alone: 0 where not known
    decided_ns: int = 0  # stamp of the entry that carried the decision out
    decision: bytes = b""

    @property
    def vote(self) -> Votes | Superseded:
        """What the first PREPARE was answered; on the trail, without what the parts tell."""
        return unpack_vote(self.answer)

    def pack(self) -> list[Any]:
        """For a checkpoint."""
        return [
            self.protocol, self.groups, self.leg_layout, self.parts, self.count, self.answer, self.opened_ns, self.attempt,
            self.precommitted,
        ]  # fmt: skip

    def report(self, number: int, row: int) -> Report:
        """What a trace shows of a row of transaction `number`, -1 where each transaction is one."""
        vote = self.vote
        has_voted = isinstance(vote, Votes)
        return Report(
            self.protocol, self.groups, vote.statuses[number] if isinstance(vote, Votes) else None,
            self.opened_ns if has_voted else None, self.precommitted_ns or None, self.decided_ns or None,
            _status(self.decision, number, row), self.attempt, _status(self.precommitted, number, row),
        )  # fmt: skip


def _status(decision: bytes, number: int, row: int) -> int | None:
    return status_of(decision, number, row) if decision else None
