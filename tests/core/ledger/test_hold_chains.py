"""Several captures and a void of one hold in one transaction between shards: judged as within a shard, one after the other."""

from __future__ import annotations

import numpy as np
import pytest

from node.core.machine import Statuses
from protocol.columns import Flag
from protocol.rows import TransferRow
from protocol.status import Status
from tests.core.ledger.driving import Driver, id_bytes
from tests.core.ledger.model import Transfer

C, V = Flag.capture, Flag.void
HAPPENS, NOT = 0, int(Status.retry)


def held() -> Driver:
    """100 on an account, 60 of them on hold for an account of another shard."""
    driver = Driver()
    driver.accounts(("world", "EUR", None, None), ("a", "EUR", 0, None))
    driver.transfers([Transfer(1, "world", "a", 100)])
    assert driver.prepare(1, [Transfer(10, "a", "far", 60, flags=Flag.hold, ttl=5, side=1)], 1) == [0]
    decide(driver, 1, HAPPENS)
    return driver


def decide(driver: Driver, round_id: int, status: int) -> None:
    """One transaction's outcome."""
    statuses: Statuses = np.array([status], np.uint8)
    driver.ledger.decide(round_id, statuses, driver.at())


def chain(*parts: tuple[Flag, int]) -> list[Transfer]:
    """Captures and voids of the hold."""
    return [
        Transfer(20 + place, "a", "far", amount, flags=flag | Flag.linked, hold_id=10, side=1)
        for place, (flag, amount) in enumerate(parts)
    ]


@pytest.mark.parametrize(
    ("parts", "vote", "left"),
    [
        ([(C, 20), (V, 0)], "created", (80, 0, 0)),
        ([(C, 20), (C, 30)], "created", (50, 10, 0)),
        ([(C, 20), (C, 30), (V, 0)], "created", (50, 0, 0)),
        ([(C, 20), (C, 41)], "exceeds_hold_amount", (100, 60, 0)),
        ([(C, 60), (V, 0)], "hold_already_captured", (100, 60, 0)),
        ([(C, 60), (C, 1)], "hold_already_captured", (100, 60, 0)),
        ([(V, 0), (C, 1)], "hold_already_voided", (100, 60, 0)),
        ([(V, 0), (V, 0)], "hold_already_voided", (100, 60, 0)),
    ],
)
def test_a_transaction_counts_what_it_takes_itself(
    parts: list[tuple[Flag, int]], vote: str, left: tuple[int, int, int]
) -> None:
    """It never waits for itself, and what is left of the hold is right afterwards."""
    driver = held()
    status = int(Status[vote])
    assert driver.prepare(2, chain(*parts), 1) == [status]
    decide(driver, 2, status)
    assert driver.balances("a") == left


@pytest.mark.parametrize("outcome", [HAPPENS, NOT])
def test_the_hold_may_expire_meanwhile(outcome: int) -> None:
    """It ends once, with the round."""
    driver = held()
    assert driver.prepare(2, chain((C, 20), (V, 0)), 1) == [0]
    driver.command("expire", passed_ns=10 * 10**9)
    assert driver.balances("a") == (100, 60, 0)
    decide(driver, 2, outcome)
    assert driver.balances("a") == ((80, 0, 0) if outcome == HAPPENS else (100, 0, 0))
    assert TransferRow(*driver.query("transfer", id_bytes(10))[1]).rest is None
