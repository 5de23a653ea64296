"""Puts together what the shards remember: what became of one transfer, and which rounds are undecided.

Shards answer from their records, which are kept for ever, and from their trails, which are not. A shard that does not answer, or does
not remember, leaves gaps: None. What is told is true all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from node.core.commit.decisions import Note, Records
from node.core.commit.legs import DEBIT, legs_of
from node.core.commit.protocols import PROTOCOLS
from node.core.commit.rounds import epoch_of
from node.core.commit.votes import merge_votes
from node.core.machine import Body, HeldVote, OpenRounds, Report, ShardTrace, Sighting, TransferRecord, status_of
from protocol.columns import ONE_SHARD
from protocol.status import Status
from protocol.views import Participant, Trace

ROUNDS_MAX = 64  # undecided ones that are told: a coordinator has ROUNDS_IN_FLIGHT_MAX at a time, the rest are orphans
IDS_MAX = 1_000  # of each

Told = TypeVar("Told")
Answers = Mapping[int, Told | None]
"""By group; None: no answer in time."""


@dataclass(slots=True)
class UndecidedRound:
    """A round that no decision of is known."""

    round_id: int
    protocol: str
    groups: list[int]  # the participants
    opened_ns: int  # when the first of them heard of it
    count: int  # transactions
    prepared: list[int] = field(default_factory=list)  # groups that have voted
    ids: bytes = b""  # of transfers that participants have told, 16 bytes each
    attempts: list[int] = field(default_factory=list)  # epochs of PRECOMMITs, one a group that has told

    def pack(self, now_ns: int) -> Body:
        """As a client is told it, at this time."""
        age_ms = max(0, now_ns - self.opened_ns) // 1_000_000
        return [self.round_id, self.protocol, self.groups, self.prepared, age_ms, self.ids]

    @property
    def stands(self) -> bool:
        """Whether all have voted, where votes decide; else whether a majority of the participants has precommitted one attempt."""
        if PROTOCOLS[self.protocol].decides_by_votes:
            return len(self.prepared) == len(self.groups)
        return any(epoch and 2 * self.attempts.count(epoch) > len(self.groups) for epoch in self.attempts)


@dataclass(frozen=True, slots=True)
class Undecided:
    """What is undecided in the cluster, as a client is told it: `protocol.views.Undecided` reads it."""

    rounds: list[UndecidedRound]  # the oldest ones
    count: int  # of all
    silent: list[int]  # groups that did not answer

    def pack(self, now_ns: int) -> Body:
        """As it travels, at this time."""
        return [
            [each.pack(now_ns) for each in self.rounds],
            self.silent,
            self.count,
            [each.count for each in self.rounds],
        ]


@dataclass(frozen=True, slots=True)
class Sight:
    """A transfer in a round, as a shard has seen it."""

    group: int
    at: Sighting
    report: Report


@dataclass(frozen=True, slots=True)
class TracedTransfer:
    """What a transfer is known by."""

    group: int  # where its record is, else where it was seen
    record: TransferRecord | None
    place: Sighting | None  # in the round that decides it; None: one shard alone, or nobody remembers
    reports: dict[int, Report]  # by participant, as far as they have told
    decision: int | None = None  # that follows from the votes, where that was looked at

    @property
    def groups(self) -> list[int]:
        """The participants of the round."""
        return next((report.groups for report in self.reports.values()), [])

    def completed(self, answers: Answers[Report]) -> TracedTransfer:
        """With what other participants remember of the round."""
        return replace(self, reports={**self.reports, **_heard(answers)})

    @property
    def is_decided_by_votes(self) -> bool:
        """Every participant has voted under a protocol that needs no more, and none has carried the outcome out."""
        reports = self.reports.values()
        is_complete = len(reports) == len(self.groups) and all(seen.vote is not None for seen in reports)
        by_votes = all(PROTOCOLS[seen.protocol].decides_by_votes for seen in reports)
        return is_complete and by_votes and all(seen.carried_out_ns is None for seen in reports)

    def decided_by(self, answers: Answers[HeldVote]) -> TracedTransfer | None:
        """With the participants' votes; None if one has carried it out meanwhile, or does not answer."""
        held = _heard(answers)
        if self.place is None or len(held) < len(self.groups):
            return None
        legs, numbers = legs_of({group: one.leg_layout for group, one in held.items()})
        verdict = merge_votes(legs, {group: one.vote for group, one in held.items()}, numbers)
        return replace(self, decision=status_of(verdict.pack(), self.place.number, self.place.row))


def find_transfer(answers: Answers[ShardTrace], debit: str, home: int) -> TracedTransfer | None:
    """From what the shards tell of an id. `home` is the shard of `debit` where that is known, else 0.

    What happened comes before what was refused or cancelled under the same id in another shard, then the first one. A transfer can be
    in several rounds: it waits for others, or comes again. The one that made the record counts; without a record one that is open, else
    the last one.
    """
    told = _heard(answers)
    seen = [Sight(group, at, report) for group, each in told.items() for at, report in each.seen]
    sights = [sight for sight in seen if not home or home in sight.report.groups]
    records = {group: each.record for group, each in told.items() if each.record is not None}
    if home:
        records = {group: record for group, record in records.items() if group == home and _is_of(record, debit)}
    if records:
        group = min(records, key=lambda group: (records[group].status != Status.created, records[group].timestamp_ns))
        record = records[group]
        made = [seen for seen in sights if seen.group == group and seen.report.carried_out_ns == record.timestamp_ns]
        return _found(group, record, made[0] if made else None, sights)
    if not sights:
        return None
    best = max(sights, key=lambda seen: (seen.report.carried_out_ns is None, seen.at.sides & DEBIT, seen.at.round_id))
    return _found(best.group, None, best, sights)


def _heard(answers: Answers[Told]) -> dict[int, Told]:
    """What the groups have told that know anything."""
    return {group: answer for group, answer in answers.items() if answer is not None}


def _is_of(record: TransferRecord, debit: str) -> bool:
    return record.debit is None or record.debit == debit


def _found(group: int, record: TransferRecord | None, chosen: Sight | None, sights: Sequence[Sight]) -> TracedTransfer:
    if chosen is None:
        return TracedTransfer(group, record, None, {})
    reports = {seen.group: seen.report for seen in sights if seen.at.round_id == chosen.at.round_id}
    return TracedTransfer(group, record, chosen.at, reports)


def describe(
    id: int, found: TracedTransfer, note: Note | None, leaders: Sequence[int], group_of: Callable[[str], int]
) -> Trace:
    """A trace as it is answered. `note` is group 0's, None without its answer."""
    if found.place is None:
        return _describe_record(id, found, leaders, group_of)
    note = note or Note()
    decision = _decision(found, found.place, note.decision)
    status = Status.undecided if decision is None else decision
    participants = []
    for group in found.groups:
        times: tuple[int | None, int | None, int | None] = None, None, None
        vote = None
        if (seen := found.reports.get(group)) is not None:
            vote = None if seen.vote is None else Status(seen.vote)
            times = seen.prepared_ns, seen.precommitted_ns, seen.carried_out_ns
        participants.append(Participant(group, leaders[group], vote, *times))
    protocol = next(report.protocol for report in found.reports.values())
    timestamp_ns = None
    if found.record is not None:
        status, timestamp_ns = Status(found.record.status), found.record.timestamp_ns
    round_id = found.place.round_id
    return Trace(
        id, status, timestamp_ns, protocol, round_id, epoch_of(round_id), note.coordinator, note.recorded_ns, decision,
        tuple(participants),
    )  # fmt: skip


def _decision(found: TracedTransfer, place: Sighting, recorded: bytes | None) -> Status | None:
    """What the round's decision says of the transfer, as soon as it stands."""
    told = _told_decision(found, place, recorded)
    return None if told is None else Status(told)


def _told_decision(found: TracedTransfer, place: Sighting, recorded: bytes | None) -> int | None:
    reports = list(found.reports.values())
    for report in reports:
        if report.decision is not None:
            return report.decision
    if recorded is not None:
        return status_of(recorded, place.number, place.row)
    if found.decision is not None:
        return found.decision
    for report in reports:
        alike = [other for other in reports if other.attempt == report.attempt]
        if report.attempt and 2 * len(alike) > len(report.groups):
            return report.proposed
    return None


def _describe_record(id: int, found: TracedTransfer, leaders: Sequence[int], group_of: Callable[[str], int]) -> Trace:
    """No round, or none that is remembered: the accounts tell which shards it touched."""
    assert found.record is not None, "what has no record was seen in a round"
    timestamp_ns = found.record.timestamp_ns
    accounts = [account for account in (found.record.debit, found.record.credit) if account is not None]
    groups = sorted({found.group, *map(group_of, accounts)})
    protocol = ONE_SHARD if groups == [found.group] else None
    participants = tuple(
        Participant(group, leaders[group], None, None, None, timestamp_ns if group == found.group else None)
        for group in groups
    )
    return Trace(id, Status(found.record.status), timestamp_ns, protocol, None, None, None, None, None, participants)


def undecided_rounds(answers: Answers[OpenRounds], records: Records | None) -> Undecided:
    """From what the groups hold open, and then group 0's records. A round whose decision stands is left out, though some shard may not
    have heard of it.
    """
    decided = dict.fromkeys(records or ())
    merged: dict[int, UndecidedRound] = {}
    for group, told in _heard(answers).items():
        decided.update(dict.fromkeys(told.finished))
        for row in told.rows:
            known = merged.setdefault(
                row.round_id, UndecidedRound(row.round_id, row.protocol, row.groups, row.opened_ns, row.count)
            )
            known.opened_ns = min(known.opened_ns, row.opened_ns)
            known.prepared += [group] if row.has_prepared else []
            known.ids += row.ids
            known.attempts.append(row.attempt)
    undecided = [known for known in merged.values() if known.round_id not in decided and not known.stands]
    undecided.sort(key=lambda known: known.opened_ns)
    for known in undecided[:ROUNDS_MAX]:
        known.ids = _without_repeats(known.ids)
    return Undecided(undecided[:ROUNDS_MAX], len(undecided), [group for group, told in answers.items() if told is None])


def _without_repeats(ids: bytes) -> bytes:
    each = dict.fromkeys(ids[place : place + 16] for place in range(0, len(ids), 16))
    return b"".join(list(each)[:IDS_MAX])
