"""Numbers at their ends: what is held, what comes in and what has ever moved may be huge, and every replica must stand it."""

from __future__ import annotations

import numpy as np

from node.core.machine import Statuses
from protocol import frames
from protocol.columns import Flag
from protocol.rows import TransferRow
from protocol.status import AMOUNT_MAX
from tests.core.ledger.driving import Driver, id_bytes
from tests.core.ledger.model import Transfer


def opened(*names: str) -> Driver:
    """Accounts without limits."""
    driver = Driver()
    driver.accounts(*((name, "EUR", None, None) for name in names))
    return driver


def test_what_rounds_bring_in_fits_64_bits() -> None:
    """An account as far below 0 as can be takes undecided credits up to its upper end, and no more."""
    driver = opened("a", "b", "c")
    assert driver.transfers([Transfer(1, "a", "b", AMOUNT_MAX), Transfer(2, "a", "c", 1)]) == [0, 0]
    amounts = (AMOUNT_MAX, AMOUNT_MAX, 1, 1)
    rows = [Transfer(10 + n, f"far:{n}", "a", amount, side=2, number=n) for n, amount in enumerate(amounts)]
    votes = driver.prepare(1, rows, 4)
    assert votes[:3] == [0, 0, 0] and votes[3] != 0
    assert driver.balances("a") == (-(2**62), 0, 2**63 - 1)


def test_what_ever_moved_may_exceed_64_bits() -> None:
    """The books can still be saved, restored, digested and audited."""
    driver = opened("a", "b")
    for number in range(6):
        payer, payee = ("a", "b") if number % 2 == 0 else ("b", "a")
        assert driver.transfers([Transfer(100 + number, payer, payee, AMOUNT_MAX)]) == [0]
    driver.save()
    other = driver.restored()
    assert other.ledger.digest(0) == driver.ledger.digest(0)
    moved = str(6 * AMOUNT_MAX)
    assert frames.unpack(frames.pack(other.ledger.totals())) == [["EUR", "0", "0", "0", moved, moved]]


def test_what_a_shard_owes_may_exceed_64_bits() -> None:
    """Many accounts far below 0 in one shard: their sum is still told."""
    driver = opened(*"abcd", "x")
    for number, name in enumerate("abcd"):
        driver.accounts((f"t{number}", "EUR", None, None))
        assert driver.transfers([Transfer(1 + number, name, f"t{number}", AMOUNT_MAX)]) == [0]
        row = Transfer(50 + number, f"t{number}", "far", AMOUNT_MAX, side=1)
        assert driver.prepare(1 + number, [row], 1) == [0]
        driver.ledger.decide(1 + number, _all_happen(), driver.at())
    ((_, posted, *_),) = frames.unpack(frames.pack(driver.ledger.totals()))
    assert int(posted) == -4 * AMOUNT_MAX


def test_a_hold_that_a_round_is_ending_is_not_looked_up_yet() -> None:
    """Whoever was told that the void or the capture happened must not be shown what was left before."""
    driver = opened("a", "b")
    assert driver.transfers([Transfer(1, "b", "a", 100)]) == [0]
    assert driver.prepare(1, [Transfer(10, "a", "far", 60, flags=Flag.hold, ttl=60, side=1)], 1) == [0]
    driver.ledger.decide(1, _all_happen(), driver.at())
    capture = Transfer(11, "a", "far", 20, flags=Flag.capture, hold_id=10, side=1)
    void = Transfer(12, "a", "far", 0, flags=Flag.void, hold_id=10, side=1)
    for round_id, row, left in ((2, capture, 40), (3, void, None)):
        assert not driver.ledger.query(["transfer", id_bytes(10)], {}).is_undecided  # type: ignore[union-attr]  # no stored rows
        assert driver.prepare(round_id, [row], 1) == [0]
        assert driver.ledger.query(["transfer", id_bytes(10)], {}).is_undecided  # type: ignore[union-attr]  # no stored rows
        driver.ledger.decide(round_id, _all_happen(), driver.at())
        assert TransferRow(*driver.query("transfer", id_bytes(10))[1]).rest == left


def _all_happen() -> Statuses:
    return np.zeros(1, np.uint8)
