"""An id that is used again in a later round: the debit side marks what it knows of it, for the coordinator."""

from __future__ import annotations

import numpy as np
import pytest

from node.core.ledger.limits import SMALL_BATCH
from node.core.machine import SETTLED
from protocol.status import Status
from tests.core.ledger.driving import Driver
from tests.core.ledger.model import Transfer
from tests.core.machine.judging import prepare


@pytest.mark.parametrize("beside", [0, SMALL_BATCH])
def test_known_ids_are_marked_in_the_votes(beside: int) -> None:
    """Refused, cancelled, still open: but not what is refused for the first time, nor anything on the credit side."""
    driver = Driver()
    driver.accounts(("world", "EUR", None, None), ("poor", "EUR", 0, None))
    refused, opened = Transfer(1, "poor", "far", 5, side=1), Transfer(2, "world", "far", 5, side=1, number=1)
    again = Transfer(3, "world", "far", 5, side=1, number=2)
    taken = Transfer(1, "far", "nobody", 5, side=2, number=3)
    more = [Transfer(100 + n, "world", "far", 1, side=1, number=4 + n) for n in range(beside)]
    rows = [refused, opened, again, taken]
    assert told(driver, 1, [refused, opened]) == [Status.insufficient_funds, 0]
    driver.ledger.decide(1, np.array([Status.insufficient_funds, Status.retry], np.uint8), driver.at())
    assert told(driver, 2, [Transfer(2, "world", "far", 5, side=1)]) == [0]
    assert driver.command("cancel", (3).to_bytes(16, "big"), "world")[1] == Status.cancelled
    known = [Status.insufficient_funds, Status.undecided, Status.cancelled]
    expected = [*(status | SETTLED for status in known), Status.credit_account_not_found, *[0] * beside]
    assert told(driver, 3, [*rows, *more]) == expected


def told(driver: Driver, round_id: int, rows: list[Transfer]) -> list[int]:
    """Each row's own status in the answer to a PREPARE."""
    body = driver.resolve(driver.legs_body(rows))
    _, extra = prepare(driver.ledger, round_id, body, len(rows), driver.at())
    return list(extra[2 * len(rows) :])
