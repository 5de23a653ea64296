"""A second part joins the ledger without touching it: rounds, checkpoints, the shard's digest."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from node.core.ledger import Ledger
from node.core.machine import Body, Kind
from protocol.columns import Flag
from protocol.status import REPEATED, Status
from tests.core.ledger.driving import columns
from tests.core.ledger.model import Transfer
from tests.core.machine.shards import Shard, decision, legs, votes
from tests.core.machine.spending import OVER_LIMIT, Spending

NO = int(Status.insufficient_funds)


@pytest.fixture
def shard() -> Shard:
    """Ledger and limits; account a holds 100, its user may spend 50."""
    shard = Shard()
    shard.accounts("world", minimum=None)
    shard.accounts("a", "b")
    assert shard.transfers(Transfer(1, "world", "a", 100)) == [0]
    assert shard.command("spending", ["limit", "ann", 50]) == ["limit", 50]
    return shard


def buy(*rows: Transfer, user: str = "ann") -> tuple[str, Body]:
    """The user buys, in a round or here."""
    is_round = any(row.side != 3 for row in rows)
    return "spending", ["buy", user, legs(rows) if is_round else ["transfers", columns(rows).pack()]]


def pay(id: int, amount: int, number: int = 0) -> Transfer:
    """From a to an account elsewhere."""
    return Transfer(id, "a", "far", amount, side=1, number=number)


def spent(shard: Shard) -> Body:
    """Spent, reserved, limit."""
    return shard.query("spending", "spent", "ann").body[1:]


def test_both_parts_vote_and_carry_out_one_decision(shard: Shard) -> None:
    """Money is held and the counter reserved; one DECIDE settles both."""
    answer = shard.prepare(5, 1, buy(pay(10, 30)))
    assert votes(answer) == [0]
    assert [part for part, _ in answer[2]] == ["ledger", "spending"]
    assert shard.balances("a") == (100, 30, 0)
    assert spent(shard) == [0, 30, 50] and shard.query("spending", "spent", "ann").is_undecided
    shard.decide((5, decision(0)))
    assert shard.balances("a") == (70, 0, 0)
    assert spent(shard) == [30, 0, 50]


def test_a_no_of_the_second_part_aborts_the_legs_of_the_ledger(shard: Shard) -> None:
    """The vote of a transaction is that of all its parts; the others of the round go through."""
    shard.command(*buy(Transfer(9, "a", "b", 5)))
    answer = shard.prepare(5, 2, buy(pay(10, 30), pay(11, 60, 1)))
    assert votes(answer) == [0, OVER_LIMIT]
    assert shard.balances("a") == (95, 30, 0)
    shard.decide((5, decision(*votes(answer))))
    assert shard.balances("a") == (65, 0, 0)
    assert spent(shard) == [35, 0, 50]


def test_a_no_that_an_open_round_may_turn_is_not_final(shard: Shard) -> None:
    """What is reserved may come back: whoever lacks only that must wait, in the next round and here."""
    shard.prepare(5, 1, buy(pay(10, 30)))
    assert votes(shard.prepare(6, 1, buy(pay(11, 30)))) == [Status.undecided]
    assert shard.command(*buy(Transfer(12, "a", "b", 30)))[1][0] == Status.undecided
    shard.decide((5, decision(NO)), (6, decision(Status.undecided)))
    assert shard.command(*buy(Transfer(12, "a", "b", 30)))[1][0] == 0


def test_a_no_of_the_ledger_gives_the_counter_back(shard: Shard) -> None:
    """It works in the other direction too."""
    shard.command("spending", ["limit", "ann", 1_000])
    answer = shard.prepare(5, 1, buy(pay(10, 300)))
    assert votes(answer) == [NO]
    shard.decide((5, decision(*votes(answer))))
    assert spent(shard) == [0, 0, 1_000]


def test_the_smallest_reason_of_all_parts_is_the_vote(shard: Shard) -> None:
    """Of one row; the ledger remembers it under the id as if it were its own."""
    assert votes(shard.prepare(5, 1, buy(pay(10, 300)))) == [min(NO, OVER_LIMIT)]
    assert shard.command(*buy(Transfer(11, "a", "b", 60)))[1][0] == OVER_LIMIT
    assert shard.command(*buy(Transfer(11, "a", "b", 6)))[1][0] == OVER_LIMIT | REPEATED
    assert shard.balances("a") == (100, 0, 0)


def test_what_is_known_of_an_id_comes_before_all_parts(shard: Shard) -> None:
    """A repeat of a payment is no second one, and nobody is asked whether it would be allowed by now."""
    assert shard.command(*buy(Transfer(10, "a", "b", 40)))[1][0] == 0
    assert shard.command(*buy(Transfer(10, "a", "b", 40)))[1][0] == Status.exists
    assert spent(shard) == [40, 0, 50]


def test_a_chain_is_all_or_none_over_parts(shard: Shard) -> None:
    """A refusal by either part undoes what both have taken of the chain; the row that was refused says why, and is recorded."""
    shard.command("spending", ["limit", "ann", 80])
    chain = [Transfer(10, "a", "b", 30, flags=Flag.linked), Transfer(11, "a", "b", 60)]
    other = Transfer(12, "a", "b", 10)
    assert list(shard.command(*buy(*chain, other))[1]) == [OVER_LIMIT, Status.linked_event_failed, 0]
    assert shard.balances("a") == (90, 0, 0) and spent(shard) == [10, 0, 80]
    assert list(shard.command(*buy(*chain, other))[1]) == [
        OVER_LIMIT | REPEATED, Status.linked_event_failed, Status.exists,
    ]  # fmt: skip
    fine = [replace(row, id=row.id + 10, amount=row.amount // 3) for row in chain]
    assert list(shard.command(*buy(*fine))[1]) == [0, 0]
    assert shard.balances("a") == (60, 0, 0) and spent(shard) == [40, 0, 80]


def test_the_second_part_counts_in_the_digest_and_in_the_mark(shard: Shard) -> None:
    """Two shards that differ in nothing but a limit differ in their digest."""
    before = shard.machine.digest()
    spending = shard.machine.parts["spending"]
    assert isinstance(spending, Spending)
    spending.users["ann"].limit = 51
    assert shard.machine.digest() != before
    mark = shard.mark("cut")
    assert [part for part, _ in mark[4]] == ["ledger", "spending"]


def test_its_tables_join_those_of_the_shard() -> None:
    """The store is opened with the tables of all parts."""
    shard = Shard(Ledger(), Spending())
    assert "spending" in shard.machine.tables and "spending" in shard.machine.live_tables
    assert dict.fromkeys(Ledger.archive_tables).keys().isdisjoint(shard.machine.live_tables)


def test_a_checkpoint_holds_both_parts_and_the_open_round(shard: Shard) -> None:
    """Restored in the middle of a round, the copy votes, decides and digests like the original."""
    first = shard.prepare(5, 1, buy(pay(10, 30)))
    shard.decide((4, decision(Status.retry)))
    shard.save()
    other = shard.restored()
    assert other.machine.digest() == shard.machine.digest()
    for one in (shard, other):
        assert one.prepare(5, 1, buy(pay(10, 30))) == first
        assert one.prepare(4, 1, buy(pay(11, 1))) == ["superseded"]
        one.decide((5, decision(0)), over=(6, 0))
        assert one.prepare(5, 1, buy(pay(11, 1))) == ["superseded"]
    assert other.machine.digest() == shard.machine.digest()


def test_a_checkpoint_keeps_the_epoch(shard: Shard) -> None:
    """A restart must not let an old coordinator back in."""
    shard.entry([Kind.epoch, 7])
    shard.save()
    assert shard.restored().decide(epoch=6) == ["stale_epoch", 7]


@pytest.mark.parametrize("seed", range(10))
def test_replaying_the_log_behind_any_checkpoint_gives_the_same_shard(seed: int) -> None:
    """Random commands and rounds with checkpoints between them: the original, a restart and a full replay agree."""
    generator = random.Random(seed)
    shard = Shard()
    shard.accounts("world", minimum=None)
    shard.accounts("a", "b", "c")
    shard.command("spending", ["limit", "ann", 500])
    saved = shard.restored()
    saved_at = 0
    opened: list[int] = []
    for number in range(10, 130):
        step_at_random(shard, generator, number, opened)
        if generator.random() < 0.1:
            shard.save()
            saved, saved_at = shard.restored(), len(shard.log)
            assert saved.machine.digest() == shard.machine.digest()
    for data in shard.log[saved_at:]:
        saved.apply(data)
    whole = Shard()
    for data in shard.log:
        whole.apply(data)
    assert saved.machine.digest() == whole.machine.digest() == shard.machine.digest()


def step_at_random(shard: Shard, generator: random.Random, number: int, opened: list[int]) -> None:
    """One entry of any kind."""
    payer, payee = generator.sample(["world", "a", "b", "c"], 2)
    amount = generator.randint(1, 60)
    match generator.randrange(5):
        case 0 | 1:
            shard.transfers(Transfer(number, payer, payee, amount))
        case 2:
            shard.prepare(number, 1, buy(Transfer(number, payer, "far", amount, side=1)))
            opened.append(number)
        case 3 if opened:
            round_id = opened.pop(generator.randrange(len(opened)))
            answer = shard.machine.rounds[round_id].answer
            shard.decide((round_id, decision(*votes(answer))), over=(min(opened, default=number), 0))
        case _:
            shard.command(*buy(Transfer(number, payer, payee, amount)))
