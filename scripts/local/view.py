"""A cluster as its nodes see it together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from protocol.client.survey import leaders_of, recovering_of
from protocol.views import NodeState


@dataclass(frozen=True, slots=True)
class Waiting:
    """A node that runs and takes no clients yet."""

    reason: str  # what it waits for


@dataclass(frozen=True, slots=True)
class View:
    """The cluster as its nodes see it together."""

    leaders: tuple[int, ...]  # of each group, group 0 first; 0 for none
    answering: tuple[int, ...]  # nodes that answered
    committed: tuple[int, ...]  # the highest commit index of each group that a node knows
    reached: tuple[int, ...]  # the lowest one of its replicas that answered
    recovering: Mapping[int, Sequence[int]]  # by node: the groups whose replica there gets back what its disk lost
    waiting: Mapping[int, str]  # nodes that run and do not belong to the cluster yet, and what each waits for

    @property
    def coordinator(self) -> int:
        """The node that runs commit rounds, 0 for none."""
        return self.leaders[0]

    @property
    def leaderless(self) -> list[int]:
        """The groups that have no leader that answers."""
        return [group for group, leader in enumerate(self.leaders) if leader not in self.answering]

    @property
    def is_serving(self) -> bool:
        """Whether every group has a leader that answers."""
        return not self.leaderless


def combine(seen: Sequence[NodeState], groups: int, waiting: Mapping[int, str]) -> View:
    """One view of several."""
    commits: list[list[int]] = [[] for _ in range(groups)]
    for replica in (replica for state in seen for replica in state.groups):
        commits[replica.group].append(replica.commit)
    return View(
        leaders_of(seen, groups),
        tuple(state.node for state in seen),
        tuple(max(group, default=0) for group in commits),
        tuple(min(group, default=0) for group in commits),
        recovering_of(seen),
        waiting,
    )
