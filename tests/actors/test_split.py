"""What a node does about split accounts: the books are those of ordinary accounts, whatever anybody knows of the shares."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from random import Random

import pytest

from node.actors import split
from node.actors.actor import Failed, promised
from node.actors.router import Call, Service
from node.actors.split import Job, choose_ready
from node.core.commit.legs import cut_legs, number_transactions
from protocol.columns import Flag
from protocol.errors import ErrorCode
from protocol.operations import Operation, PeerOperation
from protocol.placement import COORDINATOR, group_of
from protocol.status import AccountState, AccountStatus, Status
from tests.actors.split_world import World
from tests.core.ledger.driving import columns, id_bytes
from tests.core.ledger.model import Transfer

SHARDS = 5
USERS = tuple(f"user{number}" for number in range(8))


async def opened(minimum: int | None = 0) -> World:
    """Users with 100 each, and a split shop without anything."""
    world = World(SHARDS)
    await world.accounts("world", minimum=None)
    await world.accounts(*USERS)
    assert await world.split("shop", minimum) == AccountStatus.created
    for user in USERS:
        assert await world.transfers(Transfer(world.new_id(), "world", user, 100)) == [Status.created]
    return world


async def test_credits_stay_in_the_payers_shard() -> None:
    """No round, and shares wherever somebody has paid."""
    world = await opened()
    rounds = world.router.rounds
    for user in USERS:
        assert await world.transfers(Transfer(world.new_id(), user, "shop", 10)) == [Status.created]
    assert world.router.rounds == rounds
    assert (await world.read("shop"))[2] == 80
    assert sum(posted > 0 for posted, _, _ in world.shares("shop")) > 1


async def test_a_debit_is_covered_by_the_sum() -> None:
    """To the last cent, and not beyond; a refusal is for good."""
    world = await opened()
    for user in USERS:
        await world.transfers(Transfer(world.new_id(), user, "shop", 10))
    too_much, all_of_it = (Transfer(world.new_id(), "shop", "user3", amount) for amount in (81, 80))
    assert await world.transfers(too_much) == [Status.insufficient_funds]
    assert await world.transfers(all_of_it) == [Status.created]
    assert world.shares("shop") == [(0, 0, 0)] * SHARDS
    await world.transfers(Transfer(world.new_id(), "user1", "shop", 90))
    assert await world.transfers(too_much, all_of_it) == [Status.insufficient_funds, Status.exists]


async def test_the_limit_is_that_of_the_sum() -> None:
    """An overdraft lies at the home share and serves all."""
    world = await opened(minimum=-30)
    await world.transfers(Transfer(world.new_id(), "user1", "shop", 10))
    far = next(user for user in USERS if group_of(user, SHARDS) != group_of("shop", SHARDS))
    assert await world.transfers(Transfer(world.new_id(), "shop", far, 41)) == [Status.insufficient_funds]
    assert await world.transfers(Transfer(world.new_id(), "shop", far, 40)) == [Status.created]
    assert (await world.read("shop"))[2:6] == [-30, 0, 0, -30]


async def test_without_a_limit_nothing_is_gathered() -> None:
    """The home share may fall as deep as it likes."""
    world = await opened(minimum=None)
    for user in USERS:
        assert await world.transfers(Transfer(world.new_id(), "shop", user, 1_000)) == [Status.created]
    assert PeerOperation.gather not in [operation for _, operation in world.router.calls]
    assert (await world.read("shop"))[2:6] == [-8_000, 0, 0, None]


async def test_an_id_pays_once_from_a_split_account() -> None:
    """Wherever the credits are, and whatever the sender knows."""
    world = await opened(minimum=None)
    id = world.new_id()
    assert await world.transfers(Transfer(id, "shop", "user0", 10)) == [Status.created]
    for user in USERS[1:]:
        world.router.split.clear()
        again = await world.transfers(Transfer(id, "shop", user, 10))
        assert again == [Status.exists_with_different_credit_account]
    await world.split("stall")
    assert await world.transfers(Transfer(id, "shop", "stall", 10)) == [Status.exists_with_different_credit_account]
    assert (await world.read("shop"))[2] == -10


async def test_a_batch_gets_what_there_is_in_its_order() -> None:
    """Rows that the sum covers happen, the others are refused; a chain happens as a whole."""
    world = await opened()
    for user in USERS:
        await world.transfers(Transfer(world.new_id(), user, "shop", 10))
    rows = [Transfer(world.new_id(), "shop", "user0", amount) for amount in (50, 40, 20)]
    assert await world.transfers(*rows) == [Status.created, Status.insufficient_funds, Status.created]
    chain = [
        Transfer(world.new_id(), "shop", "user1", 6, flags=Flag.linked),
        Transfer(world.new_id(), "shop", "user2", 5),
    ]
    assert await world.transfers(*chain) == [Status.linked_event_failed, Status.insufficient_funds]
    chain = [replace(row, id=world.new_id(), amount=5) for row in chain]
    assert await world.transfers(*chain) == [Status.created, Status.created]
    assert await world.transfers(*chain) == [Status.exists, Status.exists]


async def test_funds_that_another_row_wanted_and_did_not_take_are_there() -> None:
    """A chain that fails for its other half, which is found out only by gathering, refuses nobody who comes behind it."""
    world = await opened()
    assert await world.split("stall", 0) == AccountStatus.created
    for user in USERS:
        await world.transfers(Transfer(world.new_id(), user, "shop", 10), Transfer(world.new_id(), user, "stall", 1))
    rows = [
        Transfer(world.new_id(), "shop", "user1", 60, flags=Flag.linked),
        Transfer(world.new_id(), "stall", "user2", 9),
        Transfer(world.new_id(), "shop", "user3", 50),
        Transfer(world.new_id(), "shop", "user4", 50),
    ]
    statuses = await world.transfers(*rows)
    assert Status.insufficient_funds in statuses[:2]
    assert statuses[2:] == [Status.created, Status.insufficient_funds]
    assert (await world.read("shop"))[2] == 30


async def test_gatherings_at_once_share_their_way() -> None:
    """Many debits from empty shares all find what the others hold."""
    world = await opened()
    await world.transfers(*(Transfer(world.new_id(), "user0", "shop", 10) for _ in range(10)))
    rows = [Transfer(world.new_id(), "shop", user, 10) for user in USERS]
    answers = await asyncio.gather(*(world.transfers(row) for row in rows))
    assert answers == [[Status.created]] * len(USERS)
    assert (await world.read("shop"))[2] == 20


async def test_a_failed_gathering_has_made_nothing_happen() -> None:
    """What was not tried is in no doubt; with a row beside it that was paid, the batch is."""
    world = await opened()
    failing = Failed(ErrorCode.outcome_unknown, "no answer in time")
    fail: Service = lambda call: call.reply(failing)  # noqa: E731
    world.router.coordinated = {**world.router.coordinated, PeerOperation.gather: fail}
    await world.transfers(Transfer(world.new_id(), "user0", "shop", 50))
    short, paid = Transfer(world.new_id(), "shop", "user1", 10), Transfer(world.new_id(), "world", "user1", 1)
    for rows, may_have_happened in (((short,), False), ((short, paid), True)):
        outcome = await world.outcome(Operation.transfers, columns(rows).pack())
        assert isinstance(outcome, Failed) and outcome.may_have_happened == may_have_happened


async def test_a_batch_that_surely_has_not_happened_has_changed_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """However few the attempts are: what the last of them has paid is told, or leaves the batch in doubt."""
    random, outcomes = Random(9), set()
    for number in range(60):
        monkeypatch.setattr(split, "ATTEMPTS_MAX", number % 3)
        world = await opened()
        await world.transfers(*(Transfer(world.new_id(), user, "shop", 10) for user in USERS))
        if random.random() < 0.5:
            world.router.split.clear()
        rows = [
            Transfer(world.new_id(), random.choice(("shop", "world")), random.choice(USERS), random.randint(1, 60))
            for _ in range(random.randint(1, 3))
        ]
        before = [(await world.read(name))[2] for name in ("shop", *USERS)]
        outcome = await world.outcome(Operation.transfers, columns(rows).pack())
        is_changed = before != [(await world.read(name))[2] for name in ("shop", *USERS)]
        assert not is_changed or not isinstance(outcome, Failed) or outcome.may_have_happened
        outcomes.add((isinstance(outcome, Failed), is_changed))
    assert {(True, True), (True, False), (False, True)} <= outcomes


async def test_who_wants_too_much_holds_up_nobody() -> None:
    """Whoever does waits for another cut while the others are let through."""

    def ready(jobs: list[Job], moving: int) -> list[list[int]]:
        for job in jobs:
            job.note_cut(80, moving)
        return [job.wanted for job in choose_ready(jobs, 80)]

    greedy, *others = [Job([amount], 0.0, print) for amount in (90, 40, 30, 20)]
    assert ready([greedy, *others], moving=20) == [[40], [30]], "moves may bring what the first wants"
    assert ready([greedy], moving=5) == []
    assert ready([greedy, *others[2:]], moving=5) == [[90], [20]], "the second cut says so too"


async def test_a_home_part_that_can_give_less_than_nothing() -> None:
    """An open chain pays from what it brings; who must wait for another cut is no reason to move anything."""
    world = await opened()
    for user in USERS:
        await world.transfers(Transfer(world.new_id(), user, "shop", 10))
    home = group_of("shop", SHARDS)
    near = next(user for user in USERS if group_of(user, SHARDS) == home)
    posted, *_ = world.shares("shop")[home - 1]
    batch = columns([
        Transfer(world.new_id(), near, "shop", 50, flags=Flag.linked),
        Transfer(world.new_id(), "shop", "world", posted + 30),
    ])  # fmt: skip
    numbers = number_transactions(batch)
    legs = cut_legs(batch, numbers, *world.router.groups_of(batch))
    world.router.shards[home].prepare(99, 1, (legs[home].part, legs[home].body))
    assert world.shares("shop")[home - 1] == (posted, posted + 30, 50)
    outcome, reply = promised()
    world.router.call(Call(COORDINATOR, PeerOperation.gather, ["shop", [200]], 1e9, reply))
    assert await outcome == [[False]]


async def test_holds_are_at_the_home_share() -> None:
    """Capture and void find them there, and funds are gathered for them."""
    world = await opened()
    await world.transfers(Transfer(world.new_id(), "user0", "shop", 50))
    hold = Transfer(world.new_id(), "shop", "user4", 40, flags=Flag.hold, ttl=60)
    assert await world.transfers(hold) == [Status.created]
    assert await world.transfers(Transfer(world.new_id(), "shop", "user5", 11)) == [Status.insufficient_funds]
    capture = Transfer(world.new_id(), "shop", "user4", 15, flags=Flag.capture, hold_id=hold.id)
    world.router.split.clear()
    assert await world.transfers(capture) == [Status.created]
    assert (await world.read("shop"))[2:4] == [35, 25]
    void = Transfer(world.new_id(), "shop", "user4", 0, flags=Flag.void, hold_id=hold.id)
    assert await world.transfers(void) == [Status.created]
    assert (await world.read("shop"))[2:4] == [35, 0]


async def test_an_outcome_is_settled_at_the_home_share() -> None:
    """A late copy is refused; what has happened is found; whoever names another share's group is put right."""
    world = await opened()
    await world.transfers(Transfer(world.new_id(), "user0", "shop", 50))
    late, done = (Transfer(world.new_id(), "shop", user, 5) for user in ("user1", "user2"))
    await world.transfers(done)
    world.router.split.clear()
    assert (await world.ask(Operation.outcome, [id_bytes(late.id), "shop"]))[0] == Status.cancelled
    assert (await world.ask(Operation.outcome, [id_bytes(done.id), "shop"]))[0] == Status.created
    assert await world.transfers(late) == [Status.cancelled]
    assert (await world.ask(Operation.transfer, [id_bytes(done.id), "shop"]))[0][:3] == [
        id_bytes(done.id),
        "shop",
        "user2",
    ]
    for group in range(1, SHARDS + 1):
        (row,) = await world.ask(Operation.transfer, [id_bytes(done.id), "shop"], group)
        assert row[:3] == [id_bytes(done.id), "shop", "user2"]
        assert (await world.ask(Operation.outcome, [id_bytes(done.id), "shop"], group))[0] == Status.created
    assert await world.ask(Operation.transfer, [id_bytes(999), "shop"]) == [None]
    assert await world.ask(Operation.transfer, [id_bytes(done.id), "user0"]) == [None]


async def test_opening() -> None:
    """It may be repeated; what is not alike is refused by name; a crash in between leaves nothing that hurts."""
    world = await opened()
    assert await world.split("shop") == AccountStatus.exists
    assert await world.split("shop", minimum=-1) == AccountStatus.exists_with_different_minimum_balance
    assert await world.split("user1") == AccountStatus.exists_with_different_split
    body = [["shop", "EUR", 0, None, "", b""]]
    assert await world.ask(Operation.accounts, body) == [AccountStatus.exists_with_different_split]
    row = ["half", "EUR", 0, None, "", b""]
    home = group_of("half", SHARDS)
    world.router.shards[home].command("ledger", ["share", row, home, SHARDS])
    assert await world.transfers(Transfer(world.new_id(), "user1", "half", 10)) == [Status.created]
    assert (await world.read("half"))[2] == 10
    assert await world.split("half") == AccountStatus.exists
    assert await world.transfers(Transfer(world.new_id(), "half", "user2", 10)) == [Status.created]


async def test_freezing_reaches_all_shares() -> None:
    """And opening again; what shares cannot do is refused."""
    world = await opened()
    world.router.split.clear()
    assert (await world.update("shop", status=int(AccountState.frozen)))[0] == AccountStatus.updated
    for user in USERS:
        assert await world.transfers(Transfer(world.new_id(), user, "shop", 1)) == [Status.credit_account_frozen]
    assert (await world.update("shop", status=int(AccountState.open)))[0] == AccountStatus.updated
    assert await world.transfers(Transfer(world.new_id(), "user1", "shop", 1)) == [Status.created]
    closing = await world.update("shop", status=int(AccountState.closed))
    assert closing[0] == AccountStatus.split_account_must_stay_open


@dataclass
class Books:
    """What the accounts must hold."""

    posted: dict[str, int]
    minimum: dict[str, int]
    sent: list[tuple[Transfer, Status]]

    def play(self, row: Transfer) -> Status:
        """As on ordinary accounts."""
        if row.debit == row.credit:
            return Status.accounts_must_be_different
        if self.posted[row.debit] - row.amount < self.minimum[row.debit]:
            return Status.insufficient_funds
        self.posted[row.debit] -= row.amount
        self.posted[row.credit] += row.amount
        return Status.created


@pytest.mark.parametrize("seed", range(12))
async def test_the_books_are_those_of_ordinary_accounts(seed: int) -> None:
    """One payment after the other, at random, with knowledge that comes and goes: a model without shares says the same.

    Every repeated payment gets its first outcome, whichever way it is sent.
    """
    random = Random(seed)
    world = World(random.randint(1, 6), seed)
    minimum = {"world": -(2**60), "shop": 0, "fees": -50, **dict.fromkeys(USERS, 0)}
    await world.accounts("world", minimum=None)
    await world.accounts(*USERS)
    for name in ("shop", "fees"):
        await world.split(name, minimum[name])
    books = Books(dict.fromkeys(minimum, 0), minimum, [])
    for _ in range(150):
        if random.random() < 0.3:
            for name in random.sample(list(world.router.split), random.randint(0, len(world.router.split))):
                del world.router.split[name]
        if books.sent and random.random() < 0.2:
            row, first = random.choice(books.sent)
            expected: Status = Status.exists if first == Status.created else first
        else:
            debit, credit = (
                random.choice(("world", "shop", "shop", "fees", *USERS)),
                random.choice(("shop", "fees", *USERS)),
            )
            row = Transfer(world.new_id(), debit, credit, random.randint(1, 60))
            expected = books.play(row)
            books.sent.append((row, expected))
        assert await world.transfers(row) == [expected], row
    for name, posted in books.posted.items():
        assert (await world.read(name))[2:5] == [posted, 0, 0], name
    for name in ("shop", "fees"):
        home = group_of(name, world.router.placement.shards)
        for group, (posted, held, incoming) in enumerate(world.shares(name), 1):
            assert posted >= (minimum[name] if group == home else 0) and (held, incoming) == (0, 0)
    assert sum(books.posted.values()) == 0
