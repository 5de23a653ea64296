"""Of a group: who leads it and why, who belongs to it, its stamps. Group 0 is the cluster's own, any other the shard of that number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from node.notices.notice import Level, Notice


@dataclass(frozen=True, slots=True)
class CampaignBegun(Notice):
    """The replica here asks for votes; nothing more is said of its next attempts until somebody leads."""

    group: int
    term: int  # that it would lead
    reason: str
    was: int | None  # who led
    silent_seconds: float | None  # since that one was heard


@dataclass(frozen=True, slots=True)
class ElectionWon(Notice):
    """The replica here leads."""

    group: int
    term: int
    campaigns: int  # of its own, since somebody else led
    leaderless_seconds: float  # since somebody was seen to lead


@dataclass(frozen=True, slots=True)
class CampaignLost(Notice):
    """The replica here asked for votes in vain, and nobody leads yet; told once until somebody leads."""

    group: int
    term: int
    reason: str


@dataclass(frozen=True, slots=True)
class SteppedDown(Notice):
    """The replica here led, and does not any more; a leadership that was handed over is told as that."""

    level: ClassVar[Level] = Level.warning
    group: int
    term: int  # that is current now
    reason: str


@dataclass(frozen=True, slots=True)
class LeaderChanged(Notice):
    """Another node leads the shard, as its replica here sees it; or the same one again, after a campaign that came to nothing."""

    group: int
    term: int
    leader: int
    was: int | None  # who was known to lead before; None since this node's start


@dataclass(frozen=True, slots=True)
class Leaderless(Notice):
    """The replica here knows of no leader for long."""

    level: ClassVar[Level] = Level.warning
    group: int
    term: int
    seconds: float
    away: tuple[int, ...]  # voters of the shard that do not answer this node


@dataclass(frozen=True, slots=True)
class HandoverAsked(Notice):
    """A leadership is to move from here; the shard takes no work until it has moved, or that is given up."""

    group: int
    to: int
    reason: str


@dataclass(frozen=True, slots=True)
class HandoverFinished(Notice):
    """A leadership that was to move from here has moved."""

    group: int
    to: int
    term: int
    seconds: float


@dataclass(frozen=True, slots=True)
class HandoverGivenUp(Notice):
    """A leadership that was to move from here has not, or went to another node."""

    level: ClassVar[Level] = Level.warning
    group: int
    to: int
    seconds: float
    reason: str


@dataclass(frozen=True, slots=True)
class MembershipChanged(Notice):
    """Other nodes belong to the shard."""

    group: int
    voters: tuple[int, ...]
    learners: tuple[int, ...]  # get the log, and do not count yet
    outgoing: tuple[int, ...]  # voters of the old half, while both halves are needed


@dataclass(frozen=True, slots=True)
class StampsHeldBack(Notice):
    """The shard's timestamps are ahead of the time: they rise at half its pace until it has caught up. Lifetimes do not depend on them."""

    level: ClassVar[Level] = Level.warning
    group: int
    ahead_seconds: float


@dataclass(frozen=True, slots=True)
class StampsTrue(Notice):
    """The shard's timestamps show the time again."""

    group: int
    seconds: float  # that it took


@dataclass(frozen=True, slots=True)
class CheckpointWritten(Notice):
    """The shard's file holds its state up to this entry."""

    level: ClassVar[Level] = Level.debug
    group: int
    index: int
    rows: int
    seconds: float


@dataclass(frozen=True, slots=True)
class CoordinatorBegun(Notice):
    """This node decides payments over several shards from now on, and finds out what its predecessors left."""

    epoch: int  # a term of group 0


@dataclass(frozen=True, slots=True)
class RoundRecovered(Notice):
    """What becomes of a round that an earlier coordinator had left open, without a recorded decision."""

    epoch: int
    round_id: int
    groups: tuple[int, ...]  # in it
    outcome: str  # how many of its transactions happen; the rest may be tried again
    reason: str  # by what it was found


@dataclass(frozen=True, slots=True)
class CoordinatorReady(Notice):
    """All shards have answered, so nothing of earlier coordinators is unknown any more."""

    epoch: int
    rounds_found: int  # that were open in some shard, and without a recorded decision
    rounds_recorded: int  # whose decision is in group 0, as some shard may not have carried it out
    seconds: float


@dataclass(frozen=True, slots=True)
class CoordinatorEnded(Notice):
    """This node decides nothing any more; what it left open its successor finds."""

    epoch: int
    rounds: int  # that it began
    rounds_open: int  # without a decision
    reason: str
