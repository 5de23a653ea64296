"""Old segments: repeats found through the store, pages of history, and a window that a restart brings back."""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import pytest

from node.core.ledger import history, holds
from node.core.ledger.ids import Run, intervals_of, key_of, keys_of
from node.core.ledger.limits import NANOSECONDS
from node.core.ledger.queries import SEGMENTS_A_PAGE
from node.core.ledger.stored import SEGMENTS
from protocol.columns import Flag
from protocol.status import Status
from tests.core.ledger.driving import START_NS, Driver, columns, id_bytes, names
from tests.core.ledger.model import Transfer
from tests.core.machine.judging import carry_out

SEGMENT = 10


@pytest.fixture(autouse=True)
def short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments of ten transfers and a window of two make old ones quickly."""
    monkeypatch.setattr(history, "SEGMENT_TRANSFERS", SEGMENT)
    monkeypatch.setattr(history, "WINDOW_SEGMENTS", 2)
    monkeypatch.setattr(holds, "WINDOW_SEGMENTS", 2)


def id_of(number: int) -> int:
    """A time-sortable id."""
    return (1_700_000_000_000 + number) << 80 | number * 7919


def filled(count: int, saves_every: int = 7) -> Driver:
    """A ledger with this many transfers of amounts 1, 2, 3, ..."""
    driver = Driver()
    driver.accounts(("world", "EUR", None, None), ("a", "EUR", 0, None), ("b", "EUR", 0, None))
    for number in range(count):
        row = Transfer(id_of(number), "world", "ab"[number % 2], number + 1, reference=f"r{number}")
        assert driver.transfers([row]) == [0]
        if number % saves_every == 0:
            driver.save()
    return driver


def test_a_repeat_of_an_old_id_is_found_through_the_store() -> None:
    """An id that left memory long ago still answers exists, or which field differs."""
    driver = filled(100)
    driver.save()
    driver.save()
    driver.needed.clear()
    assert names(driver.transfers([Transfer(id_of(3), "world", "b", 4, reference="r3")])) == ["exists"]
    assert driver.needed == [("ledger_segments", 0)]
    changed = Transfer(id_of(3), "world", "b", 5, reference="r3")
    assert names(driver.transfers([changed])) == ["exists_with_different_amount"]
    assert driver.balances("b")[0] == sum(number + 1 for number in range(1, 100, 2))


@pytest.mark.parametrize("is_restarted", [False, True])
@pytest.mark.parametrize("is_rising", [True, False])
def test_every_id_is_found_again_wherever_it_lies(is_rising: bool, is_restarted: bool) -> None:
    """In the store, in the window or in the tail; by itself, and whichever of them holds the newest ids."""
    driver, numbers = filled(1), range(1, 97) if is_rising else range(96, 0, -1)
    rows = [Transfer(id_of(number), "world", "a", number) for number in numbers]
    for row in rows:
        assert driver.transfers([row]) == [0]
    driver.save()
    driver.save()
    if is_restarted:
        driver = driver.restored()
    for number, row in enumerate(rows):
        assert names(driver.transfers([row])) == ["exists"], row
        beside = [Transfer(id_of(1_000 + number), "world", "a", 1), row]
        assert names(driver.transfers(beside)) == ["created", "exists"], row


def test_new_ids_need_nothing_from_the_store() -> None:
    """Ids above all known ones are accepted without a read."""
    driver = filled(100)
    driver.save()
    driver.save()
    driver.needed.clear()
    assert driver.transfers([Transfer(id_of(1000), "world", "a", 1)]) == [0]
    assert driver.needed == []


def test_segments_are_in_memory_until_two_checkpoints_have_passed() -> None:
    """A segment that left the window answers from memory while its row may still be on its way to the store."""
    driver = filled(60, saves_every=10**9)
    assert names(driver.transfers([Transfer(id_of(3), "world", "b", 4, reference="r3")])) == ["exists"]
    assert driver.needed == []
    driver.save()
    assert len(driver.ledger.books.history.retired) == 4
    driver.save()
    assert driver.ledger.books.history.retired == {}


def test_a_batch_resolved_too_long_ago_is_to_be_retried() -> None:
    """When segments that nobody searched have left the window, nothing is applied."""
    driver = filled(5)
    late = driver.resolve(["transfers", columns([Transfer(id_of(500), "world", "a", 1)]).pack()])
    for number in range(5, 50):
        driver.transfers([Transfer(id_of(number), "world", "a", 1)])
    before = driver.ledger.digest(0)
    assert names(carry_out(driver.ledger, late, driver.at())[1]) == ["retry"]
    assert driver.ledger.digest(0) == before


def test_an_id_sealed_between_resolve_and_apply_is_still_seen() -> None:
    """Apply searches what was sealed since the leader looked."""
    driver = filled(5)
    row = Transfer(id_of(500), "world", "a", 1)
    late = driver.resolve(["transfers", columns([row]).pack()])
    assert driver.transfers([row]) == [0]
    for number in range(5, 20):
        driver.transfers([Transfer(id_of(number), "world", "a", 1)])
    assert names(carry_out(driver.ledger, late, driver.at())[1]) == ["exists"]


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("limit", [1, 7, 1000])
def test_history_pages_follow_on(newest_first: bool, limit: int) -> None:
    """Pages give every transfer of the account once, in order, from tail, window and store."""
    driver = filled(97)
    driver.save()
    driver.save()
    amounts: list[int] = []
    cursor = None
    while True:
        _, rows, cursor = driver.query("history", "a", cursor, limit, newest_first)
        amounts += [row[3] for row in rows]
        assert all(row[1:3] == ["world", "a"] and row[6] == f"r{row[3] - 1}" for row in rows)
        if cursor is None:
            break
    expected = list(range(1, 98, 2))
    assert amounts == (expected[::-1] if newest_first else expected)


def test_history_reads_only_segments_that_hold_the_account() -> None:
    """A quiet account's page skips the segments between."""
    driver = filled(3)
    driver.accounts(("quiet", "EUR", None, None))
    driver.transfers([Transfer(id_of(3), "world", "quiet", 5)])
    for number in range(4, 100):
        driver.transfers([Transfer(id_of(number), "world", "a", 1)])
    driver.save()
    driver.save()
    driver.needed.clear()
    rows: list[list[object]] = []
    cursor = None
    while not rows:
        _, rows, cursor = driver.query("history", "quiet", cursor, 10, True)
    assert len(rows) == 1
    assert {number for table, number in driver.needed if table == SEGMENTS} == {0}


def test_a_page_reads_a_bounded_part_of_a_long_record() -> None:
    """However long the record, a page reads few segments; pages may be short, and together they are complete."""
    driver = filled(600)
    driver.save()
    driver.save()
    found, cursor = 0, None
    while True:
        driver.needed.clear()
        _, rows, cursor = driver.query("history", "a", cursor, 1000, False)
        found += len(rows)
        assert len({number for table, number in driver.needed if table == SEGMENTS}) <= SEGMENTS_A_PAGE
        if cursor is None:
            break
    assert found == 300


def test_refused_transfers_are_shown_when_asked_for() -> None:
    """History leaves failures out unless the caller wants them; by id they are found."""
    driver = filled(2)
    assert names(driver.transfers([Transfer(id_of(9), "a", "b", 10**6)])) == ["insufficient_funds"]
    assert len(driver.query("history", "a", None, 10, True)[1]) == 1
    assert driver.query("history", "a", None, 10, True, True)[1][0][8] == Status.insufficient_funds
    assert driver.query("transfer", id_bytes(id_of(9)))[1][8] == Status.insufficient_funds
    assert driver.query("transfer", id_bytes(id_of(10)))[1] is None


def test_a_restart_keeps_digest_and_behaviour() -> None:
    """A ledger from a checkpoint answers and goes on exactly as the one that made it."""
    driver = filled(55)
    driver.transfers([Transfer(id_of(60), "world", "a", 50, flags=Flag.hold, ttl=5)])
    driver.save()
    other = driver.restored()
    assert other.ledger.digest(3) == driver.ledger.digest(3)
    assert other.ledger.due(0, driver.elapsed_ns + 6 * NANOSECONDS) == ["expire"]
    for number in range(50, 130):
        row = [Transfer(id_of(number), "world", "a", number, reference="x")]
        assert driver.transfers(row) == other.transfers(row)
        if number % 9 == 0:
            driver.save()
            other.save()
    assert other.ledger.digest(3) == driver.ledger.digest(3)
    assert other.query("history", "a", None, 1000, False) == driver.query("history", "a", None, 1000, False)


def test_what_became_of_an_old_hold_is_found_through_the_store() -> None:
    """A capture of a hold that ended long ago says how it ended."""
    driver = filled(2)
    for number, flags in ((2, Flag.void), (3, Flag.capture)):
        driver.transfers([Transfer(id_of(number), "world", "a", 5, flags=Flag.hold, ttl=60)])
        end = Transfer(id_of(number + 10), "world", "a", 5, flags=flags, hold_id=id_of(number))
        assert driver.transfers([end]) == [0]
    driver.transfers([Transfer(id_of(4), "world", "a", 5, flags=Flag.hold, ttl=1)])
    driver.command("expire", passed_ns=2 * NANOSECONDS)
    for number in range(30, 90):
        driver.transfers([Transfer(id_of(number), "world", "a", 1)])
    driver.save()
    driver.save()
    assert all(driver.ledger.books.holds.ended_status(id_bytes(id_of(number))) == 0 for number in (2, 3, 4))
    answers = [
        driver.transfers([Transfer(id_of(200 + number), "world", "a", 5, flags=Flag.capture, hold_id=id_of(number))])
        for number in (2, 3, 4, 77)
    ]
    assert [names(answer)[0] for answer in answers] == [
        "hold_already_voided", "hold_already_captured", "hold_expired", "hold_not_found",
    ]  # fmt: skip


def test_cancel_finds_old_ids_and_burns_new_ones() -> None:
    """An unknown outcome is settled for ever, whichever it was."""
    driver = filled(100)
    driver.save()
    driver.save()
    assert driver.command("cancel", id_bytes(id_of(3)), "world")[1] == Status.created
    assert driver.command("cancel", id_bytes(id_of(999)), "world")[1] == Status.cancelled
    assert names(driver.transfers([Transfer(id_of(999), "world", "a", 1)])) == ["cancelled"]
    assert driver.command("cancel", id_bytes(id_of(999)), "world")[1] == Status.cancelled


def test_keys_of_columns_and_of_single_ids_agree() -> None:
    """The two ways of computing a key are one function."""
    generator = random.Random(1)
    ids = [generator.getrandbits(128) for _ in range(200)] + [0, 1, 2**128 - 1]
    packed = b"".join(id_bytes(id) for id in ids)
    assert keys_of(packed).tolist() == [key_of(id_bytes(id)) for id in ids]


def test_ranges_of_keys_leave_out_wide_gaps() -> None:
    """A few odd ids do not stretch a segment's range over everything between."""
    keys = np.array([1, 500, 501, 502, 900, 901, 2**60], np.uint64)
    assert intervals_of(keys) == [(1, 1), (500, 502), (900, 901), (2**60, 2**60)]
    assert intervals_of(np.array([7], np.uint64)) == [(7, 7)]
    assert intervals_of(keys[:0]) == []
    assert Run(keys).common(Run(np.array([0, 501, 2**61], np.uint64))).tolist() == [501]


def test_the_time_of_the_last_row_outlives_a_restart_behind_a_full_segment() -> None:
    """The tail is empty then; rows of an entry with an earlier time still come later."""
    driver = filled(SEGMENT)
    driver.save()
    again = driver.restored()
    assert not again.ledger.books.history.tail.count
    again.now_ns = START_NS
    assert again.transfers([Transfer(id_of(SEGMENT), "world", "a", 1)]) == [0]
    stamps = [row[7] for row in again.query("history", "world", None, 100, False)[1]]
    assert len(stamps) == SEGMENT + 1 and all(first < second for first, second in pairwise(stamps))
