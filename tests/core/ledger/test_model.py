"""Both apply paths do what the plain model does, over random commands, rounds and checkpoints."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node.core.ledger import history, legs, repeats, resolve, rounds, sheet, transfers
from protocol.columns import Flag
from tests.core.ledger.driving import Driver
from tests.core.ledger.model import Account, Model, Transfer
from tests.core.ledger.model_rules import BOUND

ACCOUNTS: dict[str, tuple[str, int | None, int | None]] = {
    "a": ("EUR", 0, None), "b": ("EUR", 0, 120), "c": ("EUR", -50, None), "world": ("EUR", None, None),
    "full": ("EUR", None, 60), "dollar": ("USD", None, None), "ice": ("EUR", None, None), "shut": ("EUR", 0, None),
}  # fmt: skip
PLACES = [*ACCOUNTS, "world", "a", "b", "c", "missing"]
IDS = st.integers(1, 24).map(lambda n: n << 80 | n)
CURRENT, STALE, NEXT = 1, 2, 3  # what `if_version` is drawn as, before there are versions
FLAGS = [
    0, 0, 0, 0, 1, 2, 2, 4, 4, 8, 3, 5, 9, 6, 20, 20, 21, 16, 256, 32, 32, 33, 64, 64, 65, 96, 34, 36, 52, 40, 68, 128, 128, 129, 132, 144,
    160, 192,
]  # fmt: skip


@st.composite
def a_transfer(draw: st.DrawFn) -> Transfer:
    flags = draw(st.sampled_from(FLAGS))
    row = Transfer(
        draw(IDS), draw(st.sampled_from(PLACES)), draw(st.sampled_from(PLACES)),
        draw(st.sampled_from([1, 10, 10, 50, 70, 100, 0, -5, BOUND - 1, BOUND // 2])), flags,
    )  # fmt: skip
    if flags & (Flag.capture | Flag.void | Flag.reversal):
        row.hold_id = draw(IDS)
    if flags & Flag.hold:
        row.ttl = draw(st.sampled_from([1, 5, 0]))
    row.if_version = draw(st.sampled_from([0, 0, 0, 0, CURRENT, CURRENT, STALE, NEXT]))
    row.currency = draw(st.sampled_from(["", "", "", "EUR", "USD"]))
    row.metadata = draw(st.sampled_from(["", "", '{"a":1}', '{"a":true}']))
    row.code = draw(st.sampled_from([0, 0, 7]))
    row.reference = draw(st.sampled_from(["", "", "rent"]))
    return row


@st.composite
def a_leg(draw: st.DrawFn) -> Transfer:
    row = draw(a_transfer())
    row.side = draw(st.sampled_from([1, 2, 3]))
    row.number = draw(st.integers(0, 3))
    if row.side == 1:
        row.credit = draw(st.sampled_from(["far", "away"]))
    if row.side == 2:
        row.debit = draw(st.sampled_from(["far", "away"]))
    return row


@st.composite
def a_plain_transfer(draw: st.DrawFn, is_leg: bool = False) -> Transfer:
    """What the fast path can take, but for versions and a chain now and then."""
    debit, credit = draw(st.sampled_from([("world", "a"), ("c", "world"), ("world", "c"), ("a", "c"), ("c", "a")]))
    row = Transfer(draw(st.integers(100, 10**6).map(lambda n: n << 80 | n)), debit, credit, draw(st.integers(1, 3)))
    row.if_version = draw(st.sampled_from([0, 0, 0, CURRENT, CURRENT, STALE]))
    row.currency = draw(st.sampled_from(["", "", "EUR", "EUR", "USD"]))
    if not is_leg:
        row.flags = draw(st.sampled_from([0, 0, 0, 0, 1]))
        return row
    row.number, row.side = draw(st.integers(0, 3)), draw(st.sampled_from([1, 2, 3]))
    row.debit, row.credit = "far" if row.side == 2 else debit, "far" if row.side == 1 else credit
    return row


@st.composite
def a_reversible(draw: st.DrawFn, is_leg: bool = False) -> Transfer:
    """Transfers from `world`, and what gives them back: of few ids, so that they meet."""
    side = draw(st.sampled_from([1, 2, 3])) if is_leg else 3
    is_reversal = draw(st.booleans())
    id = draw((st.integers(210, 250) if is_reversal else st.integers(200, 203)).map(lambda n: n << 80 | n))
    payee = "far" if side < 3 else "c"
    row = Transfer(
        id,
        "world",
        payee,
        draw(st.sampled_from([5, 10, 10, 20] if is_reversal else [20])),
        draw(st.sampled_from([0, 0, 0, 1])),
    )
    row.number, row.side = draw(st.integers(0, 3)), 1 if side < 3 else 3
    if is_reversal:
        row.debit, row.credit, row.side = row.credit, row.debit, 2 if side < 3 else 3
        row.flags |= Flag.reversal
        row.hold_id = draw(st.integers(200, 203).map(lambda n: n << 80 | n))
    return row


WISHES = st.lists(st.sampled_from([0, 0, 0, 56]), min_size=4, max_size=4)
STEPS = st.one_of(
    st.tuples(st.just("apply"), st.lists(a_transfer(), min_size=1, max_size=12)),
    st.tuples(st.just("apply"), st.lists(a_transfer(), min_size=1, max_size=12)),
    st.tuples(st.just("apply"), st.lists(a_plain_transfer(), min_size=1, max_size=6)),
    st.tuples(st.just("prepare"), st.lists(a_leg(), min_size=1, max_size=8)),
    st.tuples(st.just("prepare"), st.lists(a_plain_transfer(is_leg=True), min_size=1, max_size=5)),
    st.tuples(st.just("apply"), st.lists(a_reversible(), min_size=1, max_size=12)),
    st.tuples(st.just("prepare"), st.lists(a_reversible(is_leg=True), min_size=1, max_size=8)),
    st.tuples(st.just("decide"), st.tuples(st.integers(0, 9), WISHES)),
    st.tuples(st.just("expire"), st.sampled_from([1, 2_000_000_000])),
    st.tuples(st.just("save"), st.none()),
)  # fmt: skip


def opened() -> tuple[Driver, Model]:
    driver, model = Driver(), Model()
    driver.accounts(*((id, *limits) for id, limits in ACCOUNTS.items()))
    for id, (currency, minimum, maximum) in ACCOUNTS.items():
        model.accounts[id] = Account(
            currency, -BOUND if minimum is None else minimum, BOUND - 1 if maximum is None else maximum
        )
    driver.update("ice", {"status": 1})
    driver.update("shut", {"status": 2})
    model.accounts["ice"].state, model.accounts["shut"].state = 1, 2
    for id, account in model.accounts.items():
        account.version = driver.version(id)
    return driver, model


def with_versions(rows: list[Transfer], driver: Driver, model: Model) -> list[Transfer]:
    """The rows with real versions: the debit account's, an older one, or the one that the entry will give."""

    def version(row: Transfer) -> int:
        current = model.accounts[row.debit].version if row.debit in model.accounts else 7
        return {0: 0, CURRENT: current, STALE: current - 1, NEXT: driver.index + 1}[row.if_version]

    return [replace(row, if_version=version(row)) for row in rows]


def play(steps: list[tuple[str, Any]], small_batch: int) -> int:
    """Plays the steps on ledger and model together; the digest at the end."""
    with ExitStack() as patches:
        for module in (transfers, legs, resolve, rounds, sheet, repeats):
            patches.enter_context(mock.patch.object(module, "SMALL_BATCH", small_batch))
        patches.enter_context(mock.patch.object(history, "SEGMENT_TRANSFERS", 20))
        driver, model = opened()
        prepared: dict[int, tuple[list[Transfer], list[int]]] = {}
        for number, (kind, detail) in enumerate(steps):
            if kind == "apply":
                rows = with_versions(detail, driver, model)
                got = driver.transfers(rows)
                assert got == model.apply(rows, driver.elapsed_ns, driver.index), (number, rows)
            elif kind == "prepare":
                rows = with_versions(detail, driver, model)
                votes = driver.prepare(number, rows, 4)
                assert votes == model.prepare(number, rows, 4, driver.elapsed_ns), (number, rows)
                prepared[number] = rows, votes
            elif kind == "decide":
                _decide(driver, model, prepared, *detail)
            elif kind == "expire":
                driver.command("expire", passed_ns=detail)
                model.expire(driver.elapsed_ns, driver.index)
            else:
                driver.save()
                restored = driver.restored()
                assert restored.ledger.digest(1) == driver.ledger.digest(1)
                driver = restored
            _compare(driver, model)
        return driver.ledger.digest(0)


def _decide(
    driver: Driver,
    model: Model,
    prepared: dict[int, tuple[list[Transfer], list[int]]],
    which: int,
    wishes: list[int],
) -> None:
    """A transaction that fails does so at any of its rows here, or elsewhere."""
    if not prepared:
        return
    round_id = sorted(prepared)[which % len(prepared)]
    rows, votes = prepared.pop(round_id)
    statuses = [vote or wish for vote, wish in zip(votes, wishes, strict=True)]
    failed: list[Transfer | None] = [None] * len(statuses)
    places = [-1] * len(statuses)
    for number, status in enumerate(statuses):
        mine = [place for place, row in enumerate(rows) if row.number == number]
        if status and mine:
            place = mine[which % len(mine)] if len(rows) == len(mine) or which % 3 else -1
            has_chains = len({row.number for row in rows}) < len(rows)
            place = place if has_chains else mine[0]
            failed[number], places[number] = (rows[place] if place >= 0 else None), place
    driver.ledger.decide(round_id, np.array(statuses, np.uint8), driver.at(), np.array(places, np.int32))
    model.decide(round_id, statuses, failed, driver.elapsed_ns, driver.index)


def _compare(driver: Driver, model: Model) -> None:
    for id, account in model.accounts.items():
        assert driver.version(id) == account.version, id
        assert driver.balances(id) == (account.posted, account.held, account.incoming), id
        assert account.posted - account.held >= -BOUND and account.posted + account.incoming < BOUND
    books = driver.ledger.books
    for reversed_id, counter in books.reversals.recent.items():
        assert counter.amount == model.reversed.get(int.from_bytes(reversed_id, "big"), 0)
    assert {id: hold.rest for id, hold in books.holds.open.items()} == {
        id.to_bytes(16, "big"): hold["rest"] for id, hold in model.holds.items()
    }


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.lists(STEPS, min_size=1, max_size=12))
def test_columns_and_single_steps_agree_with_the_model(steps: list[tuple[str, Any]]) -> None:
    """Statuses and balances are the model's on either path, and both paths leave the same state."""
    assert play(steps, small_batch=0) == play(steps, small_batch=10**6)
