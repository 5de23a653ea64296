"""A refusal that is on record is answered as such, on either path."""

from __future__ import annotations

import pytest

from protocol.columns import Flag
from protocol.status import REPEATED, Status
from tests.core.ledger.driving import Driver, columns
from tests.core.ledger.model import Transfer

FUNDS = int(Status.insufficient_funds)


@pytest.fixture
def driver(either_path: None) -> Driver:
    """Account a without money, on either path."""
    driver = Driver()
    driver.accounts(("world", "EUR", None, None), ("a", "EUR", 0, None))
    return driver


def answered(driver: Driver, *rows: Transfer) -> list[int]:
    """Status bytes as they are answered."""
    return list(driver.command("transfers", columns(rows).pack())[1])


def test_a_repeat_is_told_apart_from_the_first_time(driver: Driver) -> None:
    """Also when there is plenty by now; what happened, and what has the wrong form, is never marked."""
    poor, fine, wrong = Transfer(10, "a", "world", 5), Transfer(11, "world", "a", 9), Transfer(12, "a", "a", 5)
    first = answered(driver, poor, fine, wrong)
    assert first == [FUNDS, Status.created, Status.accounts_must_be_different]
    assert answered(driver, poor, fine, wrong) == [FUNDS | REPEATED, Status.exists, first[2]]
    assert answered(driver, Transfer(13, "a", "world", 5)) == [Status.created]


def test_a_chain_marks_the_row_that_is_on_record(driver: Driver) -> None:
    """And no other."""
    chain = [Transfer(10, "world", "a", 5, flags=Flag.linked), Transfer(11, "a", "world", 50)]
    assert answered(driver, *chain) == [Status.linked_event_failed, FUNDS]
    assert answered(driver, *chain) == [Status.linked_event_failed, FUNDS | REPEATED]
