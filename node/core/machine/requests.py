"""The requests of a machine, packed and unpacked here. See the package for what each means, `answers` for what comes back.

What a coordinator says has names. The two that stand in every entry of a busy shard are packed here and matched in `Machine` as the lists
that they are: an object more would cost a lone transfer two or three hundredths of its apply.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from node.core.machine.operation import Body
from node.core.machine.over import Over


class Kind(IntEnum):
    """The first item of a request."""

    apply = 0
    judge = 1
    round = 2
    epoch = 3
    marker = 4


@dataclass(frozen=True, slots=True)
class Prepare:
    """A PREPARE: one group's part of a round, to be voted on."""

    round_id: int
    count: int  # transactions of the whole round
    protocol: str
    groups: Sequence[int]  # the participants
    leg_layout: bytes  # which transactions are here; empty where votes decide nothing
    commands: Sequence[Body]
    """As in `judge_request`. The coordinator sends one; behind it the group's leader adds those of parts that join."""

    def pack(self) -> Body:
        """As it is sent and logged."""
        return [self.round_id, self.count, self.protocol, list(self.groups), self.leg_layout, self.commands]


@dataclass(frozen=True, slots=True)
class Precommit:
    """A PRECOMMIT: a decision that is told once a majority of the participants holds it."""

    round_id: int
    groups: Sequence[int]  # the participants
    decision: bytes

    def pack(self) -> Body:
        """As it is sent and logged."""
        return [self.round_id, list(self.groups), self.decision]


@dataclass(frozen=True, slots=True)
class RoundRequest:
    """Carry decisions out, hold PRECOMMITs, and vote on a PREPARE if there is one."""

    epoch: int
    over: Over
    decisions: Mapping[int, bytes]  # by round
    precommits: Sequence[Precommit]
    prepare: Prepare | None

    def pack(self) -> Body:
        """As it is sent and logged."""
        precommits = [precommit.pack() for precommit in self.precommits]
        prepare = None if self.prepare is None else self.prepare.pack()
        return [Kind.round, self.epoch, self.over.pack(), _pack_decisions(self.decisions), precommits, prepare]


@dataclass(frozen=True, slots=True)
class EpochRequest:
    """Refuse lower epochs from now on, and tell what is left of them."""

    epoch: int

    def pack(self) -> Body:
        """As it is sent and logged."""
        return [Kind.epoch, self.epoch]


@dataclass(frozen=True, slots=True)
class PartQuestion:
    """For a part, at a cut; nobody but that part and whoever asks reads what is in it."""

    part: str
    body: Body

    def pack(self) -> Body:
        """As it is sent and logged."""
        return [self.part, self.body]


@dataclass(frozen=True, slots=True)
class MarkerRequest:
    """The marker of a cut, behind these decisions."""

    epoch: int
    over: Over
    decisions: Mapping[int, bytes]  # by round
    name: str  # of the cut
    wants_digest: bool
    questions: Sequence[PartQuestion]

    def pack(self) -> Body:
        """As it is sent and logged."""
        decisions = _pack_decisions(self.decisions)
        questions = [question.pack() for question in self.questions]
        return [Kind.marker, self.epoch, self.over.pack(), decisions, self.name, self.wants_digest, questions]


CoordinatorRequest = RoundRequest | EpochRequest | MarkerRequest


def apply_request(part: str, body: Body) -> Body:
    """One command in which no other part has a say, packed."""
    return [Kind.apply, part, body]


def judge_request(count: int, commands: list[Body]) -> Body:
    """So many transactions, each all or none, packed; of each part that has a say `[part, body]`, first the one that opens."""
    return [Kind.judge, count, commands]


def unpack_request(body: Body) -> CoordinatorRequest:
    """From what `pack` of one of them made."""
    match body:
        case [Kind.round, epoch, over, decisions, precommits, prepare]:
            held = [Precommit(*each) for each in precommits]
            asked = None if prepare is None else Prepare(*prepare)
            return RoundRequest(epoch, Over.unpack(over), dict(decisions), held, asked)
        case [Kind.epoch, epoch]:
            return EpochRequest(epoch)
        case [Kind.marker, epoch, over, decisions, name, wants_digest, questions]:
            to_parts = [PartQuestion(*each) for each in questions]
            return MarkerRequest(epoch, Over.unpack(over), dict(decisions), name, wants_digest, to_parts)
        case _:
            raise AssertionError(f"unknown request {body[:1]}")


def is_round(request: Body) -> bool:
    """Whether a packed request is a coordinator's round."""
    kind, *_ = request
    return bool(kind == Kind.round)


def _pack_decisions(decisions: Mapping[int, bytes]) -> list[Body]:
    return [[round_id, decision] for round_id, decision in decisions.items()]
