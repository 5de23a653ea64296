"""What the votes of a round's shards add up to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from node.core.commit.legs import CREDIT, DEBIT, Legs
from node.core.machine import SETTLED, Body, Statuses, first_failures
from protocol.status import Status


def merge_votes(legs: dict[int, Legs], votes: dict[int, Body], numbers: NDArray[np.int32]) -> tuple[Statuses, Statuses]:
    """The round's statuses, one a transaction and one a transfer. `numbers` is the transaction of each transfer.

    A group that did not vote (`void`) makes its transfers `retry`. Between shards, the currencies must agree. An id that was used
    before gets the outcome that it had or will have, whatever else is wrong by now.
    """
    if len(numbers) == 1:
        one = np.array([_merge_one(legs, votes)], np.uint8)
        return one, one
    rows, settled = np.zeros(len(numbers), np.uint8), np.zeros(len(numbers), np.uint8)
    currencies = np.zeros((2, len(numbers)), np.uint16)
    for group, leg in legs.items():
        vote = votes[group]
        if vote[0] != "votes":
            rows[leg.rows] = first_failures(rows[leg.rows], np.full(len(leg.rows), Status.retry, np.uint8))
            continue
        if leg.part != "ledger":
            own = np.frombuffer(dict(vote[2])[leg.part], np.uint8)
            rows[leg.rows] = first_failures(rows[leg.rows], own)
            continue
        extra = dict(vote[2])["ledger"]
        seen = np.frombuffer(extra, "<u2", len(leg.rows))
        told = np.frombuffer(extra, np.uint8, len(leg.rows), offset=2 * len(leg.rows))
        own = told & ~np.uint8(SETTLED)
        settled[leg.rows[own != told]] = own[own != told]
        own = first_failures(own, _of_other_parts(own, vote[1], numbers[leg.rows]))
        rows[leg.rows] = first_failures(rows[leg.rows], own)
        for side, bit in ((0, DEBIT), (1, CREDIT)):
            mine = (leg.sides & bit) != 0
            currencies[side, leg.rows[mine]] = seen[mine]
    differ = (currencies[0] != currencies[1]) & (currencies[0] != 0) & (currencies[1] != 0)
    rows = first_failures(rows, np.where(differ, Status.accounts_must_have_the_same_currency, 0).astype(np.uint8))
    rows = np.where(settled != 0, settled, rows)
    count = int(numbers[-1]) + 1
    if count == len(numbers):
        return rows, rows
    return _by_transaction(rows, numbers, count)


def _merge_one(legs: dict[int, Legs], votes: dict[int, Body]) -> int:
    """The same for a lone transfer, in plain integers: numpy's fixed costs would be most of its time."""
    failures: list[int] = []
    currencies: list[int] = []
    for group, leg in legs.items():
        vote = votes[group]
        if vote[0] != "votes":
            failures.append(Status.retry)
        elif leg.part != "ledger":
            failures.append(vote[1][0])
        else:
            extra = dict(vote[2])["ledger"]
            currencies.append(int.from_bytes(extra[:2], "little"))
            if extra[2] & SETTLED:
                return int(extra[2]) & ~SETTLED
            failures.append(extra[2] or vote[1][0])
    if len(dict.fromkeys(filter(None, currencies))) > 1:
        failures.append(Status.accounts_must_have_the_same_currency)
    return min(filter(None, failures), default=0)


def _of_other_parts(own: Statuses, votes: bytes, numbers: NDArray[np.int32]) -> Statuses:
    """The shard's votes, one a row, where the ledger has no objection of its own to the row's transaction."""
    all_votes = np.frombuffer(votes, np.uint8)
    if not all_votes.any():
        return np.zeros(len(own), np.uint8)
    objected = np.zeros(len(all_votes), np.bool_)
    objected[numbers[own != 0]] = True
    return np.where(objected[numbers], 0, all_votes[numbers]).astype(np.uint8)


def _by_transaction(rows: Statuses, numbers: NDArray[np.int32], count: int) -> tuple[Statuses, Statuses]:
    """A transaction fails for its first failing transfer; the others of it are `linked_event_failed`.

    Where that is final, a transfer behind it that would have had to wait waits no more: alone it must never be tried again.
    Only `exists` waits for the others: the transaction came before, and where one shard knows its outcome the next one will.
    """
    transactions = np.zeros(count, np.uint8)
    failed = np.flatnonzero(rows)[::-1]
    transactions[numbers[failed]] = rows[failed]
    waits = np.zeros(count, np.bool_)
    waits[numbers[rows >= Status.undecided]] = True
    transactions[(transactions == Status.exists) & waits] = Status.undecided
    is_final = (rows != 0) & (rows < Status.undecided)
    final = np.where(is_final, rows, np.where(transactions[numbers] != 0, Status.linked_event_failed, 0))
    transient = transactions[numbers] >= Status.undecided
    return transactions, np.where(transient, transactions[numbers], final).astype(np.uint8)
