"""The checkers of balancing rows, holds and reversals: what can be passes, and what cannot is named."""

from __future__ import annotations

from typing import Any

import pytest

from tests.simulation.amounts import check_balancing, check_held, check_holds
from tests.simulation.histories import check_refusals, check_reversals
from tests.simulation.records import Attempt, Records, Transfer

NEVER = float("inf")


def records_of(*transfers: Transfer) -> Records:
    """Of a bank in which only the world has no minimum, and dan may owe 50."""
    return Records({one.id: one for one in transfers}, unlimited={"world": None}, overdrafts={"dan": 50})


def paid(id: int, debit: str, credit: str, amount: int, at: float, until: float = 0.0, **more: Any) -> Transfer:
    """One that has happened, between these times."""
    attempts = [Attempt(at, until or at + 0.5, "created")]
    return Transfer(id, debit, credit, amount, attempts=attempts, final="created", **more)


FUNDS = paid(1, "world", "alice", 100, 0.0)


@pytest.mark.parametrize(
    ("balancing", "holds"),
    [
        (paid(2, "alice", "bob", 100, 5.0, balancing="debit"), True),
        (paid(2, "alice", "bob", 99, 5.0, balancing="debit"), False),
        (paid(2, "alice", "bob", 101, 5.0, balancing="debit"), False),
        (paid(2, "alice", "bob", 30, 5.0, balancing="debit", limit=30), True),
        (paid(2, "alice", "bob", 31, 5.0, balancing="debit", limit=30), False),
        (paid(2, "world", "bob", 30, 5.0, balancing="debit", limit=30), True),
        (paid(2, "dan", "bob", 50, 5.0, balancing="debit"), True),
        (paid(2, "alice", "world", 100, 5.0, balancing="both"), True),
        (paid(2, "alice", "bob", 1, 5.0, balancing="credit"), False),
        (paid(2, "bob", "world", 0, 5.0, balancing="credit"), False),
        (paid(2, "bob", "world", 101, 5.0, balancing="credit"), False),
        (paid(2, "alice", "bob", 60, 0.2, balancing="debit"), True),
        (paid(2, "alice", "bob", 100, 0.2, balancing="debit"), True),
    ],
)
def test_what_a_balancing_row_may_move(balancing: Transfer, holds: bool) -> None:
    """Neither more nor less than its limit and what there was for all that anybody can know."""
    assert (check_balancing(records_of(FUNDS, balancing)) == []) == holds


def test_what_others_may_have_moved_meanwhile() -> None:
    """A payment that was under way at the same time may have come first, or not; one that was put aside likewise."""
    for kind in ("plain", "hold"):
        other = paid(3, "alice", "bob", 40, 4.8, 6.0, kind=kind)
        for amount, holds in ((60, True), (100, True), (59, False), (101, False)):
            balancing = paid(2, "alice", "bob", amount, 5.0, balancing="debit")
            assert (check_balancing(records_of(FUNDS, other, balancing)) == []) == holds


def hold(*ends: Transfer, ttl: int = 3_600) -> Records:
    return records_of(FUNDS, paid(10, "alice", "bob", 60, 1.0, kind="hold", ttl=ttl), *ends)


def end(id: int, amount: int, at: float, kind: str = "capture", **more: Any) -> Transfer:
    return paid(id, "alice", "bob", amount, at, kind=kind, hold=10, **more)


@pytest.mark.parametrize(
    ("found", "held", "words"),
    [
        (hold(), 60, ""),
        (hold(), 0, "0 is held, not 60"),
        (hold(ttl=2), 0, ""),
        (hold(end(11, 20, 3.0)), 40, ""),
        (hold(end(11, 20, 3.0), end(12, 40, 4.0, balancing="rest")), 0, ""),
        (hold(end(11, 20, 3.0), end(12, 41, 4.0)), 0, "61 captured of 60"),
        (hold(end(11, 20, 3.0), end(12, 41, 4.0, balancing="rest")), 0, "balances rest with 41"),
        (hold(end(11, 20, 3.0), end(12, 39, 4.0, balancing="rest", is_final=True)), 0, "balances rest with 39"),
        (hold(end(11, 20, 3.0, is_final=True)), 0, ""),
        (hold(end(11, 20, 3.0, is_final=True)), 40, "40 is held, not 0"),
        (hold(end(11, 20, 3.0, is_final=True), end(12, 20, 5.0)), 0, "captured behind that"),
        (hold(end(11, 20, 3.0, is_final=True), end(12, 0, 3.0, kind="void")), 0, "was ended 2 times"),
    ],
)
def test_what_becomes_of_a_hold(found: Records, held: int, words: str) -> None:
    """Captured in part or given back, once; what is left is held."""
    broken = check_balancing(found) + check_holds(found) + check_held("alice", held, found)
    assert words in "".join(broken)
    assert bool(broken) == bool(words)


def refused(why: str, **more: Any) -> Transfer:
    attempts = [Attempt(5.0, 6.0, why)]
    return Transfer(5, "alice", "bob", attempts=attempts, final=why, **more)


def test_what_is_left_may_be_given_back() -> None:
    """A reversal that fits is not refused because of others, in a transaction perhaps because of that."""
    paid_once, given = paid(1, "bob", "alice", 100, 0.0), paid(2, "alice", "bob", 60, 2.0, reverses=1)
    why = "exceeds_reversible_amount"
    for amount, chain, holds in ((41, 0, True), (40, 0, False), (40, 1, True)):
        row = refused(why, amount=amount, reverses=1, chain=chain)
        assert (check_reversals(records_of(paid_once, given, row)) == []) == holds
    assert (
        "160 given back of 100"
        in check_reversals(records_of(paid_once, paid(2, "alice", "bob", 160, 2.0, reverses=1)))[0]
    )


@pytest.mark.parametrize(("at", "words"), [(4.0, "then not found"), (4.9, "")])
def test_what_was_accepted_is_found(at: float, words: str) -> None:
    """By captures and reversals that were sent when somebody knew of it; others may have come before it."""
    held, origin = paid(10, "alice", "bob", 60, at, kind="hold", ttl=3_600), paid(1, "bob", "alice", 60, at)
    capture = refused("hold_not_found", amount=1, kind="capture", hold=10)
    reversal = refused("reversed_transfer_not_found", amount=1, reverses=1)
    for broken in (check_holds(records_of(held, capture)), check_reversals(records_of(origin, reversal))):
        assert words in "".join(broken)
        assert bool(broken) == bool(words)
    for why in ("hold_not_found", "reversed_transfer_not_found", "exceeds_reversible_amount"):
        plain = records_of(refused(why, amount=1))  # that this is wrong, others say
        assert check_holds(plain) + check_reversals(plain) == []


@pytest.mark.parametrize(
    ("balancing", "limit", "holds"),
    [("debit", 0, False), ("both", 500, False), ("credit", 0, True), ("credit", 90, False)],
)
def test_where_something_is_there_it_is_moved(balancing: str, limit: int, holds: bool) -> None:
    """What is owed may be more than that."""
    row = refused("insufficient_funds", amount=0, balancing=balancing, limit=limit)
    assert (check_refusals(records_of(FUNDS, row)) == []) == holds


def test_everybody_is_told_the_same_amount() -> None:
    """Whenever one asks, and whether or not the first answer said so."""
    row = paid(1, "alice", "bob", 0, 0.0, balancing="debit")
    records = records_of(row)
    for amount in (None, 70, None, 70):
        records.told(row, amount)
    assert (row.amount, records.broken) == (70, [])
    records.told(row, 71)
    assert "told to have moved 70, and 71" in records.broken[0]
