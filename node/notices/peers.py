"""Of the other nodes: links, refusals, data folders, clocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from node.notices.notice import Level, Notice


@dataclass(frozen=True, slots=True)
class LinkUp(Notice):
    """A peer has answered on the connection to it."""

    peer: int
    away_seconds: float  # since it was missed, or since this node's start


@dataclass(frozen=True, slots=True)
class LinkLost(Notice):
    """A peer is not heard any more."""

    level: ClassVar[Level] = Level.warning
    peer: int
    reason: str  # the connection broke, it was silent, or it said goodbye


@dataclass(frozen=True, slots=True)
class LinkRenewed(Notice):
    """The connection to a silent peer is made anew; once until it answers."""

    level: ClassVar[Level] = Level.debug
    peer: int


@dataclass(frozen=True, slots=True)
class PeerNotReached(Notice):
    """A peer has not answered once since this node's start."""

    level: ClassVar[Level] = Level.warning
    peer: int
    seconds: float
    reason: str  # of the last attempt


@dataclass(frozen=True, slots=True)
class PeerReachedThrough(Notice):
    """The link to a peer is silent, and another node hears it: calls go that way until the link is up."""

    level: ClassVar[Level] = Level.warning
    peer: int
    through: int


@dataclass(frozen=True, slots=True)
class PeerRefused(Notice):
    """This node does not speak with one that says to be this peer; each reason once, until it is let in."""

    level: ClassVar[Level] = Level.warning
    peer: int
    code: str
    reason: str  # names both sides' values


@dataclass(frozen=True, slots=True)
class RefusedByPeer(Notice):
    """A peer does not let this node in; once, until it does."""

    level: ClassVar[Level] = Level.error
    peer: int
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Waiting(Notice):
    """This node takes no part yet, or none any more; each time for another reason."""

    level: ClassVar[Level] = Level.warning
    reason: str  # what for


@dataclass(frozen=True, slots=True)
class Admitted(Notice):
    """This node's data folder belongs to the cluster from now on."""

    identity: str  # of the cluster
    is_replacement: bool  # whether the node had another folder before, which is lost


@dataclass(frozen=True, slots=True)
class MemberChanged(Notice):
    """The cluster's table of data folders says something else of a node."""

    member: int
    state: str  # member; leaving, vacant, joining while a lost folder is replaced
    was: str | None  # None where the node had no row
    folder: str  # its id


@dataclass(frozen=True, slots=True)
class ClockFarOff(Notice):
    """A majority's clocks say that this one is wrong: its node lets others lead until it is set right."""

    level: ClassVar[Level] = Level.warning
    clock_of: int  # the node whose clock it is
    ahead_seconds: float  # below 0: behind
    limit_seconds: float


@dataclass(frozen=True, slots=True)
class ClockDiffers(Notice):
    """A clock is away from the others', and still believed."""

    level: ClassVar[Level] = Level.warning
    clock_of: int
    ahead_seconds: float


@dataclass(frozen=True, slots=True)
class ClockAgrees(Notice):
    """A clock is back among the others."""

    clock_of: int
    ahead_seconds: float
