"""Who belongs to a group, and changes of it: simple ones, and joint ones for several voters at once.

After section 4.3 of Ongaro's thesis and the confchange package of etcd's raft. Everything here is a pure function.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, unique
from itertools import pairwise
from struct import Struct
from typing import Final

from node.core.raft.types import NOBODY, NodeId, known_term, natural
from protocol.errors import ProtocolError

CHANGES_MAX: Final = 64
"""Steps in one change: far above any replica set, low enough that a damaged entry cannot cost memory."""

_STEP: Final = Struct(">BQ")


@dataclass(frozen=True, slots=True)
class Membership:
    """The nodes of a group; every tuple is sorted and free of duplicates."""

    voters: tuple[NodeId, ...] = ()
    """Nodes whose majority decides."""
    outgoing: tuple[NodeId, ...] = ()
    """Voters of the old half while the membership is joint; a majority of them is needed as well."""
    learners: tuple[NodeId, ...] = ()
    """Nodes that receive the log and do not count."""
    learners_next: tuple[NodeId, ...] = ()
    """Outgoing voters that become learners once the joint membership is left."""
    auto_leave: bool = False
    """Whether the leader leaves the joint membership by itself."""

    @property
    def is_joint(self) -> bool:
        """Whether two majorities are needed."""
        return bool(self.outgoing)

    @property
    def everyone(self) -> tuple[NodeId, ...]:
        """All nodes that the leader replicates to, itself included, sorted."""
        if not self.outgoing and not self.learners:
            return self.voters
        return _sorted({*self.voters, *self.outgoing, *self.learners})

    @property
    def all_voters(self) -> tuple[NodeId, ...]:
        """Voters of both halves, sorted."""
        return _sorted({*self.voters, *self.outgoing}) if self.outgoing else self.voters

    def pack(self) -> list[object]:
        """The membership as nested lists of numbers."""
        halves = (self.voters, self.outgoing, self.learners, self.learners_next)
        return [*([int(node) for node in half] for half in halves), int(self.auto_leave)]

    @staticmethod
    def unpack(packed: object) -> Membership:
        """The inverse of `pack`; raises ProtocolError on any other shape."""
        if not isinstance(packed, (list, tuple)) or len(packed) != 5:
            raise ProtocolError("a membership is a list of 5")
        voters, outgoing, learners, learners_next, auto_leave = packed
        if natural(auto_leave) > 1:
            raise ProtocolError("auto_leave is 0 or 1")
        return Membership(_nodes(voters), _nodes(outgoing), _nodes(learners), _nodes(learners_next), bool(auto_leave))


@dataclass(frozen=True, slots=True)
class SnapshotMeta:
    """What raft knows of a snapshot; the data itself is the shell's."""

    index: int = 0
    """Last index that the snapshot covers."""
    term: int = 0
    """Term of the entry at that index."""
    checksum: int = 0
    """Chain checksum of the entry at that index."""
    membership: Membership = Membership()
    """Membership as of that index."""

    def pack(self) -> list[object]:
        """The meta as a list."""
        return [self.index, self.term, self.checksum, self.membership.pack()]

    @staticmethod
    def unpack(packed: object) -> SnapshotMeta:
        """The inverse of `pack`; raises ProtocolError on any other shape."""
        if not isinstance(packed, (list, tuple)) or len(packed) != 4:
            raise ProtocolError("a snapshot's meta is a list of 4")
        index, term, checksum, membership = packed
        return SnapshotMeta(natural(index), known_term(term), natural(checksum), Membership.unpack(membership))


@unique
class Step(IntEnum):
    """What a change does to one node."""

    add_voter = 0
    add_learner = 1
    remove = 2
    update = 3
    """Nothing; lets an operator pass a word through the log."""


@unique
class Transition(IntEnum):
    """How a change passes through the joint membership."""

    auto = 0
    """Jointly only if more than one step asks for it; left automatically."""
    implicit = 1
    """Always jointly; left automatically."""
    explicit = 2
    """Always jointly; left when an empty change is proposed."""


@dataclass(frozen=True, slots=True)
class MembershipChange:
    """A change of membership; without steps it leaves the joint membership."""

    steps: tuple[tuple[Step, NodeId], ...] = ()
    """What to do, in order."""
    transition: Transition = Transition.auto
    """How to pass through the joint membership."""

    @property
    def leaves_joint(self) -> bool:
        """Whether this is the empty change."""
        return not self.steps and self.transition is Transition.auto

    @property
    def enters_joint(self) -> bool:
        """Whether the change is made through a joint membership."""
        return self.transition is not Transition.auto or len(self.steps) > 1

    def encode(self) -> bytes:
        """The data of an entry; the empty change is no bytes, so that no limit can ever refuse it."""
        if self.leaves_joint:
            return b""
        return bytes([self.transition]) + b"".join(_STEP.pack(step, node) for step, node in self.steps)

    @staticmethod
    def decode(data: bytes) -> MembershipChange:
        """The inverse of `encode`; raises ProtocolError on anything else."""
        if not data:
            return MembershipChange()
        if (len(data) - 1) % _STEP.size or len(data) > 1 + CHANGES_MAX * _STEP.size:
            raise ProtocolError("a change of membership has a wrong length")
        try:
            steps = tuple((Step(step), NodeId(natural(node))) for step, node in _STEP.iter_unpack(data[1:]))
            return MembershipChange(steps, Transition(data[0]))
        except ValueError as error:
            raise ProtocolError("unknown step or transition in a change of membership") from error


class InvalidChange(Exception):
    """The change does not fit the membership; the text says why."""


def apply_change(membership: Membership, change: MembershipChange) -> Membership:
    """The membership after a change; raises InvalidChange."""
    if change.leaves_joint:
        return leave_joint(membership)
    if change.enters_joint:
        return enter_joint(membership, change.steps, auto_leave=change.transition is not Transition.explicit)
    return simple(membership, change.steps)


def simple(membership: Membership, steps: tuple[tuple[Step, NodeId], ...]) -> Membership:
    """Changes at most one voter at once, without a joint membership."""
    if membership.is_joint:
        raise InvalidChange("can't apply simple config change in joint config")
    after = _apply_steps(membership, steps)
    if len(set(membership.voters).symmetric_difference(after.voters)) > 1:
        raise InvalidChange("more than one voter changed without entering joint config")
    return after


def enter_joint(membership: Membership, steps: tuple[tuple[Step, NodeId], ...], auto_leave: bool) -> Membership:
    """The joint membership of the old voters and the ones after the steps."""
    if membership.is_joint:
        raise InvalidChange("config is already joint")
    if not membership.voters:
        raise InvalidChange("can't make a zero-voter config joint")
    joint = Membership(membership.voters, membership.voters, membership.learners, (), auto_leave)
    return _apply_steps(joint, steps)


def leave_joint(membership: Membership) -> Membership:
    """The new half alone; demoted voters become learners."""
    if not membership.is_joint:
        raise InvalidChange("can't leave a non-joint config")
    return Membership(membership.voters, (), _sorted({*membership.learners, *membership.learners_next}))


def _apply_steps(membership: Membership, steps: tuple[tuple[Step, NodeId], ...]) -> Membership:
    outgoing = membership.outgoing
    voters, learners, learners_next = set(membership.voters), set(membership.learners), set(membership.learners_next)
    for step, node in steps:
        if node == NOBODY or step is Step.update or (step is Step.add_learner and node in learners):
            continue
        voters.discard(node)
        learners.discard(node)
        learners_next.discard(node)
        if step is Step.add_voter:
            voters.add(node)
        elif step is Step.add_learner:
            (learners_next if node in outgoing else learners).add(node)
    if not voters:
        raise InvalidChange("removed all voters")
    return Membership(_sorted(voters), outgoing, _sorted(learners), _sorted(learners_next), membership.auto_leave)


def _sorted(nodes: set[NodeId]) -> tuple[NodeId, ...]:
    return tuple(sorted(nodes))


def _nodes(packed: object) -> tuple[NodeId, ...]:
    if not isinstance(packed, (list, tuple)):
        raise ProtocolError("expected a list of nodes")
    nodes = tuple(NodeId(natural(node)) for node in packed)
    if any(first >= second for first, second in pairwise(nodes)) or NOBODY in nodes:
        raise ProtocolError("nodes are sorted and positive")
    return nodes
