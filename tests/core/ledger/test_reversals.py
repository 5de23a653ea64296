"""Reversals of old transfers, of open rounds, over checkpoints: never more than was moved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from node.core.ledger import history
from node.core.ledger.origins import Named
from node.core.machine import Need
from protocol.columns import Flag
from tests.core.ledger.driving import Driver, columns, names
from tests.core.ledger.model import Transfer
from tests.core.machine.judging import asking, carry_out

FIRST = 1_000


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    """Small segments; transfer FIRST has moved 100 from alice to shop."""
    monkeypatch.setattr(history, "SEGMENT_TRANSFERS", 20)
    driver = Driver()
    driver.accounts(("world", "EUR", None, None), ("alice", "EUR", None, None), ("shop", "EUR", None, None))
    assert driver.transfers([Transfer(FIRST << 80, "alice", "shop", 100)]) == [0]
    return driver


def fill(driver: Driver, number: int, segments: int) -> None:
    """So many segments of other transfers."""
    for start in range(number, number + 20 * segments, 10):
        driver.transfers([Transfer(id << 80, "world", "alice", 1) for id in range(start, start + 10)])


def reversal(number: int, amount: int, of: int = FIRST, side: int = 3, debit: str = "shop") -> Transfer:
    """Of a payment of alice's."""
    return Transfer(number << 80, debit, "alice", amount, int(Flag.reversal), hold_id=of << 80, side=side)


def test_what_is_long_ago_can_be_reversed_once(driver: Driver) -> None:
    """From the store, after the counter has left the memory, in another process: the same answers, the same digest."""
    fill(driver, 2_000, 8)
    driver.save()
    assert names(driver.transfers([reversal(5_000, 60)])) == ["created"]
    fill(driver, 6_000, 8)
    assert not driver.ledger.books.reversals.recent
    assert names(driver.transfers([reversal(7_000, 41)])) == ["exceeds_reversible_amount"]
    driver.save()
    driver.ledger.saved()
    other = driver.restored()
    for one in (driver, other):
        told = names(one.transfers([reversal(8_000, 41), reversal(8_001, 40), reversal(8_002, 1)]))
        assert told == ["exceeds_reversible_amount", "created", "transfer_already_reversed"]
    assert driver.ledger.digest(0) == other.ledger.digest(0)
    other.save()
    fill(other, 9_000, 8)
    other.save()
    other.ledger.saved()
    assert names(other.restored().transfers([reversal(10_000, 1)])) == ["transfer_already_reversed"]
    assert not other.ledger.books.reversals.recent


def test_what_a_leader_found_is_right_when_it_is_applied_later(driver: Driver) -> None:
    """Others give back meanwhile: what is newer is in memory, or the batch is too old."""
    fill(driver, 2_000, 8)
    driver.save()
    bodies = [driver.resolve(["transfers", sent(reversal(5_000 + number, 60))]) for number in range(2)]
    assert [names(list(apply(driver, body))) for body in bodies] == [["created"], ["exceeds_reversible_amount"]]
    late = driver.resolve(["transfers", sent(reversal(5_005, 41))])
    assert names(driver.transfers([reversal(5_010, 40)])) == ["created"]
    fill(driver, 6_000, 3)
    early = driver.resolve(["transfers", sent(reversal(6_500, 1))])
    fill(driver, 7_000, 6)
    assert [names(list(apply(driver, body))) for body in (late, early)] == [["retry"], ["retry"]]
    assert names(driver.transfers([reversal(8_000, 1)])) == ["transfer_already_reversed"]


def sent(*rows: Transfer) -> list[object]:
    """As they travel."""
    return columns(rows).pack()


def apply(driver: Driver, body: object) -> bytes:
    """A resolved command's statuses."""
    answer: bytes = carry_out(driver.ledger, body, driver.at())[1]  # type: ignore[arg-type]
    return answer


def test_old_segments_are_read_a_few_at_a_time(driver: Driver) -> None:
    """Of each only what was found is kept while the others are read."""
    fill(driver, 2_000, 30)
    driver.save()
    driver.ledger.saved()
    wanted = [FIRST, *range(2_000, 2_600, 20)]
    rows = [reversal(9_000 + place, 1, of=id) for place, id in enumerate(wanted)]
    loaded: dict[tuple[str, int], bytes | None] = {}
    steps = 0
    while isinstance(need := driver.ledger.resolve(["transfers", sent(*rows)], asking(0, loaded)), Need):
        missing = need.missing(loaded)
        loaded = dict(need.fill(loaded, {(table, key): driver.store[table].get(key) for table, key in missing}))
        whole = [key for (table, key), data in loaded.items() if table == "ledger_segments" and data]
        assert len(whole) <= 4, whole
        steps += 1
    assert steps > 5
    told = names(list(apply(driver, need)))
    assert told == ["created"] + ["reversed_transfer_has_different_accounts"] * (len(rows) - 1)


@pytest.mark.parametrize("happens", [True, False])
def test_an_open_round_keeps_others_waiting(driver: Driver, happens: bool) -> None:
    """Its part counts for the others until it is decided: a no that it may still turn is not final, over a checkpoint, too."""
    fill(driver, 2_000, 8)
    driver.save()
    assert driver.prepare(1, [reversal(3_000, 70, side=2)], 1) == [0]
    assert names(driver.transfers([reversal(3_001, 31)])) == ["undecided"]
    assert names(driver.transfers([reversal(3_001, 30), reversal(3_002, 101)])) == [
        "created",
        "exceeds_reversible_amount",
    ]
    fill(driver, 4_000, 8)
    driver.save()
    other = driver.restored()
    assert other.ledger.digest(0) == driver.ledger.digest(0)
    assert names(list(other.prepare(2, [reversal(5_000, 1, side=2)], 1))) == ["undecided"]
    statuses = np.array([0 if happens else 58], np.uint8)
    other.ledger.decide(1, statuses, other.at(), np.array([0 if happens else -1], np.int32))
    other.ledger.decide(2, np.array([100], np.uint8), other.at(), np.array([-1], np.int32))
    expected = ["transfer_already_reversed"] if happens else ["created"]
    assert names(other.transfers([reversal(5_001, 70)])) == expected


def test_a_transfer_of_an_open_round_is_waited_for(driver: Driver) -> None:
    """It may happen; once it has not, that is final."""
    pending = Transfer(3_000 << 80, "alice", "far", 10, side=1)
    assert driver.prepare(1, [pending], 1) == [0]
    back = reversal(3_001, 10, of=3_000, side=2, debit="far")
    assert names(driver.prepare(2, [back], 1)) == ["undecided"]
    driver.ledger.decide(2, np.array([100], np.uint8), driver.at(), np.array([-1], np.int32))
    driver.ledger.decide(1, np.array([56], np.uint8), driver.at(), np.array([0], np.int32))
    assert names(driver.prepare(3, [back], 1)) == ["reversed_transfer_not_found"]


def test_within_a_request_what_stands_before_is_waited_for(driver: Driver) -> None:
    """It is on record when the request is judged again; what stands behind has not happened, and never counts."""
    rows = [Transfer(3_000 << 80, "alice", "shop", 10), reversal(3_001, 10, of=3_000), reversal(3_002, 10, of=3_003)]
    rows.append(Transfer(3_003 << 80, "alice", "shop", 10))
    told = names(driver.transfers(rows))
    assert told == ["created", "undecided", "reversed_transfer_not_found", "created"]
    assert names(driver.transfers(rows)) == ["exists", "created", "reversed_transfer_not_found", "exists"]


@pytest.mark.parametrize("was_reversed", [False, True])
def test_what_is_taken_back_is_in_no_counter(driver: Driver, *, was_reversed: bool) -> None:
    """A chain was refused behind the reversal: nothing of it is found in the store, and what was there before is."""
    driver.accounts(("poor", "EUR", 0, None))
    if was_reversed:
        assert names(driver.transfers([reversal(1_500, 10)])) == ["created"]
    linked = replace(reversal(1_600, 60), flags=int(Flag.reversal | Flag.linked))
    refused = driver.transfers([linked, Transfer(1_601 << 80, "poor", "alice", 5)])
    assert names(refused) == ["linked_event_failed", "insufficient_funds"]
    fill(driver, 2_000, 8)
    driver.save()
    driver.ledger.saved()
    rest = 90 if was_reversed else 100
    told = names(driver.transfers([reversal(5_000, rest + 1), reversal(5_001, rest)]))
    assert told == ["exceeds_reversible_amount", "created"]


def test_a_counter_on_its_way_to_the_store_counts(driver: Driver) -> None:
    """It has left the memory, and the checkpoint with it is not written yet."""
    fill(driver, 2_000, 8)
    driver.save()
    driver.ledger.saved()
    assert names(driver.transfers([reversal(5_000, 100)])) == ["created"]
    fill(driver, 6_000, 8)
    assert not driver.ledger.books.reversals.recent
    driver.ledger.changes()
    assert names(driver.transfers([reversal(7_000, 1)])) == ["transfer_already_reversed"]


@pytest.mark.parametrize("segments", range(7))
def test_however_much_later_a_batch_is_applied(driver: Driver, segments: int) -> None:
    """It is judged by the newest counter, or is too old."""
    fill(driver, 2_000, 8)
    driver.save()
    driver.ledger.saved()
    while driver.ledger.books.history.tail.count != 15:
        driver.transfers([Transfer((50_000 + driver.index) << 80, "world", "alice", 1)])
    late = driver.resolve(["transfers", sent(reversal(5_001, 100))])
    assert names(driver.transfers([reversal(5_000, 100)])) == ["created"]
    fill(driver, 60_000, segments)
    assert names(list(apply(driver, late)))[0] in ("transfer_already_reversed", "retry")


@pytest.mark.parametrize("segments", range(7))
def test_a_round_that_is_decided_long_after_counts_from_then_on(driver: Driver, segments: int) -> None:
    """Its counter stays as long as those of whoever was resolved before."""
    fill(driver, 2_000, 8)
    driver.save()
    driver.ledger.saved()
    assert driver.prepare(1, [reversal(3_000, 100, side=2)], 1) == [0]
    fill(driver, 10_000, 8)
    driver.save()
    driver.ledger.saved()
    late = driver.resolve(["transfers", sent(reversal(5_001, 100))])
    driver.ledger.decide(1, np.array([0], np.uint8), driver.at(), np.array([-1], np.int32))
    fill(driver, 60_000, segments)
    assert names(list(apply(driver, late)))[0] in ("transfer_already_reversed", "retry")


@pytest.mark.parametrize("is_round", [False, True])
def test_a_row_is_looked_at_once_however_many_name_it(
    driver: Driver, is_round: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else one request of a hostile client would keep all replicas of the shard busy for an hour."""
    half, asked = 100, 0
    before, beside = Named.before, Named.beside

    def counted(may_happen: Callable[[int], bool]) -> Callable[[int], bool]:
        def asks(row: int) -> bool:
            nonlocal asked
            asked += 1
            return may_happen(row)

        return asks

    monkeypatch.setattr(Named, "before", lambda named, id, row, asks: before(named, id, row, counted(asks)))
    monkeypatch.setattr(Named, "beside", lambda named, id, flag, row, asks: beside(named, id, flag, row, counted(asks)))
    driver.accounts(("poor", "EUR", 0, None))
    refused = [Transfer(7 << 80, "poor", "alice", 1, side=3, number=number) for number in range(half)]
    backs = [
        replace(reversal(100 + number, 1, of=7), number=half + number, side=2 if is_round else 3)
        for number in range(half)
    ]
    told = driver.prepare(1, refused + backs, 2 * half) if is_round else driver.transfers(refused + backs)
    assert len(told) == 2 * half and 0 < asked <= half
