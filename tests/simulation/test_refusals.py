"""The checker of refusals against histories that are known."""

from __future__ import annotations

from protocol import ids
from tests.simulation.histories import check_outcomes, check_reads, check_refusals
from tests.simulation.invariants import Point
from tests.simulation.records import Attempt, Read, Records, Transfer


def transfer(id: int, debit: str, credit: str, amount: int, invoked: float, outcome: str = "created") -> Transfer:
    """Answered a second later."""
    return Transfer(id, debit, credit, amount, attempts=[Attempt(invoked, invoked + 1, outcome)])


def records(*transfers: Transfer) -> Records:
    """Of a run."""
    return Records(transfers={one.id: one for one in transfers})


def test_a_debit_that_was_covered_all_the_time() -> None:
    """It must not be refused."""
    funding = transfer(1, "source", "shop", 10, 0.0)
    (broken,) = check_refusals(records(funding, transfer(2, "shop", "payer", 10, 2.0, "insufficient_funds")))
    assert broken == "shop: 10 was refused, but 10 or more was there"


def test_a_debit_that_perhaps_was_not() -> None:
    """More than there is, funds that may come later, and debits under way are reasons."""
    funding, refused = (
        transfer(1, "source", "shop", 10, 0.0),
        transfer(2, "shop", "payer", 9, 2.0, "insufficient_funds"),
    )
    assert check_refusals(records(funding, transfer(3, "shop", "payer", 11, 2.0, "insufficient_funds"))) == []
    assert check_refusals(records(funding, refused, transfer(3, "shop", "payer", 2, 2.5))) == []
    assert check_refusals(records(transfer(1, "source", "shop", 10, 1.5), refused)) == []


def test_a_hold_changes_nothing_at_its_credit_account() -> None:
    """A payment of the same entry may have, and a read before that misses no hold."""
    hold = transfer(1, "payer", "shop", 10, 0.0)
    hold.kind = "hold"
    story = records(hold)
    story.reads.append(Read("shop", 2.0, 3.0, 0, 0, 4))
    effects = {(ids.pack(1), "shop"): 5, (ids.pack(1), "payer"): 5}
    assert check_reads("shop", story, [Point(4, 0, 0)], effects) == []
    hold.kind = "plain"
    assert any("misses" in broken for broken in check_reads("shop", story, [Point(4, 0, 0)], effects))


def test_a_refusal_that_did_not_stay() -> None:
    """Another answer to the same id, or another record in the end, is a broken promise; `linked_event_failed` leaves none."""
    refused = transfer(1, "shop", "payer", 10, 0.0, "credit_account_frozen")
    for final, holds in (("credit_account_frozen", True), ("cancelled", False), ("created", False)):
        refused.final = final
        assert (check_outcomes(records(refused)) == []) == holds
    linked = transfer(2, "shop", "payer", 10, 0.0, "linked_event_failed")
    linked.chain, linked.final = 1, "cancelled"
    assert check_outcomes(records(linked)) == []
    linked.final = "insufficient_funds"
    assert check_outcomes(records(linked))
