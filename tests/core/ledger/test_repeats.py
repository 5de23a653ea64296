"""A batch that is sent again after an answer was lost: each row is told what it would be told alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from node.core.ledger import legs as legs_module
from node.core.ledger import transfers
from node.core.ledger.limits import SEGMENT_TRANSFERS, SMALL_BATCH
from protocol.columns import Flag
from protocol.status import Status
from tests.core.ledger.driving import Driver, id_bytes, names
from tests.core.ledger.model import Transfer
from tests.core.machine.judging import prepare

HOLD, CAPTURE, LINKED = int(Flag.hold), int(Flag.capture), int(Flag.linked)


def rows_of(side: int, credit: str) -> list[Transfer]:
    """Plain ones, texts, a refused one, a chain, a hold with a capture."""
    rows = [Transfer(n, "payer", credit, 10, code=n, side=side) for n in range(1, 9)]
    rows += [Transfer(n, "payer", credit, 10, reference=f"bill {n}", side=side) for n in range(9, 12)]
    rows += [Transfer(20, "poor", credit, 10, side=side), Transfer(21, "payer", credit, 7, HOLD, ttl=60, side=side)]
    return [replace(row, number=number) for number, row in enumerate(rows)]


def variants(row: Transfer, credit: str) -> list[Transfer]:
    """The row as it was, and with each field changed."""
    return [
        row,
        replace(row, amount=row.amount + 1),
        replace(row, code=row.code + 1),
        replace(row, reference=row.reference + "x"),
        replace(row, debit="other"),
        replace(row, credit=credit),
        replace(row, flags=HOLD, ttl=5),
        replace(row, ttl=row.ttl + 3, flags=row.flags | HOLD),
    ]


def opened() -> Driver:
    """With accounts."""
    driver = Driver()
    driver.accounts(
        *((id, "EUR", None, None) for id in ("payer", "other", "payee", "second")), ("poor", "EUR", 0, None)
    )
    return driver


def fill(driver: Driver, segments: int) -> None:
    """Pushes what was recorded into older segments."""
    for batch in range(segments):
        first = 1_000_000 * (batch + 1)
        driver.transfers([Transfer(first + n, "other", "second", 1) for n in range(SEGMENT_TRANSFERS)])
        driver.save()
        driver.ledger.saved()


@pytest.mark.parametrize("segments", [0, 1, 6])
def test_repeats_in_a_batch_are_told_what_they_are_told_alone(segments: int) -> None:
    """In the tail, in the window and before it."""
    driver = opened()
    first = [*rows_of(3, "payee"), Transfer(30, "payer", "payee", 1, LINKED), Transfer(31, "payer", "payee", 2)]
    told = driver.transfers(first)
    assert [status for status in told if status] == [Status.insufficient_funds]
    fill(driver, segments)
    for number in range(len(variants(first[0], "second"))):
        again = [variants(row, "second")[number] for row in rows_of(3, "payee")]
        again += [Transfer(100 + number, "payer", "payee", 1)]  # a new one among them
        alone = opened()
        alone.transfers(first)
        fill(alone, segments)
        assert names(driver.transfers(again)) == names([alone.transfers([row])[0] for row in again])
    assert names(driver.transfers([*first[-2:], *first[:-2]])) == names([Status.exists] * 2 + told_again(told[:-2]))
    assert driver.balances("payer")[0] == -(11 * 10 + 3) - len(variants(first[0], "second"))


def told_again(told: list[int]) -> list[int]:
    """What the same request gets the second time."""
    return [status or int(Status.exists) for status in told]


@pytest.mark.parametrize("segments", [0, 1, 6])
def test_repeated_legs_are_told_what_they_are_told_alone(segments: int) -> None:
    """The same of legs whose other account is elsewhere: votes, marks, and a DECIDE that moves nothing twice."""
    driver, alone = opened(), opened()
    first = rows_of(1, "far")
    for one in (driver, alone):
        votes = np.array(one.prepare(1, first, len(first)), np.uint8)
        one.ledger.decide(1, votes, one.at())
        fill(one, segments)
    before = driver.balances("payer")
    for number in range(len(variants(first[0], "farther"))):
        again = [variants(row, "farther")[number] for row in first]
        expected = []
        for place, row in enumerate(again):
            body = alone.resolve(alone.legs_body([replace(row, number=0)]))
            vote, extra = prepare(alone.ledger, 1000 + place, body, 1, alone.at())
            alone.ledger.decide(1000 + place, np.frombuffer(vote, np.uint8), alone.at())
            expected.append((vote[0], extra[2]))
        body = driver.resolve(driver.legs_body(again))
        told, extra = prepare(driver.ledger, 10 + number, body, len(again), driver.at())
        assert list(zip(told, extra[2 * len(again) :], strict=True)) == expected
        driver.ledger.decide(10 + number, np.frombuffer(told, np.uint8), driver.at())
    assert driver.balances("payer") == before


def test_plain_repeats_leave_the_exact_path_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of them come at once when a leader has died, and one by one they would hold up everybody else."""
    driver = opened()
    local = [Transfer(n, "payer", "payee", 5) for n in range(1, 4 * SMALL_BATCH)]
    legs = [Transfer(1000 + n, "payer", "far", 5, side=1, number=n) for n in range(4 * SMALL_BATCH)]
    driver.transfers(local)
    driver.ledger.decide(1, np.array(driver.prepare(1, legs, len(legs)), np.uint8), driver.at())

    def refuse(*_: object) -> None:
        raise AssertionError("the exact path was taken")

    monkeypatch.setattr(legs_module, "Reserving", refuse)
    monkeypatch.setattr(transfers, "Posting", refuse)
    assert set(driver.transfers(local)) == {Status.exists}
    assert set(driver.prepare(2, legs, len(legs))) == {Status.exists}


def test_names_that_are_all_empty_survive_a_restart() -> None:
    """No account has such a name, but a client may give it; the record of what it was refused can be read for ever."""
    driver = opened()
    rows = [Transfer(n, "payer", "", 5, side=1, number=n - 1) for n in (1, 2)]
    assert driver.prepare(1, rows, 2) == [0, 0]
    refused = np.full(2, Status.credit_account_not_found, np.uint8)
    driver.ledger.decide(1, refused, driver.at())
    driver.save()
    for one in (driver, driver.restored()):
        assert one.query("transfer", id_bytes(2))[1][2] == ""
        assert one.prepare(2, rows, 2) == [Status.credit_account_not_found] * 2
