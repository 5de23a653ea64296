"""How a new coordinator finds out what became of a round that an earlier one left open.

It asks after every shard has promised to refuse lower epochs, so what it is told stays true: nobody can prepare, precommit or
decide the round in the old epoch behind its back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from node.core.commit.legs import legs_of
from node.core.commit.phases import Event
from node.core.commit.votes import Vote, merge_votes
from node.core.machine import SUPERSEDED, pack_decision
from protocol.status import Status


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a participant holds of a round that is open there."""

    epoch: int  # of the last PRECOMMIT, 0 before the first
    decision: bytes  # what that proposed
    leg_layout: bytes = b""  # of its legs in the round, for 2pc
    vote: Vote = SUPERSEDED  # its answer to the PREPARE


@dataclass(frozen=True, slots=True)
class Poll:
    """What a shard answered to the new epoch."""

    opened: Mapping[int, Attempt]  # rounds that are open there
    finished: Mapping[int, bytes]  # decisions that it has carried out and others perhaps have not


@dataclass(frozen=True, slots=True)
class Orphan:
    """What is known of a round that some shard holds open."""

    round_id: int
    groups: tuple[int, ...]  # its participants
    count: int  # transactions


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is found out of an orphan."""

    event: Event  # that moves it
    decision: bytes


Recover = Callable[[Orphan, Mapping[int, Poll], Mapping[int, bytes]], Outcome | None]
"""From the polls by group and group 0's records. None: wait for more polls."""


def abort_all(count: int) -> bytes:
    """The decision that nothing of the round happens; its transfers may be tried again."""
    return pack_decision(np.full(count, Status.retry, np.uint8))


def find_in_votes(orphan: Orphan, polls: Mapping[int, Poll], records: Mapping[int, bytes]) -> Outcome | None:
    """2pc: a record in group 0 is the decision; without one it follows from the votes, and those of all must be heard.

    Group 0 has refused records of lower epochs since before it was read. A shard that has not voted by now never will, so then
    nobody can have been told of a commit. Where all have voted, the earlier coordinator may have told it, and every later one
    comes to the same decision (as in CockroachDB's parallel commits, RFC 20180324).
    """
    if orphan.round_id in records:
        return Outcome(Event.decision_found, records[orphan.round_id])
    heard = {group: polls[group] for group in orphan.groups if group in polls}
    for poll in heard.values():
        if orphan.round_id in poll.finished:
            return Outcome(Event.decision_found, poll.finished[orphan.round_id])
    if any(orphan.round_id not in poll.opened for poll in heard.values()):
        return Outcome(Event.no_decision_exists, abort_all(orphan.count))
    if len(heard) < len(orphan.groups):
        return None
    opened = {group: poll.opened[orphan.round_id] for group, poll in heard.items()}
    legs, numbers = legs_of({group: attempt.leg_layout for group, attempt in opened.items()})
    verdict = merge_votes(legs, {group: attempt.vote for group, attempt in opened.items()}, numbers)
    return Outcome(Event.votes_found, verdict.pack())


def find_in_participants(orphan: Orphan, polls: Mapping[int, Poll], records: Mapping[int, bytes]) -> Outcome | None:
    """3pc, from participants alone: the decision rule of E3PC (Keidar and Dolev, PODS 1995) with majorities as quorums.

    A decision that was carried out anywhere is the decision. Else a majority must be heard. The attempt with the highest epoch
    among them is tried again in the own epoch: had an earlier coordinator decided it, a majority would hold it, and every two
    majorities meet. Where nobody holds an attempt, nobody can have decided to commit: abort is tried.
    """
    heard = [polls[group] for group in orphan.groups if group in polls]
    for poll in heard:
        if orphan.round_id in poll.finished:
            return Outcome(Event.decision_found, poll.finished[orphan.round_id])
    if 2 * len(heard) <= len(orphan.groups):
        return None
    attempts = [poll.opened[orphan.round_id] for poll in heard if orphan.round_id in poll.opened]
    last = max(attempts, key=lambda attempt: attempt.epoch, default=Attempt(0, b""))
    return Outcome(Event.majority_found, last.decision if last.epoch else abort_all(orphan.count))
