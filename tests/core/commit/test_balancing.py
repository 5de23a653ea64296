"""What balancing rows move between shards: the coordinator tries amounts, and ends where one shard alone would have."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import replace
from random import Random

import numpy as np
import pytest

from node.core.commit import Ticket
from node.core.commit.gathering import ATTEMPTS_MAX
from node.core.commit.legs import CREDIT, DEBIT, Legs
from node.core.commit.votes import merge_votes
from node.core.ledger import Ledger
from node.core.machine import NOT_SURE, NOT_TOLD, ROUND_BITS, SETTLED, Votes
from protocol.columns import Flag
from protocol.status import Status, split_status
from tests.core.commit.bench import Bench, prepare_of, resolved
from tests.core.ledger.driving import columns, names
from tests.core.ledger.model import Transfer
from tests.core.machine.shards import Shard, decision, legs

LIMITS = ((None, None), (0, None), (0, 60), (-100, None), (-50, 40))
DEBITS, CREDITS = int(Flag.balancing_debit), int(Flag.balancing_credit)
BOTH = DEBITS | CREDITS
EUR = 7
FUNDS, UNDECIDED, NOTHING_OWED = int(Status.insufficient_funds), int(Status.undecided), int(Status.nothing_owed)


class World:
    """Two shards under a coordinator, and one that has all accounts and says what should happen."""

    def __init__(self) -> None:
        self.bench = Bench(groups=(1, 2))
        self.bench.accept()
        self.shards = {1: Shard(Ledger()), 2: Shard(Ledger())}
        self.alone = Shard(Ledger())
        self.homes: dict[str, int] = {}
        self.tickets = self.rounds = 0

    def open(self, name: str, group: int, minimum: int | None = None, maximum: int | None = None) -> None:
        """An account, and its twin in the shard that has all."""
        self.homes[name] = group
        for shard in (self.shards[group], self.alone):
            answer = shard.command("ledger", ["accounts", [[name, "EUR", minimum, maximum, "", b""]]])
            assert answer[1] == b"\0"

    def submit(self, rows: Sequence[Transfer]) -> None:
        """The next ticket."""
        self.tickets += 1
        batch = columns(rows)
        groups = [
            np.array([self.homes[name] for name in names], np.int32) for names in (batch.debits(), batch.credits())
        ]
        self.bench.take(self.bench.core.submit(Ticket(self.tickets), batch, *groups))

    def pay(self, rows: Sequence[Transfer], *, silent: Sequence[int] = ()) -> list[str]:
        """One chain, nothing else under way. The shards in `silent` do not vote in its first round."""
        self.submit(chain(rows))
        return self.settle(silent)

    def settle(self, silent: Sequence[int] = ()) -> list[str]:
        """What the last ticket is told."""
        self.rounds = 0
        while self.tickets not in self.bench.answers:
            self.bench.tick()
            self.rounds += bool(self.bench.prepares())
            self.deliver(silent if self.rounds == 1 else ())
        self.bench.tick()
        self.deliver()
        return names([split_status(answered)[0] for answered in self.bench.answers[self.tickets]])

    def deliver(self, silent: Sequence[int] = ()) -> None:
        """All calls under way arrive, but for PREPAREs in silent shards: their rounds are given up."""
        self.bench.record_all()
        for ask in list(self.bench.asks):
            if ask.prepare is not None and ask.group in silent:
                self.bench.asks.remove(ask)
                self.bench.abandon(prepare_of(ask).round_id)
                continue
            (answer,) = self.shards[ask.group].entry(resolved(ask, self.shards[ask.group].round))
            self.bench.answer(ask, answer)
        self.bench.record_all()

    def balances(self) -> dict[str, tuple[int, int, int]]:
        """Of all accounts."""
        return {name: self.shards[group].balances(name) for name, group in self.homes.items()}

    def expected(self, rows: Sequence[Transfer]) -> tuple[list[str], dict[str, tuple[int, int, int]]]:
        """What the shard that has all accounts says, and the balances there."""
        statuses = names(self.alone.transfers(*chain(rows)))
        return statuses, {name: self.alone.balances(name) for name in self.homes}


def chain(rows: Sequence[Transfer]) -> list[Transfer]:
    """These rows, linked."""
    return [*(replace(row, flags=row.flags | Flag.linked) for row in rows[:-1]), rows[-1]]


def chains(random: Random, accounts: Sequence[str]) -> list[list[Transfer]]:
    """Some chains, most of their rows balancing."""
    made: list[list[Transfer]] = []
    for number in range(12):
        rows = []
        for place in range(random.randint(1, 5)):
            debit, credit = random.sample(accounts, 2)
            flags = random.choice([0, 0, CREDITS, DEBITS, DEBITS, BOTH])
            amount = random.choice([0, 0, 5, 20, 50, 100, 1000] if flags else [1, 10, 30, 70])
            rows.append(Transfer(100 * number + place + 1, debit, credit, amount, flags))
        made.append(rows)
    return made


@pytest.mark.parametrize("is_silent", [False, True])
@pytest.mark.parametrize("first", range(0, 60, 20))
def test_two_shards_move_what_one_would(first: int, is_silent: bool) -> None:
    """Whatever was tried meanwhile, and whoever was silent once. A silent shard's reason may give way to another's."""
    for seed in range(first, first + 20):
        random, world = Random(seed), World()
        for place, limits in enumerate(LIMITS * 2):
            world.open(f"{place}", 1 + place // len(LIMITS), *limits)
        for rows in chains(random, list(world.homes)):
            silent = [group for group in (1, 2) if random.random() < 0.4] if is_silent else []
            statuses, balances = world.pay(rows, silent=silent), world.balances()
            assert "undecided" not in statuses and "retry" not in statuses, (seed, rows)
            expected = world.expected(rows)
            assert balances == expected[1], (seed, rows)
            assert is_silent or statuses == expected[0], (seed, rows)


def test_a_balancing_row_finds_its_amount_beside_others() -> None:
    """Plain payments stand before it in its round: what it lacks is its own."""
    world = World()
    world.open("world", 1)
    world.open("payer", 1, 0)
    world.open("debtor", 2, -100)
    world.open("shop", 2)
    assert (
        world.pay([Transfer(1, "world", "payer", 70)]) == world.pay([Transfer(2, "debtor", "shop", 50)]) == ["created"]
    )
    world.submit([Transfer(10 + number, "world", "shop", 1) for number in range(3)])
    world.submit([Transfer(20, "payer", "debtor", 60, CREDITS)])
    assert (world.settle(), world.rounds) == (["created"], 2)
    assert world.balances()["debtor"] == (0, 0, 0)


@pytest.mark.parametrize(
    ("rows", "left"),
    [
        ([Transfer(10, "payer", "debtor", 100, CREDITS)], 20),
        ([Transfer(10, "payer", "debtor", 60, CREDITS), Transfer(11, "payer", "world", 15)], 5),
    ],
    ids=["alone", "behind"],
)
def test_a_refusal_of_what_was_only_tried_is_not_final(rows: list[Transfer], left: int) -> None:
    """There are 70 and 50 are owed; the shard that knows what is owed was silent when more was tried than there is, or than leaves 15."""
    world = World()
    world.open("world", 1)
    world.open("payer", 1, 0)
    world.open("debtor", 2, -100)
    world.open("shop", 2)
    assert world.pay([Transfer(1, "world", "payer", 70)]) == ["created"]
    assert world.pay([Transfer(2, "debtor", "shop", 50)]) == ["created"]
    assert set(world.pay(rows, silent=[2])) == {"created"}
    assert world.balances()["payer"] == (left, 0, 0) and world.balances()["debtor"] == (0, 0, 0)


def test_a_chain_waits_though_another_amount_is_refused() -> None:
    """The shard that knows what is owed waits at the row before, for room that an open round may give."""
    world = World()
    world.open("world", 1)
    world.open("payer", 1, 0)
    world.open("debtor", 2, -100)
    world.open("full", 2, 0, 100)
    world.open("shop", 2)
    for number, (debit, credit, amount) in enumerate(
        [("world", "payer", 75), ("debtor", "shop", 50), ("shop", "full", 90)]
    ):
        assert world.pay([Transfer(1 + number, debit, credit, amount)]) == ["created"]
    leaving, other = Transfer(9, "full", "world", 50, side=DEBIT), 1 << ROUND_BITS | 1_000
    world.shards[2].prepare(other, 1, ("ledger", legs([leaving])))
    rows = [Transfer(10, "payer", "full", 15), Transfer(11, "payer", "debtor", 100, CREDITS)]
    assert world.pay(rows) == ["undecided", "undecided"] and world.rounds == ATTEMPTS_MAX
    world.shards[2].decide((other, decision(0)))
    assert world.pay(rows) == ["created", "created"] and world.balances()["payer"] == (10, 0, 0)


@pytest.mark.parametrize("limit", [0, 1_000])
def test_a_long_chain_finds_its_amounts_together(limit: int) -> None:
    """More rows than a transaction may try rounds."""
    world, count = World(), ATTEMPTS_MAX + 10
    world.open("world", 1)
    world.open("pot", 2)
    for place in range(count):
        world.open(f"{place}", 1, 0)
    assert set(world.pay([Transfer(1 + place, "world", f"{place}", 10 + place) for place in range(count)])) == {
        "created"
    }
    rows = [Transfer(1_000 + place, f"{place}", "pot", limit, DEBITS) for place in range(count)]
    assert set(world.pay(rows)) == {"created"} and world.rounds == 2
    assert world.balances()["pot"][0] == sum(range(10, 10 + count))


# -- votes --------------------------------------------------------------------------------------------------------


def told(status: int, apart: int) -> Votes:
    """What a shard says of a balancing row."""
    return Votes(bytes([status & ~SETTLED]), {"ledger": struct.pack("<HBq", EUR, status, apart)})


def merged(debit: Votes, credit: Votes) -> tuple[int, int]:
    """What becomes of the row, and how far from what was tried the next round is."""
    one = np.zeros(1, np.intp)
    halves = {group: Legs(one, np.array([side], np.uint8), "ledger", []) for group, side in ((1, DEBIT), (2, CREDIT))}
    verdict = merge_votes(halves, {1: debit, 2: credit}, np.zeros(1, np.int32))
    assert verdict.apart is not None
    return int(verdict.transactions[0]), int(verdict.apart[0])


def test_the_least_of_what_is_told() -> None:
    """Whoever bounds the row more closely counts, and who has nothing against the amount leaves it."""
    assert merged(told(UNDECIDED, -50), told(UNDECIDED, -70)) == (UNDECIDED, -70)
    assert merged(told(0, 30), told(0, 20)) == (UNDECIDED, 20)
    assert merged(told(0, 30), told(0, 0)) == (0, 0)


def test_what_nobody_is_sure_of_is_not_tried() -> None:
    """An open round may still change it."""
    assert merged(told(UNDECIDED, NOT_SURE), told(0, NOT_TOLD)) == (UNDECIDED, 0)
    assert merged(told(UNDECIDED, NOT_SURE), told(0, 30)) == (UNDECIDED, 0)
    assert merged(told(0, 30), told(UNDECIDED, NOT_SURE)) == (UNDECIDED, 0)


def test_a_known_row_is_answered_whatever_is_apart() -> None:
    """It has happened, or was refused, with another amount."""
    assert merged(told(int(Status.exists), NOT_TOLD), told(UNDECIDED, -5)) == (Status.exists, 0)
    assert merged(told(SETTLED | FUNDS, NOT_TOLD), told(UNDECIDED, -5)) == (FUNDS, 0)


def test_an_amount_is_refused_for_good_once_both_have_looked_at_it() -> None:
    """Or if the other refuses the row for what it knows itself. What is no matter of amounts needs nobody else."""
    frozen = int(Status.debit_account_frozen)
    assert merged(told(FUNDS, 0), told(0, 0)) == (FUNDS, 0)
    assert merged(told(FUNDS, 0), told(UNDECIDED, NOT_TOLD)) == (UNDECIDED, 0)
    assert merged(told(FUNDS, 0), told(UNDECIDED, NOT_SURE)) == (UNDECIDED, 0)
    assert merged(told(FUNDS, 0), told(NOTHING_OWED, NOT_TOLD)) == (NOTHING_OWED, 0)
    assert merged(told(frozen, NOT_TOLD), told(0, 0)) == (frozen, 0)
