"""Ledger and allowances do together what a plain model of both does, by columns and one by one, over rounds and checkpoints."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node.core.allowances import Allowances
from node.core.ledger import Ledger, history, legs, repeats, resolve, rounds, sheet, transfers
from node.core.machine import pack_decision
from protocol.columns import Flag
from protocol.status import Status
from tests.core.ledger.model import Account, Model, Transfer
from tests.core.ledger.model_rules import BOUND
from tests.core.ledger.test_model import ACCOUNTS, a_leg, a_plain_transfer, a_transfer
from tests.core.machine.shards import Shard, votes
from tests.core.machine.shards import legs as legs_of

LIMITS = {"a": 90, "c": 150, "world": 200, "ice": 10}
ENDS = int(Flag.capture | Flag.void)


class BothModel(Model):
    """The ledger's model, in which each row is judged by the allowance as well."""

    def __init__(self, limits: dict[str, int]) -> None:
        super().__init__()
        self.limits = limits

    def judge(self, row: Transfer, elapsed_ns: int) -> tuple[bool, int]:
        """A final no of either counts before a wait, the smaller one of two."""
        known, status = super().judge(row, elapsed_ns)
        if known:
            return known, status
        reasons = [reason for reason in (status, self.allowance_status(row)) if reason]
        return False, min(reasons, key=lambda reason: (reason >= Status.elsewhere, reason), default=0)

    def counts(self, row: Transfer) -> bool:
        """Whether it takes of an allowance."""
        return bool(row.side & 1) and row.debit in self.limits and not row.flags & ENDS and row.debit in self.accounts

    def allowance_status(self, row: Transfer) -> int:
        """Paid, then pledged by rounds, but for the transaction's own part; what that gives back it may pay again."""
        if not self.counts(row):
            return 0
        account, limit = self.accounts[row.debit], self.limits[row.debit]
        own = self.own.get(f"pledge of {row.debit}", [0])[0]
        *_, back = self.own.get(row.debit, [0])
        if account.paid - back + own + self.moves > limit:
            is_turned = account.paid - max(back, self.returning(row.debit)) + own + self.moves <= limit
            return Status.undecided if is_turned else Status.exceeds_allowance
        return Status.undecided if account.paid - back + account.pledged + self.moves > limit else 0

    def returning(self, debit: str) -> int:
        """What the account's holds were opened with, if a transaction that an open round has reserved ends one of them."""
        if not self.is_ending(debit):
            return 0
        return sum(hold["amount"] for hold in self.holds.values() if hold["debit"] == debit)

    def is_ending(self, debit: str) -> bool:
        """Whether an open round has reserved the end of one of the account's holds."""
        legs = (leg for legs in self.rounds.values() for leg, _, is_reserved, _ in legs if is_reserved and leg.side & 1)
        return any(leg.flags & (Flag.void | Flag.final) and leg.debit == debit for leg in legs)

    def post(self, row: Transfer, elapsed_ns: int) -> None:
        """Counts what leaves; what a void or a final capture gives back counts no more."""
        if row.flags & (Flag.void | Flag.final):
            returning = self.holds[row.hold_id]["rest"] - (0 if row.flags & Flag.void else row.amount)
            self.accounts[row.debit].paid -= self.given_back(row.debit, returning)
        super().post(row, elapsed_ns)
        if self.counts(row):
            self.accounts[row.debit].paid += row.amount

    def given_back(self, debit: str, rest: int) -> int:
        """Of an account that has an allowance."""
        return rest if debit in self.limits else 0

    def close_hold(self, id: int) -> None:
        """An expired one gives back, too."""
        hold = self.holds[id]
        super().close_hold(id)
        if id not in self.holds:
            self.accounts[hold["debit"]].paid -= self.given_back(hold["debit"], hold["rest"])

    def end_voiding(
        self, row: Transfer, hold: dict[str, Any], debit_account: Account, ended: Status, happens: bool
    ) -> None:
        """What goes back counts no more."""
        super().end_voiding(row, hold, debit_account, ended, happens)
        if happens:
            debit_account.paid -= self.given_back(row.debit, hold["rest"])

    def reserve(self, row: Transfer) -> int:
        """Pledged until the round is decided."""
        amount = super().reserve(row)
        if self.counts(row):
            self.accounts[row.debit].pledged += row.amount
            self.own.setdefault(f"pledge of {row.debit}", [0])[0] += row.amount
        return amount

    def settle(self, row: Transfer, amount: int, happens: bool, elapsed_ns: int) -> None:
        """Paid, or given back."""
        super().settle(row, amount, happens, elapsed_ns)
        if self.counts(row):
            self.accounts[row.debit].pledged -= row.amount
            self.accounts[row.debit].paid += row.amount if happens else 0


STEPS = st.one_of(
    st.tuples(st.just("apply"), st.lists(a_transfer(), min_size=1, max_size=12)),
    st.tuples(st.just("apply"), st.lists(a_plain_transfer(), min_size=1, max_size=40)),
    st.tuples(st.just("prepare"), st.lists(a_leg(), min_size=1, max_size=8)),
    st.tuples(st.just("prepare"), st.lists(a_plain_transfer(is_leg=True), min_size=1, max_size=20)),
    st.tuples(st.just("decide"), st.tuples(st.integers(0, 9), st.lists(st.sampled_from([0, 0, 0, 56]), min_size=4, max_size=4))),
    st.tuples(st.just("expire"), st.sampled_from([1, 2_000_000_000])),
    st.tuples(st.just("save"), st.none()),
)  # fmt: skip


def opened() -> tuple[Shard, BothModel]:
    """The accounts of the ledger's own test, four of them with an allowance."""
    shard, model = Shard(Ledger(), Allowances()), BothModel(LIMITS)
    rows = [[id, *limits, "", b""] for id, limits in ACCOUNTS.items()]
    assert set(shard.command("ledger", ["accounts", rows])[1]) == {0}
    for id, (currency, minimum, maximum) in ACCOUNTS.items():
        model.accounts[id] = Account(
            currency, -BOUND if minimum is None else minimum, BOUND - 1 if maximum is None else maximum
        )
    for number, (id, state) in enumerate((("ice", 1), ("shut", 2)), 1):
        change: list[object] = ["update", id, {"status": state}, number.to_bytes(16, "big"), b""]
        assert shard.command("ledger", change)[1] == 2
        model.accounts[id].state = state
    for number, (id, limit) in enumerate(LIMITS.items(), 1):
        change = ["set", id, limit, "Pacific/Auckland", number.to_bytes(16, "big"), b""]
        assert shard.command("allowances", change) == ["allowance", 0]
    return shard, model


def play(steps: list[tuple[str, Any]], small_batch: int) -> int:
    """Plays the steps on both; the digest at the end."""
    with ExitStack() as patches:
        for module in (transfers, legs, resolve, rounds, sheet, repeats):
            patches.enter_context(mock.patch.object(module, "SMALL_BATCH", small_batch))
        patches.enter_context(mock.patch.object(history, "SEGMENT_TRANSFERS", 20))
        shard, model = opened()
        prepared: dict[int, tuple[list[Transfer], list[int]]] = {}
        for number, (kind, detail) in enumerate(steps, 1):
            if kind in ("apply", "prepare"):
                detail = [replace(row, if_version=0) for row in detail]
            if kind == "apply":
                got = shard.transfers(*detail)
                assert got == model.apply(detail, shard.elapsed_ns, shard.machine.applied), (number, detail)
            elif kind == "prepare":
                got = votes(shard.prepare(number, 4, ("ledger", legs_of(detail))))
                assert got == model.prepare(number, detail, 4, shard.elapsed_ns), (number, detail)
                prepared[number] = detail, got
            elif kind == "decide" and prepared:
                which, wishes = detail
                round_id = sorted(prepared)[which % len(prepared)]
                rows, voted = prepared.pop(round_id)
                statuses = [vote or wish for vote, wish in zip(voted, wishes, strict=True)]
                shard.decide((round_id, pack_decision(np.array(statuses, np.uint8))))
                firsts = [next((row for row in rows if row.number == one), None) for one in range(4)]
                is_chain = [sum(row.number == one for row in rows) > 1 for one in range(4)]
                _decide(model, round_id, statuses, firsts, is_chain, shard)
            elif kind == "expire":
                shard.now_ns += detail
                shard.command("ledger", ["expire"])
                model.expire(shard.elapsed_ns, shard.machine.applied)
            elif kind == "save":
                shard.save()
                restored = shard.restored(Ledger(), Allowances())
                restored.log = shard.log
                assert restored.machine.digest() == shard.machine.digest()
                shard = restored
            _compare(shard, model)
        return shard.machine.digest()


def _decide(
    model: BothModel,
    round_id: int,
    statuses: list[int],
    firsts: list[Transfer | None],
    is_chain: list[bool],
    shard: Shard,
) -> None:
    """Without the rows at which they failed, each row of a transaction keeps its status."""
    legs_here = list(model.rounds.get(round_id, []))
    model.decide(round_id, statuses, firsts, shard.elapsed_ns, shard.machine.applied)
    for row, known, _, _ in legs_here:
        status = statuses[row.number]
        if status and row.side & 1 and not known and is_chain[row.number] and Status(status).is_recorded:
            model.record[row.id] = (status, row)


def _compare(shard: Shard, model: BothModel) -> None:
    for id, account in model.accounts.items():
        assert shard.balances(id) == (account.posted, account.held, account.incoming), id
        if id in LIMITS:
            answer = shard.query("allowances", "allowance", id)
            assert answer.body[1][:2] == [LIMITS[id], account.paid], id
            assert answer.is_undecided == (account.pledged > 0 or model.is_ending(id)), id


@pytest.mark.timeout(600)  # where an example fails, looking for a smaller one takes minutes
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.lists(STEPS, min_size=1, max_size=12))
def test_columns_and_single_steps_agree_with_the_model(steps: list[tuple[str, Any]]) -> None:
    """Statuses, balances and what is paid out are the model's on either path, and both paths leave the same state."""
    assert play(steps, small_batch=0) == play(steps, small_batch=10**6)


HOLD_IDS = st.integers(900, 902)
AMOUNTS = st.sampled_from([20, 70, 90, 120])


@st.composite
def in_a_row(draw: st.DrawFn, id: int) -> tuple[str, list[Transfer]]:
    """Holds that are opened and ended between payments, each alone or some as a whole."""
    rows: list[Transfer] = []
    for other in range(10 * id, 10 * id + draw(st.integers(2, 6))):
        hold_id, amount = draw(HOLD_IDS), draw(AMOUNTS)
        rows.append(draw(st.sampled_from([
            Transfer(hold_id, "world", "c", amount, int(Flag.hold), ttl=60),
            Transfer(other, "world", "c", amount),
            Transfer(other, "world", "c", amount),
            Transfer(other, "world", "c", 0, int(Flag.void), hold_id=hold_id),
            Transfer(other, "world", "c", 5, int(Flag.capture | Flag.final), hold_id=hold_id),
        ])))  # fmt: skip
    if draw(st.booleans()):
        numbers = sorted(draw(st.lists(st.integers(0, 2), min_size=len(rows), max_size=len(rows))))
        return "prepare", [replace(row, side=1, number=number) for row, number in zip(rows, numbers, strict=True)]
    linked = [
        *draw(st.lists(st.sampled_from([0, int(Flag.linked)]), min_size=len(rows) - 1, max_size=len(rows) - 1)),
        0,
    ]
    return "apply", [replace(row, flags=row.flags | flag) for row, flag in zip(rows, linked, strict=True)]


@st.composite
def of_holds(draw: st.DrawFn) -> list[tuple[str, Any]]:
    """Payments and holds of one account beside rounds that end holds of it."""
    opening = [Transfer(id, "world", "c", draw(AMOUNTS), int(Flag.hold), ttl=60) for id in (900, 901)]
    steps: list[tuple[str, Any]] = [("apply", opening)]
    for id in range(1_000, 1_000 + draw(st.integers(2, 8))):
        if draw(st.booleans()):
            steps.append(draw(in_a_row(id)))
        hold_id, amount = draw(HOLD_IDS), draw(AMOUNTS)
        row = draw(st.sampled_from([
            Transfer(hold_id, "world", "c", amount, int(Flag.hold), ttl=60),
            Transfer(id, "world", "c", amount),
            Transfer(id, "world", "c", 0, int(Flag.void), hold_id=hold_id),
            Transfer(id, "world", "c", 5, int(Flag.capture | Flag.final), hold_id=hold_id),
            Transfer(id, "world", "c", 5, int(Flag.capture), hold_id=hold_id),
        ]))  # fmt: skip
        beside = Transfer(id + 500, "world", "c", draw(AMOUNTS), number=draw(st.integers(0, 1)))
        rows = draw(st.sampled_from([[row], [row, beside]]))
        is_leg = draw(st.booleans())
        rows = [replace(each, side=1 if is_leg else 3, number=each.number if is_leg else 0) for each in rows]
        steps.append(("prepare" if is_leg else "apply", rows))
        if draw(st.integers(0, 3)) == 3:
            steps.append(("decide", (draw(st.integers(0, 9)), draw(st.sampled_from([[0] * 4, [56] * 4])))))
        if draw(st.integers(0, 5)) == 5:
            steps.append(("save", None))
    return steps


@pytest.mark.timeout(600)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(of_holds())
def test_what_rounds_may_give_back_agrees_with_the_model(steps: list[tuple[str, Any]]) -> None:
    """Nobody is refused for good who may fit behind their decisions, and nobody waits who does not."""
    assert play(steps, small_batch=0) == play(steps, small_batch=10**6)
