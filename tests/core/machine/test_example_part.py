"""A second part joins the ledger without touching it: rounds, checkpoints, the shard's digest."""

from __future__ import annotations

import random

import pytest

from node.core.ledger import Ledger
from node.core.machine import Body, Kind
from protocol.status import Status
from tests.core.ledger.model import Transfer
from tests.core.machine.shards import Shard, decision, legs, votes
from tests.core.machine.spending import OVER_LIMIT, Spending


@pytest.fixture
def shard() -> Shard:
    """Ledger and limits; account a holds 100, its user may spend 50."""
    shard = Shard()
    shard.accounts("world", minimum=None)
    shard.accounts("a", "b")
    assert shard.transfers(Transfer(1, "world", "a", 100)) == [0]
    assert shard.command("spending", ["limit", "ann", 50]) == ["limit", 50]
    return shard


def pay(id: int, amount: int, number: int = 0) -> Transfer:
    """From a to an account elsewhere."""
    return Transfer(id, "a", "far", amount, side=1, number=number)


def spend(*rows: tuple[int, int]) -> tuple[str, Body]:
    """Ann spends: (transaction, amount) rows."""
    return "spending", ["spend", [[number, "ann", amount] for number, amount in rows]]


def test_both_parts_vote_and_carry_out_one_decision(shard: Shard) -> None:
    """Money is held and the counter reserved; one DECIDE settles both."""
    answer = shard.prepare(5, 1, ("ledger", legs([pay(10, 30)])), spend((0, 30)))
    assert votes(answer) == [0]
    assert [part for part, _ in answer[2]] == ["ledger", "spending"]
    assert shard.balances("a") == (100, 30, 0)
    asked = shard.query("spending", "spent", "ann")
    assert asked.body == ["spent", 0, 30, 50] and asked.is_undecided
    shard.decide((5, decision(0)))
    assert shard.balances("a") == (70, 0, 0)
    assert shard.query("spending", "spent", "ann").body == ["spent", 30, 0, 50]


def test_a_no_of_the_second_part_aborts_the_legs_of_the_ledger(shard: Shard) -> None:
    """The vote of a transaction is that of all its parts; the others of the round go through."""
    answer = shard.prepare(5, 2, ("ledger", legs([pay(10, 30), pay(11, 40, 1)])), spend((0, 30), (1, 40)))
    assert votes(answer) == [0, OVER_LIMIT]
    assert shard.balances("a") == (100, 70, 0)
    shard.decide((5, decision(*votes(answer))))
    assert shard.balances("a") == (70, 0, 0)
    assert shard.query("spending", "spent", "ann").body == ["spent", 30, 0, 50]


def test_a_no_of_the_ledger_gives_the_counter_back(shard: Shard) -> None:
    """It works in the other direction too."""
    shard.command("spending", ["limit", "ann", 1_000])
    answer = shard.prepare(5, 1, ("ledger", legs([pay(10, 300)])), spend((0, 300)))
    assert votes(answer) == [Status.insufficient_funds]
    shard.decide((5, decision(*votes(answer))))
    assert shard.query("spending", "spent", "ann").body == ["spent", 0, 0, 1_000]


def test_the_smallest_reason_of_all_parts_is_the_vote(shard: Shard) -> None:
    """Precedence does not depend on the order in which parts are asked."""
    first = shard.prepare(5, 1, ("ledger", legs([pay(10, 300)])), spend((0, 300)))
    second = shard.prepare(6, 1, spend((0, 300)), ("ledger", legs([pay(11, 300)])))
    assert votes(first) == votes(second) == [min(Status.insufficient_funds, OVER_LIMIT)]


@pytest.mark.parametrize("is_ledger_first", [True, False])
def test_together_over_parts_is_all_or_none(shard: Shard, is_ledger_first: bool) -> None:
    """A refusal by either part undoes both, in whatever order they are asked."""

    def commands(id: int, amount: int) -> list[Body]:
        pair: list[Body] = [
            ["ledger", shard.resolve("ledger", legs([Transfer(id, "a", "b", amount)]))],
            [*spend((0, amount))],
        ]
        return pair if is_ledger_first else pair[::-1]

    assert shard.entry([Kind.together, commands(10, 40)]) == [["together", 0]]
    assert shard.entry([Kind.together, commands(11, 40)]) == [["together", OVER_LIMIT]]
    assert shard.balances("a") == (60, 0, 0)
    assert shard.query("spending", "spent", "ann").body == ["spent", 40, 0, 50]
    assert shard.entry([Kind.together, commands(12, 10)]) == [["together", 0]]


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
    first = shard.prepare(5, 1, ("ledger", legs([pay(10, 30)])), spend((0, 30)))
    shard.decide((4, decision(Status.retry)))
    shard.save()
    other = shard.restored()
    assert other.machine.digest() == shard.machine.digest()
    for one in (shard, other):
        assert one.prepare(5, 1, ("ledger", legs([pay(10, 30)])), spend((0, 30))) == first
        assert one.prepare(4, 1, spend((0, 1))) == ["void"]
        one.decide((5, decision(0)), over=(6, 0))
        assert one.prepare(5, 1, spend((0, 1))) == ["void"]
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
    giver, taker = generator.sample(["world", "a", "b", "c"], 2)
    amount = generator.randint(1, 60)
    match generator.randrange(5):
        case 0 | 1:
            shard.transfers(Transfer(number, giver, taker, amount))
        case 2:
            row = Transfer(number, giver, "far", amount, side=1)
            shard.prepare(number, 1, ("ledger", legs([row])), spend((0, amount)))
            opened.append(number)
        case 3 if opened:
            round_id = opened.pop(generator.randrange(len(opened)))
            answer = shard.machine.rounds[round_id].answer
            shard.decide((round_id, decision(*votes(answer))), over=(min(opened, default=number), 0))
        case _:
            both = shard.resolve("ledger", legs([Transfer(number, giver, taker, amount)]))
            shard.entry([Kind.together, [["ledger", both], [*spend((0, amount))]]])
