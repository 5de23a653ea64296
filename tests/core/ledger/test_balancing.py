"""What balancing rows move: in the order of a batch, and as a shard tells it to a round."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
import pytest

from node.core.machine import NOT_SURE
from protocol.columns import Flag
from tests.core.ledger.driving import Driver, names
from tests.core.ledger.model import Transfer
from tests.core.machine.judging import prepare

DEBITS, CREDITS, LINKED = int(Flag.balancing_debit), int(Flag.balancing_credit), int(Flag.linked)
MANY = 12  # more than are judged one by one


@pytest.fixture
def driver() -> Driver:
    """The debtor owes 50, and a has 40."""
    driver = Driver()
    driver.accounts(("world", "EUR", None, None), ("other", "EUR", None, None))
    driver.accounts(("debtor", "EUR", -500, None), ("a", "EUR", 0, None), ("b", "EUR", 0, None))
    assert driver.transfers([Transfer(1, "debtor", "world", 50), Transfer(2, "world", "a", 40)]) == [0, 0]
    return driver


def told(
    driver: Driver, rows: Sequence[Transfer], tried: Sequence[int] = (), round_id: int = 1
) -> tuple[list[str], list[int]]:
    """The votes of a round, and how far apart each row's amount is from what was tried."""
    body = driver.legs_body(rows)
    if tried:
        body.append(struct.pack(f"<{len(tried)}q", *tried))
    count = rows[-1].number + 1
    votes, extra = prepare(driver.ledger, round_id, driver.resolve(body), count, driver.at())
    return names(votes), np.frombuffer(extra, "<i8", len(rows), offset=3 * len(rows)).tolist()


@pytest.mark.parametrize("is_round", [False, True])
def test_what_is_owed_is_found_in_the_order_of_the_batch(driver: Driver, is_round: bool) -> None:
    """The payments behind it find nothing owed any more, though they are many and nobody could refuse them."""
    rows = [Transfer(10, "world", "debtor", 0, CREDITS, side=3)]
    rows += [Transfer(11 + n, "other", "debtor", 10, side=3, number=1 + n) for n in range(MANY)]
    if is_round:
        assert set(told(driver, rows)[0]) == {"created"}
        assert driver.balances("debtor") == (-50, 0, 50 + 10 * MANY)
    else:
        assert set(driver.transfers(rows)) == {0}
        assert driver.balances("debtor") == (10 * MANY, 0, 0)


def test_what_the_own_chain_pays_out_is_owed(driver: Driver) -> None:
    """Its debit is not posted yet when the next row asks what is owed."""
    rows = [Transfer(10, "debtor", "far", 30, LINKED, side=1), Transfer(11, "world", "debtor", 0, CREDITS, side=3)]
    assert told(driver, rows)[0] == ["created"]
    assert driver.balances("debtor") == (-50, 30, 80)


def test_more_than_there_is_is_not_tried(driver: Driver) -> None:
    """By how much is told, and nothing is set aside."""
    row = Transfer(10, "a", "far", 0, DEBITS, side=1)
    assert told(driver, [row], [90]) == (["undecided"], [-50])
    assert driver.balances("a") == (40, 0, 0)


def test_what_a_round_may_add_to_is_not_told(driver: Driver) -> None:
    """While that round is open, what is there is not what there will be; the limit is above it."""
    assert driver.prepare(1, [Transfer(9, "far", "a", 5, side=2)], 1) == [0]
    row = Transfer(10, "a", "far", 100, DEBITS, side=1)
    assert told(driver, [row], round_id=2) == (["undecided"], [NOT_SURE])


def test_who_bounds_nothing_tells_the_limit(driver: Driver) -> None:
    """As far as this shard knows, all of it could move; what was tried is set aside."""
    row = Transfer(10, "far", "b", 100, DEBITS, side=2)
    assert told(driver, [row], [30]) == (["created"], [70])
    assert driver.balances("b") == (0, 0, 30)


def test_rows_behind_are_judged_as_if_what_is_told_had_been_tried(driver: Driver) -> None:
    """So a chain learns all its amounts at once, and still nothing is set aside."""
    rows = [
        Transfer(10 + n, "a", "far", limit, DEBITS | LINKED * (n < 2), side=1) for n, limit in enumerate((25, 10, 0))
    ]
    assert told(driver, rows, [30, 10, 0]) == (["undecided"], [-5, 0, 5])
    assert driver.balances("a") == (40, 0, 0)
