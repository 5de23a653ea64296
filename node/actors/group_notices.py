"""What people are told of one group, as its replica here sees it: elections, leaders, handovers, membership, stamps.

A campaign that comes to nothing is repeated for as long as nobody leads, so one is told, and the end of it all: somebody leads. A
handover takes the place of what it is made of (stepping down, another leader).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from node.actors.replica_ports import ReplicaPorts
from node.core.raft import NOBODY, Cause, Membership, Raft, Ready, Role, Turn, Why
from node.notices import (
    CampaignBegun,
    CampaignLost,
    ElectionWon,
    HandoverAsked,
    HandoverFinished,
    HandoverGivenUp,
    LeaderChanged,
    Leaderless,
    MembershipChanged,
    Notice,
    StampsHeldBack,
    StampsTrue,
    SteppedDown,
)

if TYPE_CHECKING:
    from node.actors.replica import Replica

# After which people are told: elections take tenths of one, and a group of all that start some.
LEADERLESS_SECONDS = 5.0
HELD_BACK_NS = 10**9  # of stamps: what a change of leadership between clocks that agree leaves is less

REASONS = {  # of all but those of the steps between a campaign and its end, which are no news
    Why.leader_silent: "nothing was heard of the leader for an election timeout",
    Why.leader_gone: "the connection to the leader broke",
    Why.nobody_leads: "nobody was seen to lead in time",
    Why.called: "node {node} asked for it",
    Why.rival_behind: "node {node} asked for votes with a log that is shorter",
    Why.told: "it was asked for here",
    Why.outvoted: "a majority refused its vote",
    Why.later_term: "node {node} has opened a later term",
    Why.leader_spoke: "node {node} leads",
    Why.quorum_silent: "no majority has answered for an election timeout",
    Why.disk_stalled: "a write of its log stands still",
    Why.in_doubt: "the data folder is in doubt",
    Why.removed: "it was removed from the shard",
}


@dataclass(slots=True)
class Moving:
    """A leadership that is to move from here."""

    to: int
    began: float


class GroupNotices:
    """One a replica."""

    def __init__(self, group: int, ports: ReplicaPorts) -> None:
        self._group = group
        self._ports = ports
        self._leader = 0  # that was told last, with its term
        self._term = 0
        self._led_at: float | None = None  # when somebody was seen to lead last; from the first tick on
        self._campaigns = 0  # since then
        self._is_campaign_told = self._is_loss_told = self._is_leaderless_told = False
        self._handover: Moving | None = None
        self._membership: Membership | None = None
        self._held_back_since: float | None = None

    def _tell(self, notice: Notice) -> None:
        self._ports.operator.tell(notice)

    # -- who leads ------------------------------------------------------------------------------------------------

    def note(self, ready: Ready) -> None:
        """What the log's core has come to."""
        for turn in ready.turns:
            self._turned(turn)
        if ready.leader != NOBODY and ready.role is not Role.leader:
            self._follow(int(ready.leader), ready.term)

    def _turned(self, turn: Turn) -> None:
        if turn.role is Role.leader:
            self._give_up_handover("this node leads again")
            self._tell(ElectionWon(self._group, turn.term, self._campaigns, self._leaderless_seconds))
            self._led(self._ports.node, turn.term)
        elif turn.role is not Role.follower:
            self._campaigned(turn)
        elif turn.was is Role.leader:
            self._stepped_down(turn)
        elif turn.cause.why is not Why.leader_spoke and not self._is_loss_told:
            self._is_loss_told = True
            self._tell(CampaignLost(self._group, turn.term, _reason(turn.cause)))

    def _campaigned(self, turn: Turn) -> None:
        if turn.cause.why is Why.would_win:
            return  # the second step of one that was counted
        self._campaigns += 1
        if not self._is_campaign_told:
            self._is_campaign_told = True
            term = turn.term + (turn.role is Role.pre_candidate)
            ticks = turn.cause.silent_ticks
            silent_seconds = ticks * self._ports.tick_seconds if ticks else None
            was = self._leader or None
            self._tell(CampaignBegun(self._group, term, _reason(turn.cause), was, silent_seconds))

    def _stepped_down(self, turn: Turn) -> None:
        """Where it was handed over, what follows tells."""
        is_taken = self._handover is not None and turn.cause.node == self._handover.to
        if not is_taken:
            self._give_up_handover(_reason(turn.cause))
            self._tell(SteppedDown(self._group, turn.term, _reason(turn.cause)))

    def _follow(self, leader: int, term: int) -> None:
        handover, is_news = self._handover, (leader, term) != (self._leader, self._term)
        if not (is_news or self._is_campaign_told or self._is_leaderless_told):
            return  # as with nearly every entry
        if handover is not None and handover.to == leader:
            self._handover = None
            self._tell(HandoverFinished(self._group, leader, term, self._since(handover.began)))
        else:
            self._give_up_handover(f"node {leader} leads instead")
            self._tell(LeaderChanged(self._group, term, leader, self._leader or None))
        self._led(leader, term)

    def _led(self, leader: int, term: int) -> None:
        """Somebody leads: whatever comes next is told anew."""
        self._leader, self._term, self._campaigns, self._led_at = leader, term, 0, self._ports.clock.monotonic()
        self._is_campaign_told = self._is_loss_told = self._is_leaderless_told = False

    @property
    def _leaderless_seconds(self) -> float:
        return 0.0 if self._led_at is None else self._since(self._led_at)

    def _since(self, then: float) -> float:
        return self._ports.clock.monotonic() - then

    # -- handovers ------------------------------------------------------------------------------------------------

    def asked(self, raft: Raft, reason: str) -> None:
        """The log's core was told to hand over; it is asked again and again until it has."""
        to = int(raft.transferee)
        if to and (self._handover is None or self._handover.to != to):
            self._give_up_handover(f"node {to} is asked instead")
            self._handover = Moving(to, self._ports.clock.monotonic())
            self._tell(HandoverAsked(self._group, to, reason))

    def _give_up_handover(self, reason: str) -> None:
        handover, self._handover = self._handover, None
        if handover is not None:
            self._tell(HandoverGivenUp(self._group, handover.to, self._since(handover.began), reason))

    # -- what time tells ------------------------------------------------------------------------------------------

    def tick(self, replica: Replica) -> None:
        """Call it every tick."""
        state = replica.raft.state
        self._look_for_leader(replica.raft)
        if self._handover is not None and state.role.kind is Role.leader and not replica.raft.transferee:
            self._give_up_handover(f"node {self._handover.to} did not take it in time")
        if state.membership is not self._membership:
            self._look_at_members(state.membership)
        self._look_at_stamps(replica)

    def _look_for_leader(self, raft: Raft) -> None:
        state = raft.state
        if self._led_at is None or state.leader != NOBODY or state.id not in state.membership.everyone:
            self._led_at = self._ports.clock.monotonic()
        elif not self._is_leaderless_told and self._leaderless_seconds > LEADERLESS_SECONDS:
            self._is_leaderless_told = True
            others = [int(node) for node in state.membership.all_voters if node != state.id]
            away = tuple(node for node in others if not self._ports.is_up(node))
            self._tell(Leaderless(self._group, state.term, self._leaderless_seconds, away))

    def _look_at_members(self, found: Membership) -> None:
        before, self._membership = self._membership, found
        if before is not None and before != found:
            halves = (tuple(map(int, half)) for half in (found.voters, found.learners, found.outgoing))
            self._tell(MembershipChanged(self._group, *halves))

    def _look_at_stamps(self, replica: Replica) -> None:
        ahead_ns = replica.machine.timestamp_ns - self._ports.true_ns() if replica.is_serving else 0
        if self._held_back_since is None and ahead_ns > HELD_BACK_NS:
            self._held_back_since = self._ports.clock.monotonic()
            self._tell(StampsHeldBack(self._group, ahead_ns / 1e9))
        elif self._held_back_since is not None and ahead_ns <= 0:
            since, self._held_back_since = self._held_back_since, None
            self._tell(StampsTrue(self._group, self._since(since)))


def _reason(cause: Cause) -> str:
    return REASONS[cause.why].format(node=int(cause.node))
