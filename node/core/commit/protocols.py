"""The commit protocols: one small interface, two implementations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from node.core.commit.phases import THREE_PHASE, TWO_PHASE, Transitions
from node.core.commit.recovery import Recover, find_in_participants, find_in_votes


@dataclass(frozen=True, slots=True)
class CommitProtocol:
    """What a protocol is to the coordinator: its transitions, and how it finds out what became of an orphan."""

    name: str
    transitions: Transitions
    recover: Recover
    decides_by_votes: bool  # once all have voted the outcome stands, whoever adds the votes up


PROTOCOLS: Mapping[str, CommitProtocol] = MappingProxyType({
    "2pc": CommitProtocol("2pc", TWO_PHASE, find_in_votes, decides_by_votes=True),
    "3pc": CommitProtocol("3pc", THREE_PHASE, find_in_participants, decides_by_votes=False),
})  # fmt: skip
