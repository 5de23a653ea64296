"""The phases of a round, and how the two commit protocols differ: a transition table each."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class Phase(StrEnum):
    """Where a round stands, as its coordinator sees it."""

    voting = "voting"  # PREPARE is out
    recording = "recording"  # the decision is on its way into group 0
    precommitting = "precommitting"  # the decision is on its way into a majority of the participants
    orphaned = "orphaned"  # found open in a shard: an earlier coordinator left it
    deciding = "deciding"  # decided for ever; not every participant has carried it out
    ended = "ended"


class Event(StrEnum):
    """What moves a round."""

    voted = "voted"  # every participant has voted: the outcome follows from the votes
    given_up = "given_up"  # some votes stay out, and some outcome must survive all the same
    nothing_agreed = "nothing_agreed"  # all have voted, and nothing is left that anybody will be told: abort
    nothing_left = "nothing_left"  # some votes stay out, and the others leave nothing: abort
    recorded = "recorded"  # group 0 has the decision
    majority_precommitted = "majority_precommitted"
    decision_found = "decision_found"  # recovery: a record, or a participant that has carried it out
    votes_found = "votes_found"  # recovery: every participant has voted
    no_decision_exists = "no_decision_exists"  # recovery: and none can come to exist any more: abort
    majority_found = "majority_found"  # recovery: a majority told its last attempt; none has carried anything out
    carried_out = "carried_out"  # by every participant


Transitions = Mapping[tuple[Phase, Event], Phase]

TWO_PHASE: Transitions = MappingProxyType({
    (Phase.voting, Event.voted): Phase.deciding,
    (Phase.voting, Event.given_up): Phase.recording,
    (Phase.voting, Event.nothing_agreed): Phase.deciding,
    (Phase.voting, Event.nothing_left): Phase.recording,
    (Phase.recording, Event.recorded): Phase.deciding,
    (Phase.orphaned, Event.decision_found): Phase.deciding,
    (Phase.orphaned, Event.votes_found): Phase.deciding,
    (Phase.orphaned, Event.no_decision_exists): Phase.deciding,
    (Phase.deciding, Event.carried_out): Phase.ended,
})  # fmt: skip

THREE_PHASE: Transitions = MappingProxyType({
    (Phase.voting, Event.voted): Phase.precommitting,
    (Phase.voting, Event.given_up): Phase.precommitting,
    (Phase.voting, Event.nothing_agreed): Phase.deciding,
    (Phase.voting, Event.nothing_left): Phase.deciding,
    (Phase.precommitting, Event.majority_precommitted): Phase.deciding,
    (Phase.orphaned, Event.decision_found): Phase.deciding,
    (Phase.orphaned, Event.majority_found): Phase.precommitting,
    (Phase.deciding, Event.carried_out): Phase.ended,
})  # fmt: skip


def diagram(transitions: Transitions) -> str:
    """The table as a Mermaid state diagram."""
    lines = [f"    {before} --> {after}: {event}" for (before, event), after in transitions.items()]
    return "\n".join(["stateDiagram-v2", "    [*] --> voting", "    [*] --> orphaned", *lines, "    ended --> [*]"])
