"""What the coordinator asks a group: the requests of its machine, made here alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from node.core.machine import Body, Kind


@dataclass(frozen=True, slots=True)
class Prepare:
    """A PREPARE: one group's part of a round, to be voted on."""

    round_id: int
    count: int  # transactions of the whole round
    protocol: str
    groups: tuple[int, ...]  # the participants
    place: bytes  # which transactions are here; empty where votes decide nothing
    part: str
    body: Body  # the part's command

    def pack(self) -> Body:
        """As the machine takes it."""
        return [self.round_id, self.count, self.protocol, list(self.groups), self.place, self.part, self.body]


@dataclass(frozen=True, slots=True)
class Precommit:
    """A PRECOMMIT: a decision that is told once a majority of the participants holds it."""

    round_id: int
    groups: tuple[int, ...]  # the participants
    decision: bytes

    def pack(self) -> Body:
        """As the machine takes it."""
        return [self.round_id, list(self.groups), self.decision]


@dataclass(frozen=True, slots=True)
class EpochRequest:
    """Refuse lower epochs from now on, and tell what is left of them."""

    epoch: int

    def pack(self) -> Body:
        """As the machine takes it."""
        return [Kind.epoch, self.epoch]


@dataclass(frozen=True, slots=True)
class RoundRequest:
    """Carry decisions out, hold PRECOMMITs, and vote on a PREPARE if there is one."""

    epoch: int
    over: list[int]
    """Which rounds are carried out everywhere: `[below which all are, below which those of the epoch are, but for these, ...]`."""
    decisions: Mapping[int, bytes]  # by round
    precommits: Sequence[Precommit]
    prepare: Prepare | None

    def pack(self) -> Body:
        """As the machine takes it."""
        precommits = [precommit.pack() for precommit in self.precommits]
        prepare = None if self.prepare is None else self.prepare.pack()
        return [Kind.round, self.epoch, self.over, _pack_decisions(self.decisions), precommits, prepare]


@dataclass(frozen=True, slots=True)
class MarkRequest:
    """The marker of a cut, behind these decisions."""

    epoch: int
    over: list[int]
    """As in a `RoundRequest`."""
    decisions: Mapping[int, bytes]  # by round
    name: str  # of the cut
    wants_digest: bool
    questions: list[Body]  # part and question

    def pack(self) -> Body:
        """As the machine takes it."""
        decisions = _pack_decisions(self.decisions)
        return [Kind.mark, self.epoch, self.over, decisions, self.name, self.wants_digest, self.questions]


def _pack_decisions(decisions: Mapping[int, bytes]) -> list[Body]:
    return [[round_id, decision] for round_id, decision in decisions.items()]
