"""How a new coordinator finds out what became of a round that an earlier one left open.

It asks after every shard has promised to refuse lower epochs, so what it is told stays true: nobody can prepare, precommit or
decide the round in the old epoch behind its back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from node.core.commit.phases import Event
from node.core.machine import pack_decision
from protocol.status import Status


@dataclass(frozen=True, slots=True)
class Attempt:
    """A participant's last PRECOMMIT for a round: the epoch that proposed it (0: none yet) and what it proposed."""

    epoch: int
    decision: bytes


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


Found = tuple[Event, bytes]
Recover = Callable[[Orphan, Mapping[int, Poll], Mapping[int, bytes]], Found | None]
"""From the polls by group and group 0's records: what moves the orphan, and its packed decision. None: wait for more polls."""


def abort_all(count: int) -> bytes:
    """The decision that nothing of the round happens; its transfers may be tried again."""
    return pack_decision(np.full(count, Status.retry, np.uint8))


def find_record(orphan: Orphan, polls: Mapping[int, Poll], records: Mapping[int, bytes]) -> Found | None:
    """2pc: group 0 has refused records of lower epochs since before it was read, so what it does not hold never will be."""
    record = records.get(orphan.round_id)
    if record is None:
        return Event.no_decision_exists, abort_all(orphan.count)
    return Event.decision_found, record


def find_in_participants(orphan: Orphan, polls: Mapping[int, Poll], records: Mapping[int, bytes]) -> Found | None:
    """3pc, from participants alone: the decision rule of E3PC (Keidar and Dolev, PODS 1995) with majorities as quorums.

    A decision that was carried out anywhere is the decision. Else a majority must be heard. The attempt with the highest epoch
    among them is tried again in the own epoch: had an earlier coordinator decided it, a majority would hold it, and every two
    majorities meet. Where nobody holds an attempt, nobody can have decided to commit: abort is tried.
    """
    heard = [polls[group] for group in orphan.groups if group in polls]
    for poll in heard:
        if orphan.round_id in poll.finished:
            return Event.decision_found, poll.finished[orphan.round_id]
    if 2 * len(heard) <= len(orphan.groups):
        return None
    attempts = [poll.opened[orphan.round_id] for poll in heard if orphan.round_id in poll.opened]
    last = max(attempts, key=lambda attempt: attempt.epoch, default=Attempt(0, b""))
    return Event.majority_found, last.decision if last.epoch else abort_all(orphan.count)
