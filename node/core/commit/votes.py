"""What the votes of a round's shards add up to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from node.core.commit.legs import CREDIT, DEBIT, Legs
from node.core.machine import (
    NO_ROWS,
    NOT_SURE,
    NOT_TOLD,
    SETTLED,
    Int32s,
    Marks,
    Statuses,
    Superseded,
    Votes,
    first_failures,
    pack_decision,
)
from protocol.status import REPEATED, Status

SILENT = int(Status.retry)
TRANSIENT = int(Status.elsewhere)  # from here on a status is no outcome
TOLD_BYTES = (
    3  # of each row, by the ledger: its currency and its status; behind them how far apart, if any is balancing
)
UNDECIDED = int(Status.undecided)  # numpy is slow with members of an enum
EXISTS, LINKED = int(Status.exists), int(Status.linked_event_failed)
OF_AMOUNTS: Marks = np.isin(np.arange(256), [int(status) for status in Status if status.is_of_amount])
"""Objections that another amount may not meet."""
Vote = Votes | Superseded
"""Of a shard that is silent it is `Superseded`, too: nothing was reserved that counts."""
ANSWERS: Statuses = np.arange(256, dtype=np.uint8)
"""How each status is answered where the id was known."""
ANSWERS[[int(status) for status in Status if status.is_recorded and status != Status.created]] |= REPEATED


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of a round."""

    transactions: Statuses  # what is decided, one a transaction
    rows: Statuses  # what its sender is told, one a transfer, with `REPEATED` where it was on record
    failed: Int32s  # the row at which each transaction failed; empty where every transaction is one transfer
    apart: NDArray[np.int64] | None = (
        None  # how far from what each row can move the amount was that the round has tried
    )

    def pack(self) -> bytes:
        """The decision."""
        return pack_decision(self.transactions, self.failed)


@dataclass(slots=True)
class _Words:
    """One a transfer."""

    debit: Statuses  # of the shard that its id belongs to; silent until it has voted
    known: Marks  # whether that knew the id
    others: Statuses  # the smallest objection of anybody
    currencies: NDArray[np.uint16]  # of the debit and of the credit account, 0: not known
    tries: _Tries | None = None


@dataclass(slots=True)
class _Tries:
    """What the shards tell of the amounts that were tried for balancing rows, one a transfer."""

    apart: NDArray[np.int64]  # the least that any shard has told
    told: NDArray[np.uint8]  # how many shards have; two for a row whose accounts are in two

    @classmethod
    def of(cls, legs: dict[int, Legs], votes: Mapping[int, Vote], count: int) -> _Tries | None:
        """None where no shard that has voted has a balancing row."""
        told = [(leg.rows, _apart_of(leg, votes[group])) for group, leg in legs.items()]
        if all(apart is None for _, apart in told):
            return None
        tries = cls(np.full(count, NOT_SURE), np.zeros(count, np.uint8))
        for rows, apart in told:
            if apart is not None:
                tries.apart[rows] = np.minimum(tries.apart[rows], np.where(apart == NOT_TOLD, NOT_SURE, apart))
                tries.told[rows] += _is_told(apart)
        return tries

    def waits(self, leg: Legs, vote: Votes, told: Statuses, numbers: NDArray[np.int32]) -> Marks:
        """Which objections of a shard are to an amount that may still be another one: its own row's, or one before it in its chain.

        It may where one of the two shards has told of it and the other has not. Whoever has not told objects to something else.
        """
        is_open = self.told == 1
        latest = np.maximum.accumulate(np.where(is_open, np.arange(len(numbers)), -1))
        before = np.concatenate(([-1], latest[:-1]))
        is_behind = ((before >= 0) & (numbers[before] == numbers))[leg.rows]
        apart = _apart_of(leg, vote)
        is_at = is_open[leg.rows] & _is_told(apart) if apart is not None else np.zeros(len(leg.rows), np.bool_)
        marks: Marks = OF_AMOUNTS[told] & (is_behind | is_at) | (told == UNDECIDED) & is_at
        return marks

    def settle(self, words: _Words) -> NDArray[np.int64]:
        """Rows that were tried with another amount than they can move are undecided; by how much, as far as it is known."""
        wrong = (self.told == 2) & (self.apart != 0) & ~words.known
        words.debit[wrong & (words.debit < TRANSIENT)] = UNDECIDED
        return np.where(words.known, 0, np.where(wrong, self.apart, np.minimum(self.apart, 0)))


def _apart_of(leg: Legs, vote: Vote) -> NDArray[np.int64] | None:
    """What a shard has told of each row's amount; None where it has no balancing row."""
    extra = vote.told.get("ledger", b"") if isinstance(vote, Votes) else b""
    if len(extra) <= TOLD_BYTES * len(leg.rows):
        return None
    return np.frombuffer(extra, "<i8", len(leg.rows), offset=TOLD_BYTES * len(leg.rows))


def _is_told(apart: NDArray[np.int64]) -> Marks:
    marks: Marks = (apart != NOT_TOLD) & (apart != NOT_SURE)
    return marks


def merge_votes(legs: dict[int, Legs], votes: Mapping[int, Vote], numbers: NDArray[np.int32]) -> Verdict:
    """`numbers` is the transaction of each transfer.

    An id belongs to its debit account's shard, and what is final is recorded there. So no transaction has a final status without
    the word of the shards of all its debits: while one of them is silent (`Superseded`), cannot tell or must wait, that is the status.
    An id that was used before gets the outcome that it had or will have, whatever else is wrong by now. Else the first
    objection of anybody counts; between shards, the currencies must agree. Where the round has tried another amount for a balancing
    row than it can move, the row waits for the next one. So does an objection to an amount that not both of its shards have looked at.
    """
    lone = _merge_one(legs, votes) if len(numbers) == 1 else None
    if lone is not None:
        status, is_known = lone
        one = np.array([status], np.uint8)
        return Verdict(one, ANSWERS[one] if is_known else one, NO_ROWS)
    words = _gather(legs, votes, numbers)
    apart = None if words.tries is None else words.tries.settle(words)
    merged = first_failures(words.debit, words.others)
    merged = np.where(words.known | (words.debit >= TRANSIENT), words.debit, merged).astype(np.uint8)
    if int(numbers[-1]) + 1 == len(numbers):
        rows = np.where(words.known, ANSWERS[merged], merged) if words.known.any() else merged
        return Verdict(merged, rows, NO_ROWS, apart)
    return replace(_by_transaction(merged, words, numbers), apart=apart)


def _merge_one(legs: dict[int, Legs], votes: Mapping[int, Vote]) -> tuple[int, bool] | None:
    """The same for a lone transfer, in plain integers: numpy's fixed costs would be most of its time. Whether its id was known.

    None for a balancing one.
    """
    word = SILENT
    failures: list[int] = []
    currencies: list[int] = []
    for group, leg in legs.items():
        vote = votes[group]
        if isinstance(vote, Superseded):
            failures.append(SILENT)
            continue
        own: int = vote.statuses[0]
        if leg.part == "ledger":
            extra = vote.told["ledger"]
            if len(extra) > TOLD_BYTES:
                return None
            currencies.append(int.from_bytes(extra[:2], "little"))
            own = extra[2] & ~SETTLED or own
            if leg.sides[0] & DEBIT:
                if extra[2] & SETTLED:
                    return own, True
                word = own
        failures.append(own)
    if word >= TRANSIENT:
        return word, False
    if len(dict.fromkeys(filter(None, currencies))) > 1:
        failures.append(int(Status.accounts_must_have_the_same_currency))
    return min(filter(None, failures), default=0), False


def _gather(legs: dict[int, Legs], votes: Mapping[int, Vote], numbers: NDArray[np.int32]) -> _Words:
    count = len(numbers)
    debit, others = np.full(count, SILENT, np.uint8), np.zeros(count, np.uint8)
    tries = _Tries.of(legs, votes, count)
    words = _Words(debit, np.zeros(count, np.bool_), others, np.zeros((2, count), np.uint16), tries)
    for group, leg in legs.items():
        vote = votes[group]
        if isinstance(vote, Superseded):
            own = np.full(len(leg.rows), SILENT, np.uint8)
        elif leg.part != "ledger":
            own = np.frombuffer(vote.told[leg.part], np.uint8)
        else:
            own = _gather_ledger(words, leg, vote, numbers)
        if own.any():
            others[leg.rows] = first_failures(others[leg.rows], own)
    first, second = words.currencies
    differ = (first != second) & (first != 0) & (second != 0)
    if differ.any():
        words.others = first_failures(others, differ * np.uint8(Status.accounts_must_have_the_same_currency))
    return words


def _gather_ledger(words: _Words, leg: Legs, vote: Votes, numbers: NDArray[np.int32]) -> Statuses:
    """The objections of a shard to its legs. Those to an amount that may be another one are no word yet, but something to wait for."""
    extra = vote.told["ledger"]
    seen = np.frombuffer(extra, "<u2", len(leg.rows))
    told = np.frombuffer(extra, np.uint8, len(leg.rows), offset=2 * len(leg.rows))
    has_debit, has_credit = (leg.sides & DEBIT) != 0, (leg.sides & CREDIT) != 0
    debit_rows, credit_rows = leg.rows[has_debit], leg.rows[has_credit]
    words.currencies[0, debit_rows], words.currencies[1, credit_rows] = seen[has_debit], seen[has_credit]
    own = told & ~np.uint8(SETTLED)
    if np.frombuffer(vote.statuses, np.uint8).any():
        own = np.where(own != 0, own, _of_other_parts(own, vote.statuses, numbers[leg.rows])).astype(np.uint8)
        words.known[debit_rows] = ((told >= SETTLED) | (told == EXISTS))[has_debit]
    if words.tries is None:
        words.debit[debit_rows] = own[has_debit]
        return own
    waits = words.tries.waits(leg, vote, own, numbers) & (told < SETTLED)
    words.debit[debit_rows] = np.where(waits, 0, own)[has_debit]
    return np.where(waits, UNDECIDED, own).astype(np.uint8)


def _of_other_parts(own: Statuses, votes: bytes, numbers: NDArray[np.int32]) -> Statuses:
    """The shard's votes, one a row, where the ledger has no objection of its own to the row's transaction."""
    all_votes = np.frombuffer(votes, np.uint8)
    objected = np.zeros(len(all_votes), np.bool_)
    objected[numbers[own != 0]] = True
    return np.where(objected[numbers], 0, all_votes[numbers]).astype(np.uint8)


def _by_transaction(merged: Statuses, words: _Words, numbers: NDArray[np.int32]) -> Verdict:
    """A transaction fails at one of its transfers; the others of it are `linked_event_failed`, which is recorded nowhere.

    That is one whose shard has no word yet, else the first that is known, so that a repeated chain fails where it failed before,
    else the first that is refused, else the first that must wait. Whoever waits, waits as a whole. A chain that happened before
    is `exists` all along.
    """
    starts = np.flatnonzero(np.diff(numbers, prepend=-1))
    rank = np.full(len(merged), 4, np.int64)
    rank[merged != 0] = 3
    rank[(merged != 0) & (merged < TRANSIENT)] = 2
    rank[words.known & (merged != 0)] = 1
    is_silent = words.debit >= TRANSIENT
    rank[is_silent] = 0
    key = rank << 40 | np.where(is_silent, merged, 0).astype(np.int64) << 32 | np.arange(len(merged))
    best = np.minimum.reduceat(key, starts)
    failed = (best & 0xFFFFFFFF).astype(np.int32)
    transactions = merged[failed]
    failed[transactions == 0] = -1
    own = transactions[numbers]
    rows = np.where((own == 0) | (own >= UNDECIDED), own, LINKED).astype(np.uint8)
    told = np.where(words.known[failed], ANSWERS[transactions], transactions)
    rows[failed[failed >= 0]] = told[failed >= 0]
    has_happened = np.logical_and.reduceat(merged == EXISTS, starts)
    rows[has_happened[numbers]] = EXISTS
    return Verdict(transactions, rows, failed)
