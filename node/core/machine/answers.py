"""What a machine answers to a coordinator, by name: each is packed and unpacked here alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from node.core.machine.operation import Body


@dataclass(frozen=True, slots=True)
class Votes:
    """To a PREPARE: reserved, but for what a part objects to."""

    statuses: bytes  # one a transaction; 0 is yes
    told: Mapping[str, bytes]  # what each part tells beside, by its name

    def pack(self) -> Body:
        """As it travels, and is kept for a repeated PREPARE."""
        return ["votes", self.statuses, [list(each) for each in self.told.items()]]


@dataclass(frozen=True, slots=True)
class Superseded:
    """To a PREPARE that came too late, behind its round's decision or a PRECOMMIT: nothing is reserved."""

    def pack(self) -> Body:
        """As it travels, and is kept for a repeated PREPARE."""
        return ["superseded"]


SUPERSEDED = Superseded()


@dataclass(frozen=True, slots=True)
class StaleEpoch:
    """To whatever comes from an epoch that is over."""

    epoch: int  # that is current here

    def pack(self) -> Body:
        """As it travels."""
        return ["stale_epoch", self.epoch]


@dataclass(frozen=True, slots=True)
class Decided:
    """To decisions and PRECOMMITs without a PREPARE."""

    def pack(self) -> Body:
        """As it travels."""
        return ["decided"]


@dataclass(frozen=True, slots=True)
class Opened:
    """A round that is open in a group, as a new epoch is told."""

    round_id: int
    protocol: str
    groups: tuple[int, ...]  # the participants
    count: int  # transactions
    attempt: int  # epoch of the last PRECOMMIT, 0 before the first
    precommitted: bytes  # the decision that it proposed
    leg_layout: bytes  # the coordinator's own note
    vote: Votes | Superseded

    def pack(self) -> Body:
        """As it travels."""
        return [
            self.round_id, self.protocol, list(self.groups), self.count, self.attempt, self.precommitted, self.leg_layout,
            self.vote.pack(),
        ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class EpochBegun:
    """To a new epoch: lower ones are refused from here on."""

    opened: Sequence[Opened]
    finished: Mapping[int, bytes]  # decisions that are carried out here and perhaps not everywhere, by round

    def pack(self) -> Body:
        """As it travels."""
        return ["epoch", [each.pack() for each in self.opened], [list(each) for each in self.finished.items()]]


@dataclass(frozen=True, slots=True)
class Marker:
    """The state at a cut's marker."""

    index: int  # of the marker's entry; 0 from a replica that has not applied it yet
    digest: int  # 0 where it was not asked for
    rounds: int  # that are open
    totals: Sequence[tuple[str, Body]]  # by part; empty where no digest was asked for
    answers: Sequence[Body]  # one a question

    def pack(self) -> Body:
        """As it travels."""
        totals = [list(each) for each in self.totals]
        return ["marker", self.index, self.digest, self.rounds, totals, list(self.answers)]


NOT_REACHED: Body = Marker(0, 0, 0, [], []).pack()
"""Of a replica that has not applied the marker yet."""

MachineAnswer = Votes | Superseded | StaleEpoch | Decided | EpochBegun | Marker


def unpack_answer(body: Body) -> MachineAnswer:
    """What a group has answered to a coordinator's request."""
    match body:
        case ["votes" | "superseded", *_]:
            return unpack_vote(body)
        case ["stale_epoch", epoch]:
            return StaleEpoch(epoch)
        case ["decided"]:
            return Decided()
        case ["epoch", opened, finished]:
            return EpochBegun([_unpack_opened(*row) for row in opened], dict(finished))
        case ["marker", index, digest, rounds, totals, answers]:
            return Marker(index, digest, rounds, [(part, total) for part, total in totals], answers)
        case _:
            raise AssertionError(f"unknown answer {body[:1]}")


def unpack_vote(body: Body) -> Votes | Superseded:
    """What a group has answered to a PREPARE."""
    match body:
        case ["votes", statuses, told]:
            return Votes(statuses, dict(told))
        case _:
            return SUPERSEDED


def without_told(vote: Body) -> Body:
    """A packed vote without what the parts tell beside it."""
    match vote:
        case ["votes", statuses, _]:
            return ["votes", statuses, []]
        case _:
            return vote


def _unpack_opened(
    round_id: int,
    protocol: str,
    groups: list[int],
    count: int,
    attempt: int,
    precommitted: bytes,
    leg_layout: bytes,
    vote: Body,
) -> Opened:
    return Opened(round_id, protocol, tuple(groups), count, attempt, precommitted, leg_layout, unpack_vote(vote))


# -- to transactions that were judged ------------------------------------------------------------------------------
# Functions, as these are made for each payment: an object more would cost a lone one a hundredth of its apply.


def judged(told: bytes) -> Body:
    """What the first part tells of them."""
    return ["judged", told]


def told_in(answer: Body) -> bytes | None:
    """What `judged` was given; None for any other answer."""
    match answer:
        case ["judged", bytes(told)]:
            return told
        case _:
            return None


def rows_of(answer: Body, start: int, stop: int) -> Body:
    """What the transfers from `start` on are told, of a command that several requests have become; any other answer as it is."""
    told = told_in(answer)
    return answer if told is None else judged(told[start:stop])
