"""Majorities, single and joint: what is committed, and who has won."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum, unique

from node.core.raft.types import INTEGER_MAX, NodeId


@unique
class VoteResult(Enum):
    """State of an election."""

    pending = "VotePending"
    lost = "VoteLost"
    won = "VoteWon"


def majority_index(voters: tuple[NodeId, ...], index_of: Callable[[NodeId], int]) -> int:
    """Highest index that a majority has; without voters everything is committed, as the other half decides."""
    if not voters:
        return INTEGER_MAX
    indexes = sorted(map(index_of, voters))
    return indexes[(len(indexes) - 1) // 2]


def joint_index(voters: tuple[NodeId, ...], outgoing: tuple[NodeId, ...], index_of: Callable[[NodeId], int]) -> int:
    """Highest index that a majority of each half has."""
    index = majority_index(voters, index_of)
    return min(index, majority_index(outgoing, index_of)) if outgoing else index


def majority_vote(voters: tuple[NodeId, ...], votes: Mapping[NodeId, bool]) -> VoteResult:
    """State of an election among voters; without voters it is won, as the other half decides."""
    if not voters:
        return VoteResult.won
    granted = sum(1 for voter in voters if votes.get(voter) is True)
    missing = sum(1 for voter in voters if voter not in votes)
    needed = len(voters) // 2 + 1
    if granted >= needed:
        return VoteResult.won
    return VoteResult.pending if granted + missing >= needed else VoteResult.lost


def joint_vote(voters: tuple[NodeId, ...], outgoing: tuple[NodeId, ...], votes: Mapping[NodeId, bool]) -> VoteResult:
    """State of an election that both halves must grant."""
    halves = (majority_vote(voters, votes), majority_vote(outgoing, votes))
    if VoteResult.lost in halves:
        return VoteResult.lost
    return VoteResult.pending if VoteResult.pending in halves else VoteResult.won
