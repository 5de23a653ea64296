"""The checker of refusals against histories that are known."""

from __future__ import annotations

from tests.simulation.histories import check_refusals
from tests.simulation.records import Attempt, Records, Transfer


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
