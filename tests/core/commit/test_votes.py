"""How the votes of a round's shards add up."""

from __future__ import annotations

import numpy as np
import pytest

from node.core.commit.legs import CREDIT, DEBIT, Legs
from node.core.commit.votes import merge_votes
from node.core.machine import SETTLED, Body
from protocol.status import Status

EUR = 7


def leg(rows: list[int], side: int) -> Legs:
    """The legs of the given rows, all on one side."""
    return Legs(np.array(rows), np.full(len(rows), side, np.uint8), "ledger", [])


def vote(rows: list[int], transactions: list[int]) -> Body:
    """A shard's answer: the ledger's status a row, and the shard's status a transaction."""
    extra = np.full(len(rows), EUR, "<u2").tobytes() + bytes(rows)
    return ["votes", bytes(transactions), [["ledger", extra]]]


def merged(first: Body, second: Body, numbers: list[int]) -> list[int]:
    """Statuses a transfer, where the first shard holds all debits and the second all credits."""
    rows = list(range(len(numbers)))
    legs = {1: leg(rows, DEBIT), 2: leg(rows, CREDIT)}
    return [int(status) for status in merge_votes(legs, {1: first, 2: second}, np.array(numbers, np.int32))[1]]


def test_another_parts_refusal_counts_like_the_ledgers() -> None:
    """A part that the ledger knows nothing of can refuse a transaction; the reason reaches the client."""
    limit = int(Status.exceeds_maximum_balance)
    assert merged(vote([0, 0], [limit, 0]), vote([0, 0], [0, 0]), [0, 1]) == [limit, 0]


def test_the_ledgers_reason_names_the_row_of_a_chain() -> None:
    """Where the ledger objects to one row of a chain, its other rows fail for that only."""
    funds = int(Status.insufficient_funds)
    assert merged(vote([0, funds], [funds]), vote([0, 0], [0]), [0, 0]) == [Status.linked_event_failed, funds]


def test_a_repeated_chain_waits_for_the_shard_that_does_not_know_yet() -> None:
    """`exists` in one shard and `undecided` in the other: the chain came before, and is asked again as a whole."""
    exists, undecided = int(Status.exists), int(Status.undecided)
    assert merged(vote([exists, 0], [exists]), vote([0, undecided], [undecided]), [0, 0]) == [undecided, undecided]
    assert merged(vote([exists, exists], [exists]), vote([0, 0], [0]), [0, 0]) == [exists, exists]


@pytest.mark.parametrize("first", [0, 1, 56, 100])
@pytest.mark.parametrize("second", [0, 41, 56, 101])
@pytest.mark.parametrize("other_part", [0, 57])
def test_a_lone_transfer_is_judged_like_one_of_many(first: int, second: int, other_part: int) -> None:
    """The short way for a single row gives what the columns give."""
    alone = merged(vote([first], [first or other_part]), vote([second], [second]), [0])
    many = merged(vote([first] * 2, [first or other_part] * 2), vote([second] * 2, [second] * 2), [0, 1])
    assert alone * 2 == many


def test_a_lone_transfer_between_currencies_is_refused() -> None:
    """The shard that does not know its account says nothing about a currency."""
    legs = {1: leg([0], DEBIT), 2: leg([0], CREDIT)}
    for currency, expected in ((EUR, 0), (EUR + 1, Status.accounts_must_have_the_same_currency), (0, 0)):
        other: Body = ["votes", bytes(1), [["ledger", np.array([currency], "<u2").tobytes() + bytes(1)]]]
        statuses, _ = merge_votes(legs, {1: vote([0], [0]), 2: other}, np.zeros(1, np.int32))
        assert statuses.tolist() == [expected]


@pytest.mark.parametrize("settled", ["insufficient_funds", "cancelled", "exists", "undecided"])
@pytest.mark.parametrize("other", ["lock_not_held", "credit_account_frozen", "credit_account_not_found", "retry"])
def test_an_id_that_was_used_gets_its_own_outcome(settled: str, other: str) -> None:
    """Whatever has come in the way since: what the debit side knows of the id is the answer, also that it is still open."""
    known, now = int(Status[settled]), int(Status[other])
    assert merged(vote([known | SETTLED], [known]), vote([now], [now]), [0]) == [known]
    both = merged(vote([known | SETTLED, 0], [known, 0]), vote([now, now], [now, now]), [0, 1])
    assert both == [known, now]
    assert merged(vote([known | SETTLED], [known]), ["void"], [0]) == [known]
