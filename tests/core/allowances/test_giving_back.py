"""What a void or a final capture gives back is there for whatever comes behind it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from node.core.machine import pack_decision
from protocol.columns import Flag
from protocol.status import Status
from tests.core.allowances.driving import (
    CAPTURE,
    ENDINGS,
    FINAL,
    HOLD,
    LINKED,
    OVER,
    VOID,
    begin_day,
    opened_in_a_round,
    paid,
    pay,
)
from tests.core.ledger.model import Transfer
from tests.core.machine.shards import Shard, decision, legs, votes


@pytest.mark.parametrize("verdict", [0, int(Status.credit_account_closed)])
@pytest.mark.parametrize("row", ENDINGS, ids=["void", "final capture"])
def test_a_transaction_of_a_round_may_pay_what_it_gives_back(shard: Shard, row: Transfer, verdict: int) -> None:
    """Not to the cent more, not before it gives it back, and another transaction waits for the decision."""
    opened_in_a_round(shard, 5, 0)
    assert pay(shard, 11, 60) == 0
    back = 30 - row.amount
    for round_id, rows in (
        (6, [row, Transfer(21, "a", "far", 11 + back, side=1)]),
        (7, [Transfer(22, "a", "far", 10 + back, side=1), replace(row, id=23)]),
    ):
        assert votes(shard.prepare(round_id, 1, ("ledger", legs(rows)))) == [OVER]
        shard.decide((round_id, decision(OVER)))
    rows = [
        replace(row, id=30), Transfer(31, "a", "far", 10, side=1), Transfer(32, "a", "far", back, side=1),
        Transfer(33, "a", "far", 10, side=1, number=1),
    ]  # fmt: skip
    assert votes(shard.prepare(8, 2, ("ledger", legs(rows)))) == [0, Status.undecided]
    assert pay(shard, 40, 1) == Status.undecided
    shard.decide((8, pack_decision(np.array([verdict, Status.undecided], np.uint8))))
    assert paid(shard) == (90 if verdict else 100)
    assert (pay(shard, 41, 11), pay(shard, 42, 10)) == ((OVER, 0) if verdict else (OVER, OVER))


@pytest.mark.parametrize("others", [0, 300], ids=["few", "many"])
@pytest.mark.parametrize("linked", [0, int(Flag.linked)], ids=["apart", "chain"])
@pytest.mark.parametrize("end", [VOID, CAPTURE | FINAL], ids=["void", "final capture"])
def test_a_payment_may_use_what_a_row_before_it_gives_back(shard: Shard, end: int, linked: int, others: int) -> None:
    """In the same request, whether the hold is older than it or not; and it is given back once."""
    beside = [Transfer(1_000 + n, "world", "b", 1) for n in range(others)]
    for first in (10, 20):  # a hold of this request, then an older one
        held = Transfer(first, "a", "b", 100, HOLD | linked, ttl=60)
        amount = 0 if end == VOID else 40
        back = [
            Transfer(first + 1, "a", "b", amount, end | linked, hold_id=first),
            Transfer(first + 2, "a", "b", 100 - amount),
        ]
        if first == 10:
            assert shard.transfers(held, *back, *beside) == [0] * (3 + others)
        else:
            assert shard.transfers(replace(held, flags=HOLD)) == [0]
            assert shard.transfers(*back) == [0, 0]
        assert (paid(shard), pay(shard, first + 3, 1)) == (100, OVER)
        begin_day(shard, 0)


@pytest.mark.parametrize("is_final", [False, True])
def test_a_refused_chain_gives_nothing_back(shard: Shard, *, is_final: bool) -> None:
    """Whether the ledger refuses it, or the allowance: a payment beside it is judged without it."""
    assert shard.transfers(Transfer(10, "a", "b", 100, HOLD, ttl=60)) == [0]
    ends = Transfer(11, "a", "b", 0, VOID | LINKED, hold_id=10)
    wrong = Transfer(12, "b", "a", 10**6) if is_final else Transfer(12, "a", "b", 101)
    reason = int(Status.insufficient_funds) if is_final else OVER
    linked_failed = int(Status.linked_event_failed)
    assert shard.transfers(ends, wrong, Transfer(13, "a", "b", 1)) == [linked_failed, reason, OVER]
    assert shard.transfers(Transfer(14, "a", "b", 0, VOID, hold_id=10), Transfer(15, "a", "b", 100)) == [0, 0]


def test_a_hold_of_yesterday_gives_nothing_to_the_row_behind_its_end(shard: Shard) -> None:
    """It has taken nothing of today, within a shard or in a round."""
    for id in (10, 11):
        assert shard.transfers(Transfer(id, "a", "b", 50, HOLD, ttl=10**6)) == [0]
    begin_day(shard, 0)
    assert shard.transfers(Transfer(12, "a", "b", 0, VOID, hold_id=10), Transfer(13, "a", "b", 101)) == [0, OVER]
    rows = [Transfer(14, "a", "b", 0, VOID, hold_id=11, side=1), Transfer(15, "a", "far", 101, side=1)]
    assert votes(shard.prepare(6, 1, ("ledger", legs(rows)))) == [OVER]


def test_a_transaction_of_a_round_may_pay_what_two_holds_give_back(shard: Shard) -> None:
    """All that they were opened with."""
    holds = [Transfer(id, "a", "b", 50, HOLD, ttl=60) for id in (10, 11)]
    assert shard.transfers(*holds) == [0, 0]
    ends = [Transfer(id + 10, "a", "b", 0, VOID, hold_id=id, side=3) for id in (10, 11)]
    assert votes(shard.prepare(8, 1, ("ledger", legs([*ends, Transfer(22, "a", "far", 100, side=1)])))) == [0]


@pytest.mark.parametrize("row", ENDINGS, ids=["void", "final capture"])
def test_who_asks_while_a_round_ends_a_hold_waits_for_it(shard: Shard, row: Transfer) -> None:
    """A client may know already that it is decided."""
    assert shard.transfers(Transfer(10, "a", "b", 30, HOLD, ttl=60)) == [0]
    assert votes(shard.prepare(8, 1, ("ledger", legs([replace(row, credit="b", side=3)])))) == [0]
    assert shard.query("allowances", "allowance", "a").is_undecided
    shard.decide((8, decision(0)))
    assert not shard.query("allowances", "allowance", "a").is_undecided


def test_a_row_that_repeats_one_of_its_own_chain_is_not_settled_by_that(shard: Shard) -> None:
    """The first row that fails counts, whichever part refuses it: within a shard, and in a round."""
    rows = [
        Transfer(10, "a", "b", 60, HOLD, ttl=60),
        Transfer(11, "a", "b", 50),
        Transfer(10, "a", "b", 20, HOLD, ttl=60),
    ]
    linked = [replace(row, flags=row.flags | (LINKED if place < 2 else 0)) for place, row in enumerate(rows)]
    assert shard.transfers(*linked) == [Status.linked_event_failed, OVER, Status.linked_event_failed]
    away = [replace(row, id=row.id + 20, credit="far", side=1) for row in rows]
    assert votes(shard.prepare(9, 1, ("ledger", legs(away)))) == [OVER]
