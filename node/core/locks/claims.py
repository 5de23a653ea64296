"""A claim to a lock, the states it goes through, and the queue it stands in."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum, unique
from typing import Any

MILLISECOND_NS = 1_000_000


@unique
class ClaimState(StrEnum):
    """Where a claim is in its life."""

    waiting = "waiting"  # in the queue
    holding = "holding"  # it has the lock
    ending = "ending"  # it has lost the lock, which a round that relied on it still keeps from the next one
    gone = "gone"


@unique
class ClaimEvent(StrEnum):
    """What happens to a claim."""

    granted = "granted"  # it is the first of the queue now
    ended = "ended"  # released, withdrawn, expired, wounded, or proven to have ended
    ended_while_pinned = "ended_while_pinned"  # the same, while a commit round relies on it
    unpinned = "unpinned"  # the last such round is decided


TRANSITIONS = {
    (ClaimState.waiting, ClaimEvent.granted): ClaimState.holding,
    (ClaimState.waiting, ClaimEvent.ended): ClaimState.gone,
    (ClaimState.holding, ClaimEvent.ended): ClaimState.gone,
    (ClaimState.holding, ClaimEvent.ended_while_pinned): ClaimState.ending,
    (ClaimState.holding, ClaimEvent.unpinned): ClaimState.holding,
    (ClaimState.ending, ClaimEvent.unpinned): ClaimState.gone,
}


def diagram() -> str:
    """The table as a Mermaid state diagram."""
    lines = [f"    {state} --> {to}: {event}" for (state, event), to in TRANSITIONS.items()]
    return "\n".join(["stateDiagram-v2", "    [*] --> waiting", *lines, "    gone --> [*]"])


@dataclass(slots=True, eq=False)
class Claim:
    """One owner's wish for one lock, from its `acquire` to its end."""

    name: str  # of the lock
    id: bytes  # chosen by the client: the same one again is a repetition
    owner: bytes
    token: int  # fences: rises from holder to holder
    age_ns: int  # of the owner; the older one goes first
    ttl_ms: int
    since_ns: int = 0  # when it got or last renewed the lock, in counted time
    pins: list[int] = field(default_factory=list)  # rounds that rely on it
    state: ClaimState = ClaimState.waiting

    @property
    def order(self) -> tuple[int, bytes]:
        """The place in the queue; owners of one age are told apart by their ids, in every queue alike."""
        return self.age_ns, self.owner

    @property
    def expires_ns(self) -> int:
        """When the lease of a holder ends unless it is renewed."""
        return self.since_ns + self.ttl_ms * MILLISECOND_NS

    def step(self, event: ClaimEvent) -> None:
        """Goes through the table; a pair that is not in it is a broken invariant."""
        self.state = TRANSITIONS[self.state, event]

    def pack(self) -> list[Any]:
        """A row of the checkpoint; the name is the queue's."""
        return [self.id, self.owner, self.token, self.age_ns, self.ttl_ms, self.since_ns, self.pins, self.state.value]

    @classmethod
    def unpack(cls, name: str, row: list[Any]) -> Claim:
        """The claim of a row."""
        claim_id, owner, token, age_ns, ttl_ms, since_ns, pins, state = row
        return cls(name, claim_id, owner, token, age_ns, ttl_ms, since_ns, pins, ClaimState(state))


@dataclass(slots=True, eq=False)
class Queue:
    """A lock that somebody holds, and who waits for it, oldest first."""

    number: int  # names the queue in the checkpoint: the token that its first claim was given
    name: str
    holder: Claim
    waiting: list[Claim] = field(default_factory=list)

    def pack(self) -> list[Any]:
        """A row of the checkpoint."""
        return [self.name, self.holder.pack(), [claim.pack() for claim in self.waiting]]
