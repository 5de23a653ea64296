"""Commit rounds seen from outside, in the logs of all groups: one decision a round, with its votes, made safe before.

A decision under which something happens must be safe before any shard is told: precommitted alike in a majority of the round's
participants (3pc), recorded in group 0, or voted by every participant (2pc). In 2pc a round without a record whose participants have all
voted is decided as the votes say, no less: some client may have heard it. Only what an epoch says that is not over counts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from node.core.commit import Decisions
from node.core.commit.legs import legs_of
from node.core.commit.votes import merge_votes
from node.core.machine import Body, Kind, Machine, Votes, unpack_decision, unpack_entry


@dataclass(slots=True)
class Known:
    """What the logs say of one round."""

    protocol: str = ""
    groups: tuple[int, ...] = ()
    commits: bytes | None = None  # one byte a transaction: whether it happens
    recorded: bytes | None = None  # likewise
    precommitted: dict[int, bytes] = field(default_factory=dict)  # by group, the last one
    votes: dict[int, bytes] = field(default_factory=dict)  # by group, one byte a transaction
    ballots: dict[int, tuple[bytes, Votes]] = field(default_factory=dict)  # by group, place of its legs, answer

    @property
    def outcome(self) -> bytes | None:
        """What the votes of all participants come to, in the form of `commits`; None while some are missing."""
        if not self.groups or any(group not in self.ballots for group in self.groups):
            return None
        legs, numbers = legs_of({group: self.ballots[group][0] for group in self.groups})
        verdict = merge_votes(legs, {group: self.ballots[group][1] for group in self.groups}, numbers)
        commits: bytes = (verdict.transactions == 0).tobytes()
        return commits


class DecisionLog:
    """Call `look` for each committed entry of each group, once and in order, before the machine applies it; `look_after` behind."""

    def __init__(self, expect: Callable[[bool, str], None]) -> None:
        self._expect = expect
        self.rounds: dict[int, Known] = {}
        self._prepared: list[int] = []  # with the entry that is looked at

    def look(self, name: str, group: int, machine: Machine, data: bytes) -> None:
        """The entry is about to be applied to this machine."""
        epoch = machine.epoch
        for request in unpack_entry(data)[2]:
            if request[0] not in (Kind.epoch, Kind.round, Kind.marker) or request[1] < epoch:
                continue
            epoch = request[1]
            if request[0] == Kind.epoch:
                continue
            for round_id, packed in request[3]:
                self._decided(name, round_id, packed)
            if request[0] == Kind.round:
                self._opened(group, request)

    def look_after(self, name: str, group: int, machine: Machine) -> None:
        """The machine has applied the entry."""
        for round_id in self._prepared:
            opened = machine.rounds.get(round_id)
            if opened is not None and isinstance(vote := opened.vote, Votes):
                self.rounds[round_id].votes.setdefault(group, vote.statuses)
                self.rounds[round_id].ballots.setdefault(group, (opened.leg_layout, vote))
        self._prepared.clear()
        if group == 0:
            self._look_at_records(name, machine)

    def _look_at_records(self, name: str, machine: Machine) -> None:
        part = machine.parts["decisions"]
        assert isinstance(part, Decisions)
        for round_id, record in part.records.items():
            known = self.rounds.setdefault(round_id, Known())
            if known.recorded is None:
                known.recorded = _commits(record.decision)
                same = known.commits in (None, known.recorded)
                self._expect(same, f"{name}: round {round_id:x} is recorded unlike it was decided")

    def _opened(self, group: int, request: Body) -> None:
        for round_id, groups, packed in request[4]:
            known = self.rounds.setdefault(round_id, Known("3pc", tuple(groups)))
            known.precommitted[group] = _commits(packed)
        if (prepare := request[5]) is not None:
            known = self.rounds.setdefault(prepare[0], Known())
            known.protocol, known.groups = prepare[2], tuple(prepare[3])
            self._prepared.append(prepare[0])

    def _decided(self, name: str, round_id: int, packed: bytes) -> None:
        commits = _commits(packed)
        known = self.rounds.setdefault(round_id, Known())
        if known.commits is not None:
            self._expect(known.commits == commits, f"{name}: round {round_id:x} is decided twice, and not alike")
            return
        known.commits = commits
        for voter, votes in known.votes.items():
            against = [number for number, vote in enumerate(votes) if vote and commits[number]]
            self._expect(
                not against, f"{name}: round {round_id:x} commits {against} against the votes of group {voter}"
            )
        if known.protocol == "3pc":
            holding = [group for group in known.groups if known.precommitted.get(group) == commits]
            is_safe = not any(commits) or 2 * len(holding) > len(known.groups)
            self._expect(is_safe, f"{name}: round {round_id:x} commits, precommitted by {holding} of {known.groups}")
        elif known.recorded is not None:
            self._expect(known.recorded == commits, f"{name}: round {round_id:x} is decided unlike its record")
        elif (outcome := known.outcome) is not None:
            self._expect(outcome == commits, f"{name}: round {round_id:x} is decided unlike its votes")
        else:
            voters = [*known.votes]
            self._expect(
                not any(commits), f"{name}: round {round_id:x} commits unrecorded, voted by {voters} of {known.groups}"
            )


def _commits(packed: bytes) -> bytes:
    commits: bytes = (unpack_decision(packed) == 0).tobytes()
    return commits
