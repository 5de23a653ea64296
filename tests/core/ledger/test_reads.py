"""Reads in pieces: step by step, page by page, while payments go on, they say what one look at a moment would have said."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from node.core.ledger import history, holds
from node.core.ledger.queries import SEGMENTS_A_PAGE
from node.core.ledger.settling import SEGMENTS_AT_ONCE
from node.core.ledger.stored import SEGMENTS
from node.core.machine import Answer, Body, Loaded, Need
from node.core.machine.part import SEARCHED
from protocol.columns import Flag
from tests.core.ledger.driving import START_NS, Driver
from tests.core.ledger.model import Transfer

SEGMENT = 10
NAMES = ("a", "b", "c", "d")
STEPS_MAX = 20  # of a page: links, then segments by how often the account comes


@pytest.fixture(autouse=True)
def short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments of ten transfers and a window of two make old ones quickly."""
    monkeypatch.setattr(history, "SEGMENT_TRANSFERS", SEGMENT)
    monkeypatch.setattr(history, "WINDOW_SEGMENTS", 2)
    monkeypatch.setattr(holds, "WINDOW_SEGMENTS", 2)


class Books:
    """A ledger that pays at random, and a plain list of what has happened."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.driver = Driver()
        self.driver.accounts(*[(name, "EUR", -500, None) for name in NAMES], ("poor", "EUR", 0, None))
        self.happened: list[list[Any]] = []  # rows as history shows them
        self._next = 1

    def pay(self) -> None:
        """A batch of a few transfers, some of which are refused; now and then a checkpoint."""
        rows = []
        for _ in range(self.random.randint(1, 6)):
            debit, credit = self.random.sample([*NAMES, "poor"], 2)
            reference = self.random.choice(["", f"r{self._next}"])
            id = (START_NS // 10**6 + self._next) << 80 | self._next
            hold = self.random.random() < 0.1
            given: dict[str, Any] = {"flags": Flag.hold, "ttl": 60} if hold else {}
            rows.append(Transfer(id, debit, credit, self.random.randint(1, 40), code=7, reference=reference, **given))
            self._next += 1
        statuses = self.driver.transfers(rows)
        self.happened += [
            [row.id.to_bytes(16, "big"), row.debit, row.credit, row.amount, row.code, int(row.flags), row.reference]
            for row, status in zip(rows, statuses, strict=True)
            if status == 0
        ]
        if self.random.random() < 0.2:
            self.driver.save()

    def read(self, *body: object) -> Body:
        """A question that is asked in steps, as a node asks it, while others pay between them."""
        loaded: Loaded = {}
        for _ in range(STEPS_MAX):
            answer = self.driver.ledger.query(list(body), loaded)
            if isinstance(answer, Answer):
                return answer.body
            fresh = [key for key in answer.keys if key not in loaded]
            assert fresh and len([key for key in answer.keys if key[0] == SEGMENTS]) <= SEGMENTS_A_PAGE
            loaded = {**loaded, **{(table, key): self.driver.store[table].get(key) for table, key in fresh}}
            if self.random.random() < 0.5:
                self.pay()
        raise AssertionError("the read never ends")

    def of(self, name: str) -> list[list[Any]]:
        """What has happened to an account."""
        return [row for row in self.happened if name in row[1:3]]


@pytest.mark.parametrize("seed", range(25))
def test_pages_are_complete_while_payments_go_on(seed: int) -> None:
    """Oldest first, every transfer once up to some moment of the last step; newest first, all that was there at the first."""
    books = Books(seed)
    for _ in range(books.random.randint(5, 120)):
        books.pay()
    name, newest_first = books.random.choice(NAMES), seed % 2 == 0
    before = books.of(name)
    rows: list[list[Any]] = []
    cursor = None
    while True:
        _, page, cursor = books.read("history", name, cursor, books.random.choice([1, 3, 10, 1_000]), newest_first)
        rows += [row[:7] for row in page]
        if cursor is None:
            break
        books.pay()
    ordered = rows[::-1] if newest_first else rows
    after = books.of(name)
    assert len({row[0] for row in rows}) == len(rows), "a transfer is shown twice"
    if newest_first:
        first = len(ordered) - len(before)
        assert first >= 0 and ordered == after[: len(ordered)]
    else:
        assert len(before) <= len(ordered) and ordered == after[: len(ordered)]


@pytest.mark.parametrize("seed", range(10))
def test_many_accounts_are_read_as_one_by_one(seed: int) -> None:
    """Whatever their order and number, doubles and unknown ones among them."""
    books = Books(seed)
    books.driver.command("accounts", [["rich", "USD", None, 7, "its owner", b"data"]])
    for _ in range(30):
        books.pay()
    ids = books.random.choices([*NAMES, "poor", "rich", "nobody", ""], k=books.random.randint(1, 40))
    (_, together), single = (
        books.driver.query("accounts", ids),
        [books.driver.query("accounts", [id])[1][0] for id in ids],
    )
    assert together == single
    for id, row in zip(ids, together, strict=True):
        assert (row is None) == (id in ("nobody", ""))
        if id in NAMES:
            posted = sum(row[3] * (1 if row[2] == id else -1) for row in books.of(id) if not row[5])
            held = sum(row[3] for row in books.of(id) if row[5] and row[1] == id)
            assert row[:4] == [id, "EUR", posted, held] and row[5:10] == [-500, None, 0, "", b""]
        if id == "rich":
            assert row == ["rich", "USD", 0, 0, 0, None, 7, 0, "its owner", b"data", row[10], False, False, b""]


def test_accounts_are_read_from_an_empty_ledger() -> None:
    """Nobody is there."""
    assert Driver().query("accounts", ["a", "b"])[1] == [None, None]


def test_a_full_page_loads_no_more_than_it_shows() -> None:
    """Segments are read as they are needed, not all that hold the account."""
    books = Books(1)
    books.driver.command("accounts", [["w", "EUR", None, None, "", b""], ["v", "EUR", None, None, "", b""]])
    for number in range(400):
        books.driver.transfers([Transfer((START_NS // 10**6 + number) << 80 | 1, "w", "v", 1)])
    books.driver.save()
    books.driver.save()
    books.driver.needed.clear()
    _, rows, cursor = books.driver.query("history", "v", None, 10, False)
    assert len(rows) == 10 and cursor is not None
    assert {number for table, number in books.driver.needed if table == SEGMENTS} == {0, 1}


def test_a_search_looks_through_a_few_segments_at_a_time() -> None:
    """It keeps none of those that it has looked through, finds what is there, and loads each once at the most."""
    books = Books(1)
    for _ in range(120):
        books.pay()
    books.driver.save()
    books.driver.save()
    wanted, steps = books.happened[7], 0
    for id in (wanted[0], b"\xff" + bytes(14) + b"\1", bytes(15) + b"\1"):
        loaded: Loaded = {}
        while isinstance(answer := books.driver.ledger.query(["transfer", id], loaded), Need):
            missing = answer.missing(loaded)
            assert len(missing) <= SEGMENTS_AT_ONCE and not set(missing) & set(loaded)
            loaded = answer.fill(loaded, {(table, key): books.driver.store[table].get(key) for table, key in missing})
            assert sum(row != SEARCHED for row in loaded.values()) <= SEGMENTS_AT_ONCE
            steps += 1
        row = answer.body[1]
        assert (None if row is None else row[:7]) == (wanted if id == wanted[0] else None)
    assert steps


def test_an_id_that_could_be_anywhere_is_searched_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all segments may hold it, none is skipped and none is kept."""
    monkeypatch.setattr(history, "intervals_of", lambda keys: [(0, 2**64 - 1)])
    books = Books(2)
    while books.driver.ledger.books.history.sealed < 5 * SEGMENTS_AT_ONCE:
        books.pay()
    books.driver.save()
    books.driver.save()
    books.driver.needed.clear()
    assert books.driver.query("transfer", b"\7" * 16)[1] is None
    searched = {number for table, number in books.driver.needed if table == SEGMENTS}
    assert searched == set(range(books.driver.ledger.books.history.window_start))
    oldest = books.happened[0]
    assert books.driver.query("transfer", oldest[0])[1][:7] == oldest
