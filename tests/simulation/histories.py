"""Checks of what clients were told, once all is healed: exactly once, nothing lost, and linearizable.

Linearizability is checked account by account with a witness instead of a search: the log says in which order transfers
took effect, and an account's version says where in that order a read stands. The order must respect real time: a read
sees every transfer that was acknowledged before it began, none that began after it ended, and never less than an
earlier read; and its balance is the one that the account had there. A second check needs no log: each balance lies
between what the transfers acknowledged before the read and those begun before its end allow.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise

from protocol import ids
from protocol.status import Status
from protocol.views import Entry
from tests.simulation.invariants import Point
from tests.simulation.records import ACCEPTED, BUSY, NOT_SENT, Read, Records, Transfer

INT64_MAX = 2**63 - 1
CANCELLED, LINKED = Status.cancelled.name, Status.linked_event_failed.name
REVERSED = (Status.transfer_already_reversed.name, Status.exceeds_reversible_amount.name)
OVER = Status.exceeds_allowance.name


def check_outcomes(records: Records) -> list[str]:
    """Answers to one id never contradict each other, what is refused stays refused so, and chains happen as a whole."""
    broken = []
    chains: dict[int, list[bool]] = {}
    for transfer in records.transfers.values():
        outcomes = [one.outcome for one in transfer.attempts if one.is_definite]
        accepted = [outcome for outcome in outcomes if outcome in ACCEPTED]
        refused = [outcome for outcome in outcomes if outcome not in ACCEPTED]
        if accepted and (refused or transfer.final not in ACCEPTED):
            broken.append(f"transfer {transfer.id:032x}: accepted, and {refused or transfer.final}")
        lasting = [CANCELLED if outcome == LINKED else outcome for outcome in refused]  # that is recorded nowhere
        if refused and (len(dict.fromkeys(refused)) > 1 or transfer.final != lasting[0]):
            broken.append(f"transfer {transfer.id:032x}: {', '.join(refused)}, in the end {transfer.final}")
        if accepted.count("created") > 1:
            broken.append(f"transfer {transfer.id:032x}: created {accepted.count('created')} times")
        nothing = all(one.outcome in (BUSY, NOT_SENT) for one in transfer.attempts)
        if nothing and transfer.final in ACCEPTED:
            broken.append(f"transfer {transfer.id:032x}: happened, but every attempt said that nothing had")
        if transfer.chain:
            chains.setdefault(transfer.chain, []).append(transfer.is_created)
    broken += [f"chain {chain} happened in part: {parts}" for chain, parts in chains.items() if len(set(parts)) > 1]
    return broken


def check_reversals(records: Records) -> list[str]:
    """Of no transfer more was given back than it has moved, and of none that has not happened anything; what was left may be given."""
    broken: list[str] = []
    given: dict[int, int] = {}
    for transfer in records.created():
        if transfer.reverses:
            given[transfer.reverses] = given.get(transfer.reverses, 0) + transfer.amount
    for id, amount in given.items():
        origin = records.transfers[id]
        moved = origin.amount if origin.is_created else 0
        if amount > moved:
            broken.append(f"transfer {id:032x}: {amount} given back of {moved}")
    for transfer in [one for one in records.transfers.values() if one.reverses]:
        is_lost = transfer.final == Status.reversed_transfer_not_found.name
        if is_lost and records.transfers[transfer.reverses].accepted_at < transfer.invoked_at:
            broken.append(f"transfer {transfer.reverses:032x} was accepted, and then not found")
        if transfer.final in REVERSED and not transfer.chain:
            paid, back = records.transfers[transfer.reverses].amount, given.get(transfer.reverses, 0)
            if back + transfer.amount <= paid:
                broken.append(
                    f"transfer {transfer.reverses:032x}: {transfer.amount} not given back, and {back} of {paid}"
                )
    return broken


def check_allowances(records: Records) -> list[str]:
    """None is exceeded, and none has refused what fits: what was paid out by then, and so in the end, leaves no room for it."""
    broken = []
    for name, limit in records.allowances.items():
        mine = [transfer for transfer in records.transfers.values() if transfer.debit == name]
        paid = sum(transfer.amount for transfer in mine if transfer.is_created)
        if paid > limit:
            broken.append(f"allowance of {name}: {paid} paid out of {limit}")
        for transfer in mine:
            is_refused = OVER in (transfer.final, *(one.outcome for one in transfer.attempts))
            if is_refused and not transfer.chain and not transfer.balancing and paid + transfer.amount <= limit:
                broken.append(f"allowance of {name}: {transfer.amount} refused, and {paid} of {limit} in the end")
    return broken


def check_account(name: str, posted: int, history: Sequence[int], records: Records) -> list[str]:
    """The account holds each transfer that happened exactly once, nothing else, and their sum."""
    counts = Counter(history)
    broken, total = [], 0
    for transfer in records.transfers.values():
        if name not in (transfer.debit, transfer.credit):
            continue
        found = counts.pop(transfer.id, 0)
        if found != transfer.is_created:
            told = [attempt.outcome for attempt in transfer.attempts]
            broken.append(
                f"{name}: {transfer.kind} {transfer.id:032x} is there {found} times, {told}, {transfer.final}"
            )
        total += _effect(transfer, name) if transfer.is_created else 0
    broken += [f"{name}: unknown transfer {id:032x}" for id in counts]
    if total != posted:
        broken.append(f"{name}: posted {posted}, but its transfers make {total}")
    return broken


def check_times(name: str, history: Sequence[Entry], *, is_split: bool) -> list[str]:
    """Later rows have later times; those of a split account come from several logs, so two may have the same one."""
    return [
        f"{name}: {second.id:032x} of {second.timestamp_ns} ns stands behind {first.id:032x} of {first.timestamp_ns} ns"
        for first, second in pairwise(history)
        if second.timestamp_ns < first.timestamp_ns + (0 if is_split else 1)
    ]


def _effect(transfer: Transfer, name: str) -> int:
    if transfer.kind in ("hold", "void"):
        return 0
    return transfer.amount if name == transfer.credit else -transfer.amount


def _changes(transfer: Transfer, name: str) -> bool:
    """A hold, and giving it back, changes nothing at its credit account."""
    return name == transfer.debit or (name == transfer.credit and transfer.kind not in ("hold", "void"))


def check_reads(
    name: str, records: Records, points: Sequence[Point], effects: Mapping[tuple[bytes, str], int]
) -> list[str]:
    """The reads of one account, against the log's order."""
    reads = [read for read in records.reads if read.account == name]
    created = [one for one in records.created() if _changes(one, name)]
    placed = [(one, effects[ids.pack(one.id), name]) for one in created if (ids.pack(one.id), name) in effects]
    return [
        *_check_states(name, reads, points), *_check_order(name, reads),
        *_check_seen(name, reads, placed), *_check_bounds(name, reads, created),
    ]  # fmt: skip


def check_refusals(records: Records) -> list[str]:
    """No debit is refused that the account's funds covered all the time, whatever was under way."""
    credits: dict[str, list[Transfer]] = {}
    debits: dict[str, list[Transfer]] = {}
    for transfer in records.created():
        credits.setdefault(transfer.credit, []).extend([transfer] if transfer.kind in ("plain", "capture") else [])
        debits.setdefault(transfer.debit, []).extend([transfer] if transfer.kind != "void" else [])
    broken = []
    for refused in records.transfers.values():
        answers = [one.returned for one in refused.attempts if one.outcome == "insufficient_funds"]
        if not answers or refused.chain or refused.kind == "capture":
            continue
        least = sum(one.amount for one in credits.get(refused.debit, ()) if one.accepted_at < refused.invoked_at)
        least -= sum(one.amount for one in debits.get(refused.debit, ()) if one.invoked_at <= min(answers))
        wanted = {"": refused.amount, "credit": refused.limit or INT64_MAX}.get(refused.balancing, 1)
        if least >= wanted:
            broken.append(f"{refused.debit}: {wanted} was refused, but {least} or more was there")
    return broken


def check_sums_of_shares(name: str, records: Records) -> list[str]:
    """The reads of a split account, whose shares' logs give no one order: by their versions, and by what was known when."""
    reads = [read for read in records.reads if read.account == name]
    created = [one for one in records.created() if name in (one.debit, one.credit)]
    return [*_check_order(name, reads), *_check_bounds(name, reads, created)]


def _check_states(name: str, reads: Sequence[Read], points: Sequence[Point]) -> list[str]:
    states = {point.index: (point.posted, point.held) for point in points}
    broken = []
    for read in reads:
        posted, held = states.get(read.version, (None, None))
        if read.posted != posted or read.held not in (None, held):
            told = f"{read.posted}/{read.held}"
            broken.append(f"{name}: a read at version {read.version} gave {told}, in the log it is {posted}/{held}")
    return broken


def _check_order(name: str, reads: Sequence[Read]) -> list[str]:
    returned = sorted(reads, key=lambda read: read.returned)
    times = [read.returned for read in returned]
    highest: list[int] = []
    for read in returned:
        highest.append(max(read.version, highest[-1] if highest else 0))
    broken = []
    for read in reads:
        before = bisect_left(times, read.invoked)
        if before and highest[before - 1] > read.version:
            broken.append(
                f"{name}: a read at {read.invoked:.3f} s went back from version {highest[before - 1]} to {read.version}"
            )
    return broken


def _check_seen(name: str, reads: Sequence[Read], placed: Sequence[tuple[Transfer, int]]) -> list[str]:
    accepted = sorted((one.accepted_at, index) for one, index in placed)
    accepted_times = [time for time, _ in accepted]
    highest: list[int] = []
    for _, index in accepted:
        highest.append(max(index, highest[-1] if highest else 0))
    invoked = sorted(((one.invoked_at, index) for one, index in placed), reverse=True)
    lowest: list[int] = []
    for _, index in invoked:
        lowest.append(min(index, lowest[-1] if lowest else index))
    lowest.reverse()
    invoked_times = sorted(time for time, _ in invoked)
    broken = []
    for read in reads:
        before = bisect_left(accepted_times, read.invoked)
        if before and highest[before - 1] > read.version:
            broken.append(f"{name}: a read at {read.invoked:.3f} s misses a transfer acknowledged before it")
        after = bisect_right(invoked_times, read.returned)
        if after < len(lowest) and lowest[after] <= read.version:
            broken.append(f"{name}: a read at {read.invoked:.3f} s saw a transfer from the future")
    return broken


def _check_bounds(name: str, reads: Sequence[Read], created: Sequence[Transfer]) -> list[str]:
    broken = []
    moves = [(one.invoked_at, one.accepted_at, _effect(one, name)) for one in created]
    for read in reads:
        least = most = 0
        for invoked, accepted, effect in moves:
            is_surely_in, may_be_in = accepted < read.invoked, invoked < read.returned
            least += effect if is_surely_in or (effect < 0 and may_be_in) else 0
            most += effect if is_surely_in or (effect > 0 and may_be_in) else 0
        if not least <= read.posted <= most:
            broken.append(f"{name}: a read at {read.invoked:.3f} s gave {read.posted}, not in {least} to {most}")
    return broken
