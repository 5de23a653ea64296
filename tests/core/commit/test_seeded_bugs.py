"""Seeded bugs of the commit rounds: each is found by the enumeration of crashes, so the enumeration can fail."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from node.core.commit import PROTOCOLS, Coordinator, Decisions, Effect
from node.core.commit import coordinator as commit_coordinator
from node.core.commit.legs import legs_of
from node.core.commit.phases import Event, Phase
from node.core.commit.recovery import Orphan, Outcome, Poll, find_in_votes
from node.core.commit.rounds import Record, Round
from node.core.commit.votes import Vote, merge_votes
from node.core.machine import At, Body, Machine, MarkerRequest, RoundRequest, Votes, pack_decision
from tests.core.commit.crash_world import Plan, played

Polls = Mapping[int, Poll]
Records = Mapping[int, bytes]
STEPS_MAX = 120  # no run is longer


def _recover_by(patch: pytest.MonkeyPatch, find: Callable[[Orphan, Polls, Records], Outcome | None]) -> None:
    protocols = {**PROTOCOLS, "2pc": replace(PROTOCOLS["2pc"], recover=find)}
    patch.setattr(commit_coordinator, "PROTOCOLS", protocols)


def _by_some(orphan: Orphan, polls: Polls) -> Outcome:
    """What the votes that are known come to; the others count as yes."""
    known = {group: polls[group].opened for group in orphan.groups if group in polls}
    opened = {group: rounds[orphan.round_id] for group, rounds in known.items() if orphan.round_id in rounds}
    if not opened:
        return Outcome(Event.votes_found, pack_decision(np.zeros(orphan.count, np.uint8)))
    legs, numbers = legs_of({group: attempt.leg_layout for group, attempt in opened.items()})
    statuses = merge_votes(legs, {group: attempt.vote for group, attempt in opened.items()}, numbers).transactions
    padded = np.concatenate([statuses, np.zeros(orphan.count, np.uint8)])
    return Outcome(Event.votes_found, pack_decision(padded[: orphan.count]))


def some_votes_decide(patch: pytest.MonkeyPatch) -> None:
    """The new coordinator adds up what it has heard and waits for nobody."""

    def find(orphan: Orphan, polls: Polls, records: Records) -> Outcome | None:
        return find_in_votes(orphan, polls, records) or _by_some(orphan, polls)

    _recover_by(patch, find)


def a_missing_vote_is_yes(patch: pytest.MonkeyPatch) -> None:
    """Who never prepared the round has nothing against it."""

    def find(orphan: Orphan, polls: Polls, records: Records) -> Outcome | None:
        found = find_in_votes(orphan, polls, records)
        return _by_some(orphan, polls) if found is not None and found.event == Event.no_decision_exists else found

    _recover_by(patch, find)


def records_are_ignored(patch: pytest.MonkeyPatch) -> None:
    """The votes are all that counts."""
    honest = Coordinator.lead

    def lead(self: Coordinator, epoch: int, groups: tuple[int, ...], records: object) -> list[Effect]:
        return honest(self, epoch, groups, {})

    patch.setattr(Coordinator, "lead", lead)


def what_is_finished_is_ignored(patch: pytest.MonkeyPatch) -> None:
    """A participant that has carried the round out looks like one that never heard of it."""

    def find(orphan: Orphan, polls: Polls, records: Records) -> Outcome | None:
        return find_in_votes(orphan, {group: Poll(poll.opened, {}) for group, poll in polls.items()}, records)

    _recover_by(patch, find)


def no_fence(patch: pytest.MonkeyPatch) -> None:
    """Shards do what an earlier coordinator says."""
    honest = Machine._enter

    def enter(self: Machine, request: RoundRequest | MarkerRequest, at: At) -> bool:
        self.epoch = min(self.epoch, request.epoch)
        return honest(self, request, at)

    patch.setattr(Machine, "_enter", enter)


def answered_by_the_first_vote(patch: pytest.MonkeyPatch) -> None:
    """The other votes are expected to be the same."""

    def voted(self: Coordinator, group: int, round_id: int, vote: Vote) -> list[Effect]:
        opened = self.rounds.get(round_id)
        if opened is None or opened.phase != Phase.voting:
            return []
        for other, leg in opened.legs.items():
            agreed = Votes(bytes(opened.count), {"ledger": bytes(3 * len(leg.rows))})
            opened.votes[other] = vote if other == group else agreed
        return self._conclude(opened)

    patch.setattr(Coordinator, "_voted", voted)


def late_records_count(patch: pytest.MonkeyPatch) -> None:
    """Group 0 takes a record of an epoch that is over."""
    honest = Decisions.apply

    def apply(self: Decisions, body: Body, at: At) -> Body:
        epoch = self.epoch
        self.epoch = 0 if body[0] == "record" else epoch
        answer = honest(self, body, at)
        self.epoch = max(self.epoch, epoch)
        return answer

    patch.setattr(Decisions, "apply", apply)


def orphans_are_recorded(patch: pytest.MonkeyPatch) -> None:
    """What lingers is recorded whoever began it: group 0 refuses that, and the coordinator takes itself for deposed."""

    def record_lingering(self: Coordinator) -> list[Effect]:
        deciding = [opened for opened in self.rounds.values() if opened.phase == Phase.deciding]
        return [self._record(opened) for opened in deciding if not opened.is_recording]

    patch.setattr(Coordinator, "record_lingering", record_lingering)


def _told_before_its_record(patch: pytest.MonkeyPatch, event: Event) -> None:
    honest = Coordinator._advance

    def advance(self: Coordinator, opened: Round, told: Event) -> list[Effect]:
        effects = honest(self, opened, told)
        if told == event and opened.phase == Phase.recording:
            effects = honest(self, opened, Event.recorded)
        assert all(not isinstance(effect, Record) for effect in effects) or told != event
        return effects

    patch.setattr(Coordinator, "_advance", advance)


def abandoned_without_a_record(patch: pytest.MonkeyPatch) -> None:
    """The votes that are in decide, and nobody writes that down."""
    _told_before_its_record(patch, Event.given_up)


def aborted_without_a_record(patch: pytest.MonkeyPatch) -> None:
    """Nothing was left of the round, so there seems to be nothing to write down."""
    _told_before_its_record(patch, Event.nothing_left)


SOME = Plan(silent=2)  # the next coordinator hears of group 2 last
MUTE = Plan(slow=2, is_mute=True)
UNLIKE = "decided unlike before"
BUGS: list[tuple[Callable[[pytest.MonkeyPatch], None], str, str, Plan]] = [
    (some_votes_decide, UNLIKE, "two shards", Plan(silent=1)),
    (a_missing_vote_is_yes, "money was made or lost", "two shards", Plan()),
    (records_are_ignored, UNLIKE, "three shards", replace(MUTE, slow=3)),
    (what_is_finished_is_ignored, UNLIKE, "two shards", SOME),
    (no_fence, UNLIKE, "three shards", Plan(slow=2, under_way="paused")),
    (answered_by_the_first_vote, UNLIKE, "two shards", Plan(slow=1)),
    (late_records_count, UNLIKE, "three shards", replace(MUTE, slow=3, under_way="late")),
    (orphans_are_recorded, "a round has not ended", "two shards", Plan(lingers=True)),
    (abandoned_without_a_record, UNLIKE, "three shards", replace(MUTE, slow=3)),
    (aborted_without_a_record, UNLIKE, "a lone payment", MUTE),
]


@pytest.mark.parametrize(("plant", "found_by", "scenario", "plan"), BUGS, ids=[bug[0].__name__ for bug in BUGS])
def test_a_seeded_bug_is_found(
    plant: Callable[[pytest.MonkeyPatch], None],
    found_by: str,
    scenario: str,
    plan: Plan,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the check that is meant for it, at some step; the same run without the bug is fine."""
    steps = range(1, STEPS_MAX)
    plant(monkeypatch)
    for step, again in product(steps, (0, 12, 16, 20)):
        each = replace(plan, crash=step, crash_again=again)
        try:
            played("2pc", scenario, each)
        except AssertionError as error:
            if found_by in str(error):
                print(f"{plant.__name__}: {each}: {error}"[:300])
                break
    else:
        pytest.fail(f"{plant.__name__} was not found")
    monkeypatch.undo()
    played("2pc", scenario, each)
