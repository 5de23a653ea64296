"""Puts together what the shards remember: what became of one transfer, and which rounds are undecided.

Shards answer from their records, which are kept for ever, and from their trails, which are not. A shard that does not answer, or does
not remember, leaves gaps: None. What is told is true all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from node.core.commit.legs import DEBIT, legs_of
from node.core.commit.protocols import PROTOCOLS
from node.core.commit.rounds import epoch_of
from node.core.commit.votes import merge_votes
from node.core.machine import Body, status_of, unpack_vote
from protocol.columns import ONE_SHARD
from protocol.status import Status

ROUNDS_MAX = 64  # undecided ones that are told: a coordinator has ROUNDS_IN_FLIGHT_MAX at a time, the rest are orphans
IDS_MAX = 1_000  # of each

Answers = Mapping[int, Body | None]
"""By group; None: no answer in time."""


@dataclass(frozen=True, slots=True)
class Report:
    """A participant's trail of one transaction; times are stamps of its entries in ns."""

    protocol: str
    groups: list[int]  # the participants
    vote: int | None
    prepared_ns: int | None
    precommitted_ns: int | None
    carried_out_ns: int | None
    decision: int | None
    attempt: int  # epoch of its last PRECOMMIT, 0 for none
    proposed: int | None  # what that proposed


@dataclass(frozen=True, slots=True)
class Recorded:
    """A shard's record of a transfer; accounts that it does not know are None."""

    status: int
    timestamp_ns: int
    debit: str | None
    credit: str | None


@dataclass(frozen=True, slots=True)
class Told:
    """A shard's answer to a trace: the record that it has, and the rounds in which it has seen the transfer."""

    record: Recorded | None
    sights: list[Sight]

    @staticmethod
    def unpack(group: int, answer: Body) -> Told:
        """From `["trace", record or null, [[round id, transaction, row, sides, report], ...]]`."""
        _, record, sightings = answer
        sights = [
            Sight(group, round_id, number, row, sides, Report(*report))
            for round_id, number, row, sides, report in sightings
        ]
        return Told(None if record is None else Recorded(*record), sights)


@dataclass(slots=True)
class Open:
    """A round that no decision of is known."""

    round_id: int
    protocol: str
    groups: list[int]  # the participants
    opened_ns: int  # when the first of them heard of it
    count: int  # transactions
    prepared: list[int] = field(default_factory=list)  # groups that have voted
    ids: bytes = b""  # of transfers that participants have told, 16 bytes each
    attempts: list[int] = field(default_factory=list)  # epochs of PRECOMMITs, one a group that has told

    @property
    def stands(self) -> bool:
        """Whether all have voted, where votes decide; else whether a majority of the participants has precommitted one attempt."""
        if PROTOCOLS[self.protocol].decides_by_votes:
            return len(self.prepared) == len(self.groups)
        return any(epoch and 2 * self.attempts.count(epoch) > len(self.groups) for epoch in self.attempts)


@dataclass(frozen=True, slots=True)
class Sight:
    """A transfer in a round."""

    group: int
    round_id: int
    number: int  # of the transaction
    row: int  # of the round, -1 where each transaction is one transfer
    sides: int
    report: Report


@dataclass(frozen=True, slots=True)
class Found:
    """What a transfer is known by."""

    group: int  # where its record is, else where it was seen
    record: Recorded | None
    round_id: int | None  # the round that decides it; None: one shard alone, or nobody remembers
    number: int
    row: int
    reports: dict[int, Report]  # by participant, as far as they have told
    decision: int | None = None  # that follows from the votes, where that was looked at

    @property
    def groups(self) -> list[int]:
        """The participants of the round."""
        return next((report.groups for report in self.reports.values()), [])

    def completed(self, answers: Answers) -> Found:
        """With the answers of other participants to `["round", round id, number, row]`."""
        told = {group: report for group, (_, report) in _heard(answers)}
        more = {group: Report(*report) for group, report in told.items() if report is not None}
        return replace(self, reports={**self.reports, **more})

    @property
    def is_decided_by_votes(self) -> bool:
        """Every participant has voted under a protocol that needs no more, and none has carried the outcome out."""
        reports = self.reports.values()
        is_complete = len(reports) == len(self.groups) and all(seen.vote is not None for seen in reports)
        by_votes = all(PROTOCOLS[seen.protocol].decides_by_votes for seen in reports)
        return is_complete and by_votes and all(seen.carried_out_ns is None for seen in reports)

    def decided_by(self, answers: Answers) -> Found | None:
        """With the participants' answers to `["votes", round id]`; None if one has carried it out meanwhile, or does not answer."""
        opened = {group: held for group, (_, held) in _heard(answers) if held is not None}
        if len(opened) < len(self.groups):
            return None
        legs, numbers = legs_of({group: layout for group, (layout, _) in opened.items()})
        verdict = merge_votes(legs, {group: unpack_vote(packed) for group, (_, packed) in opened.items()}, numbers)
        return replace(self, decision=status_of(verdict.pack(), self.number, self.row))


def find_transfer(answers: Answers, debit: str, home: int) -> Found | None:
    """From the shards' answers to `["trace", "ledger", id]`. `home` is the shard of `debit` where that is known, else 0.

    What happened comes before what was refused or cancelled under the same id in another shard, then the first one. A transfer can be
    in several rounds: it waits for others, or comes again. The one that made the record counts; without a record one that is open, else
    the last one.
    """
    told = {group: Told.unpack(group, answer) for group, answer in _heard(answers)}
    sights = [sight for each in told.values() for sight in each.sights if not home or home in sight.report.groups]
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
    best = max(sights, key=lambda seen: (seen.report.carried_out_ns is None, seen.sides & DEBIT, seen.round_id))
    return _found(best.group, None, best, sights)


def _heard(answers: Answers) -> list[tuple[int, Body]]:
    """The groups that have answered, with their answers."""
    return [(group, answer) for group, answer in answers.items() if answer is not None]


def _is_of(record: Recorded, debit: str) -> bool:
    return record.debit is None or record.debit == debit


def _found(group: int, record: Recorded | None, chosen: Sight | None, sights: Sequence[Sight]) -> Found:
    if chosen is None:
        return Found(group, record, None, 0, -1, {})
    reports = {seen.group: seen.report for seen in sights if seen.round_id == chosen.round_id}
    return Found(group, record, chosen.round_id, chosen.number, chosen.row, reports)


def describe(found: Found, note: Body | None, leaders: Sequence[int], group_of: Callable[[str], int]) -> Body:
    """A trace as it is answered.

    `[status, timestamp_ns, protocol, round id, epoch, coordinator, recorded, decision, [[group, node, vote, prepared, precommitted,
    carried out], ...]]`. `note` is group 0's `[recorded, decision, coordinator]`, None without its answer.
    """
    if found.round_id is None:
        return _describe_record(found, leaders, group_of)
    recorded_ns, decided, coordinator = note or [None, None, None]
    decision = _decision(found, decided)
    status = int(Status.undecided) if decision is None else decision
    participants = []
    for group in found.groups:
        seen = found.reports.get(group)
        known: Body = [None] * 4
        if seen is not None:
            known = [seen.vote, seen.prepared_ns, seen.precommitted_ns, seen.carried_out_ns]
        participants.append([group, leaders[group], *known])
    protocol = next(report.protocol for report in found.reports.values())
    timestamp_ns = None
    if found.record is not None:
        status, timestamp_ns = found.record.status, found.record.timestamp_ns
    epoch = epoch_of(found.round_id)
    return [status, timestamp_ns, protocol, found.round_id, epoch, coordinator, recorded_ns, decision, participants]


def _decision(found: Found, recorded: bytes | None) -> int | None:
    """What the round's decision says of the transfer, as soon as it stands."""
    reports = list(found.reports.values())
    for report in reports:
        if report.decision is not None:
            return report.decision
    if recorded is not None:
        return status_of(recorded, found.number, found.row)
    if found.decision is not None:
        return found.decision
    for report in reports:
        alike = [other for other in reports if other.attempt == report.attempt]
        if report.attempt and 2 * len(alike) > len(report.groups):
            return report.proposed
    return None


def _describe_record(found: Found, leaders: Sequence[int], group_of: Callable[[str], int]) -> Body:
    """No round, or none that is remembered: the accounts tell which shards it touched."""
    assert found.record is not None, "what has no record was seen in a round"
    status, timestamp_ns = found.record.status, found.record.timestamp_ns
    accounts = [account for account in (found.record.debit, found.record.credit) if account is not None]
    groups = sorted({found.group, *map(group_of, accounts)})
    protocol = ONE_SHARD if groups == [found.group] else None
    rows = [
        [group, leaders[group], None, None, None, timestamp_ns if group == found.group else None] for group in groups
    ]
    return [status, timestamp_ns, protocol, None, None, None, None, None, rows]


def undecided_rounds(answers: Answers, records: Body | None) -> tuple[list[Open], int]:
    """The oldest ones, and how many there are in all.

    From the groups' answers to `["open", "ledger"]` and then group 0's records. A round whose decision stands is left out, though some
    shard may not have heard of it.
    """
    decided = {round_id: None for round_id, *_ in records or []}
    merged: dict[int, Open] = {}
    for group, (_, rows, finished) in _heard(answers):
        decided.update(dict.fromkeys(finished))
        for round_id, protocol, groups, opened_ns, has_prepared, attempt, ids, count in rows:
            known = merged.setdefault(round_id, Open(round_id, protocol, groups, opened_ns, count))
            known.opened_ns = min(known.opened_ns, opened_ns)
            known.prepared += [group] if has_prepared else []
            known.ids += ids
            known.attempts.append(attempt)
    undecided = [known for known in merged.values() if known.round_id not in decided and not known.stands]
    undecided.sort(key=lambda known: known.opened_ns)
    for known in undecided[:ROUNDS_MAX]:
        known.ids = _without_repeats(known.ids)
    return undecided[:ROUNDS_MAX], len(undecided)


def _without_repeats(ids: bytes) -> bytes:
    each = dict.fromkeys(ids[place : place + 16] for place in range(0, len(ids), 16))
    return b"".join(list(each)[:IDS_MAX])
