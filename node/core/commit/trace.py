"""Puts together what the shards remember: what became of one transfer, and which rounds are undecided.

Shards answer from their records, which are kept for ever, and from their trails, which are not. A shard that does not answer, or does
not remember, leaves gaps: None. What is told is true all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from node.core.commit.legs import DEBIT, place_legs
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
    record: Body | None  # `[status, timestamp_ns, debit, credit]`
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
        more = {group: Report(*answer[1]) for group, answer in answers.items() if answer and answer[1] is not None}
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
        told = {group: answer for group, answer in answers.items() if answer is not None}
        opened = {group: held for group, (_, held) in told.items() if held is not None}
        if len(opened) < len(self.groups):
            return None
        legs, numbers = place_legs({group: place for group, (place, _) in opened.items()})
        verdict = merge_votes(legs, {group: unpack_vote(packed) for group, (_, packed) in opened.items()}, numbers)
        return replace(self, decision=status_of(verdict.pack(), self.number, self.row))


def find_transfer(answers: Answers, debit: str, home: int) -> Found | None:
    """From the shards' answers to `["trace", "ledger", id]`. `home` is the shard of `debit` where that is known, else 0.

    What happened comes before what was refused or cancelled under the same id in another shard, then the first one. A transfer can be
    in several rounds: it waits for others, or comes again. The one that made the record counts; without a record one that is open, else
    the last one.
    """
    sights = [
        Sight(group, round_id, number, row, sides, Report(*report))
        for group, answer in answers.items()
        if answer is not None
        for round_id, number, row, sides, report in answer[2]
    ]
    sights = [sight for sight in sights if not home or home in sight.report.groups]
    records = [
        (group, answer[1])
        for group, answer in answers.items()
        if answer is not None and answer[1] is not None and (not home or (group == home and _is_of(answer[1], debit)))
    ]
    if records:
        group, record = min(records, key=lambda known: (known[1][0] != Status.created, known[1][1]))
        made = [seen for seen in sights if seen.group == group and seen.report.carried_out_ns == record[1]]
        return _found(group, record, made[0] if made else None, sights)
    if not sights:
        return None
    best = max(sights, key=lambda seen: (seen.report.carried_out_ns is None, seen.sides & DEBIT, seen.round_id))
    return _found(best.group, None, best, sights)


def _is_of(record: Body, debit: str) -> bool:
    return record[2] is None or record[2] == debit


def _found(group: int, record: Body | None, chosen: Sight | None, sights: Sequence[Sight]) -> Found:
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
    record = found.record or [status, None]
    epoch = epoch_of(found.round_id)
    return [record[0], record[1], protocol, found.round_id, epoch, coordinator, recorded_ns, decision, participants]


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
    status, timestamp_ns, *accounts = found.record
    groups = sorted({found.group, *(group_of(account) for account in accounts if account is not None)})
    protocol = ONE_SHARD if groups == [found.group] else None
    rows = [
        [group, leaders[group], None, None, None, timestamp_ns if group == found.group else None] for group in groups
    ]
    return [status, timestamp_ns, protocol, None, None, None, None, None, rows]


def undecided_rounds(answers: Answers, records: Body | None) -> tuple[list[Body], int]:
    """The oldest ones, and how many there are in all.

    `[[round id, protocol, groups, those that have prepared, when the first one heard of it in ns, ids, transactions], ...]`,
    from the groups' answers to `["open", "ledger"]` and then group 0's records. A round whose decision stands is left out, though some
    shard may not have heard of it.
    """
    told = [(group, answer) for group, answer in answers.items() if answer is not None]
    decided = dict.fromkeys(round_id for _, answer in told for round_id in answer[2])
    decided.update((round_id, None) for round_id, *_ in records or [])
    merged: dict[int, Body] = {}
    attempts: dict[int, list[int]] = {}
    for group, answer in told:
        for round_id, protocol, groups, opened_ns, has_prepared, attempt, ids, count in answer[1]:
            row = merged.setdefault(round_id, [round_id, protocol, groups, [], opened_ns, b"", count])
            row[3] += [group] if has_prepared else []
            row[4] = min(row[4], opened_ns)
            row[5] += ids
            attempts.setdefault(round_id, []).append(attempt)
    rows = [row for round_id, row in merged.items() if round_id not in decided and not _stands(row, attempts[round_id])]
    rows.sort(key=lambda row: row[4])
    for row in rows[:ROUNDS_MAX]:
        row[5] = _without_repeats(row[5])
    return rows[:ROUNDS_MAX], len(rows)


def _stands(row: Body, attempts: list[int]) -> bool:
    """Whether all have voted, where votes decide; else whether a majority of the participants has precommitted one attempt."""
    if PROTOCOLS[row[1]].decides_by_votes:
        return len(row[3]) == len(row[2])
    return any(epoch and 2 * attempts.count(epoch) > len(row[2]) for epoch in attempts)


def _without_repeats(ids: bytes) -> bytes:
    each = dict.fromkeys(ids[place : place + 16] for place in range(0, len(ids), 16))
    return b"".join(list(each)[:IDS_MAX])
