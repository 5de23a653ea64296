"""Facts of a shard against a plain model: none is missing, doubled or out of order, whoever reads them when, and whatever has happened."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from node.core.allowances import Allowances
from node.core.ledger import Ledger, history, holds
from node.core.machine import Answer, Body, Need, journal
from node.core.machine.journal import Journal
from protocol.answers import FactsTold, facts_of
from protocol.columns import Flag
from protocol.events import NEWEST, OLDEST, EventKind
from tests.core.ledger.model import Transfer
from tests.core.machine.shards import Shard, decision, legs

ALL = [EventKind.accounts, EventKind.transfers, EventKind.holds, EventKind.allowances]
PAGE = 7
SEGMENT = 11
STEPS = 90
NAMES = {Flag.none: "transfer", Flag.hold: "hold", Flag.capture: "capture", Flag.void: "void"}

Told = tuple[Any, ...]
"""What the model knows of an event: its name, and what it is about."""


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages and segments of a few rows, so that most of them are full, stored, and read back."""
    monkeypatch.setattr(journal, "PAGE_FACTS", PAGE)
    monkeypatch.setattr(history, "SEGMENT_TRANSFERS", SEGMENT)
    monkeypatch.setattr(history, "WINDOW_SEGMENTS", 2)
    monkeypatch.setattr(holds, "WINDOW_SEGMENTS", 2)


@dataclass
class World:
    """A shard, and what must be told of it."""

    generator: random.Random
    shard: Shard = field(default_factory=lambda: Shard(Ledger(), Allowances()))
    expected: list[Told] = field(default_factory=list)
    rests: dict[int, int] = field(default_factory=dict)  # of open holds
    accounts: list[str] = field(default_factory=list)
    rounds: dict[int, list[Transfer]] = field(default_factory=dict)
    last_id: int = 0

    def next_id(self) -> int:
        self.last_id += 1
        return self.last_id

    def step(self) -> None:
        """Something happens."""
        works = [
            self.open,
            self.pay,
            self.pay,
            self.pay,
            self.set_aside,
            self.expire,
            self.allow,
            self.update,
            self.prepare,
            self.decide,
        ]
        self.generator.choice(works if self.accounts else [self.open])()

    def open(self) -> None:
        names = [f"{self.generator.choice('xy')}{self.next_id()}" for _ in range(self.generator.randint(1, 2 * PAGE))]
        self.shard.accounts(*names, minimum=None)
        self.accounts += names
        self.expected += [("account_opened", name) for name in names]

    def pair(self) -> tuple[str, str]:
        payer, payee = self.generator.choice(self.accounts), self.generator.choice(self.accounts)
        return payer, payee

    def pay(self) -> None:
        """A batch of all kinds of rows; some are refused."""
        rows = []
        for _ in range(self.generator.choice([1, 2, 9, 30])):
            kind, hold = Flag.none, 0
            if self.rests and self.generator.random() < 0.4:
                kind, hold = self.generator.choice([Flag.capture, Flag.void]), self.generator.choice([*self.rests])
            if kind is Flag.capture and self.generator.random() < 0.3:
                kind |= Flag.final
            amount = self.generator.randint(1, 40) if kind is not Flag.void else 0
            rows.append(Transfer(self.next_id(), *self.pair(), amount, int(kind), hold_id=hold))
        self._note(rows, self.shard.transfers(*(self._of_hold(row) for row in rows)))

    def set_aside(self) -> None:
        rows = [
            Transfer(self.next_id(), *self.pair(), 50, int(Flag.hold), ttl=self.generator.choice([1, 600]))
            for _ in range(self.generator.randint(1, 4))
        ]
        self.holders.update({row.id: (row.debit, row.credit) for row in rows})
        self._note(rows, self.shard.transfers(*rows))

    holders: dict[int, tuple[str, str]] = field(default_factory=dict)

    def _of_hold(self, row: Transfer) -> Transfer:
        if row.hold_id:
            row.debit, row.credit = self.holders[row.hold_id]
        return row

    def _note(self, rows: Sequence[Transfer], statuses: Sequence[int]) -> None:
        ended = []
        for row, status in zip(rows, statuses, strict=True):
            if status:
                continue
            self.expected.append((NAMES[Flag(row.flags & ~Flag.final)], row.id))
            if row.flags == Flag.hold:
                self.rests[row.id] = row.amount
            elif row.flags & Flag.capture:
                self.rests[row.hold_id] -= row.amount
                if row.flags & Flag.final or not self.rests[row.hold_id]:
                    ended.append((row.hold_id, "captured"))
            elif row.flags == Flag.void:
                ended.append((row.hold_id, "voided"))
        self._end(ended)

    def _end(self, ended: Sequence[tuple[int, str]]) -> None:
        self.expected += [("hold_ended", hold, reason, self.rests.pop(hold)) for hold, reason in ended]

    def expire(self) -> None:
        """Those of a second are over."""
        self.shard.now_ns += 2 * 10**9
        before = self.shard.machine.parts["ledger"]
        assert isinstance(before, Ledger)
        due = [
            hold
            for hold in sorted(self.rests)
            if before.books.holds.open[hold.to_bytes(16, "big")].expiry_ns <= self.shard.elapsed_ns
        ]
        self.shard.command("ledger", ["expire"])
        self._end([(hold, "expired") for hold in due])

    def allow(self) -> None:
        account = self.generator.choice(self.accounts)
        found = self.shard.query("allowances", "allowance", account).body[1]
        id = self.next_id().to_bytes(16, "big")
        self.shard.command("allowances", ["set", account, 10**9, "UTC", id, found[4] if found else b""])
        self.expected.append(("allowance_set", account))

    def update(self) -> None:
        account, id = self.generator.choice(self.accounts), self.next_id().to_bytes(16, "big")
        (row,) = self.shard.query("ledger", "accounts", [account]).body[1]
        self.shard.command("ledger", ["update", account, {"owner": f"owner {id[-1]}"}, id, row[13]])
        self.expected.append(("account_updated", account))

    def prepare(self) -> None:
        """A round of one transaction in which this shard pays, and one in which it is paid."""
        round_id, (payer, payee) = self.next_id(), self.pair()
        rows = [
            Transfer(self.next_id(), payer, "elsewhere", 5, side=1, number=0),
            Transfer(self.next_id(), "elsewhere", payee, 5, side=2, number=1),
        ]
        self.shard.prepare(round_id, 2, ("ledger", legs(rows)))
        self.rounds[round_id] = rows

    def decide(self) -> None:
        """The paying shard tells of a transfer, the other one does not."""
        if not self.rounds:
            return
        round_id = self.generator.choice([*self.rounds])
        statuses = [self.generator.choice([0, 61]), self.generator.choice([0, 61])]
        self.shard.decide((round_id, decision(*statuses)))
        own, _ = self.rounds.pop(round_id)
        self.expected += [("transfer", own.id)] if not statuses[0] else []


class Reader:
    """Reads on from where it has come to."""

    def __init__(self, position: Any = OLDEST, kinds: Sequence[str] = ALL, prefix: str = "") -> None:
        self.position, self.kinds, self.prefix = position, list(kinds), prefix
        self.told: list[Told] = []

    def read(self, shard: Shard, most: int) -> bool:
        """One question; whether there was more to go through."""
        answer = facts_of(ask(shard, self.kinds, self.prefix, self.position, most))
        assert isinstance(answer, FactsTold)
        behind = answer.start
        for event, position in answer.batch(1).walk():
            assert sum(behind.pack()) < sum(position.pack()), "a position leads on"
            behind = position
            self.told.append(shown(event.name, event.data))
        assert not answer.following.is_before(behind)
        self.position = answer.following.pack()
        return answer.following != answer.start

    def read_all(self, shard: Shard, most: int = 1_000) -> list[Told]:
        while self.read(shard, most):
            pass
        return self.told


def shown(name: str, data: Any) -> Told:
    """As the model tells it."""
    match name:
        case "hold_ended":
            return name, data["hold"], data["reason"], data["rest"]
        case "transfer" | "hold" | "capture" | "void":
            return name, data["id"]
        case _:
            return name, data["account"]


def ask(shard: Shard, kinds: Sequence[str], prefix: str, position: Any, most: int) -> Body:
    """As a replica does: stored rows are read for it."""
    loaded: dict[tuple[str, int], bytes | None] = {}
    while True:
        answer = shard.machine.query("machine", ["facts", list(kinds), prefix, position, most], loaded)
        if isinstance(answer, Answer):
            return answer.body
        assert isinstance(answer, Need)
        loaded = dict(answer.fill(loaded, {key: shard.store[key[0]].get(key[1]) for key in answer.missing(loaded)}))


def replay(world: World, from_index: int, store: Shard) -> Shard:
    """The rest of the log on what a checkpoint has."""
    for data in world.shard.log[from_index:]:
        store.apply(data)
    return store


@pytest.fixture(params=range(3))
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    yield World(random.Random(request.param))


def test_readers_are_told_what_has_happened(world: World) -> None:
    """From the beginning, in the middle of it, in small steps or large ones, over checkpoints, at another replica, after a restart."""
    early, saved_at = Reader(), 0
    other = Shard(Ledger(), Allowances())
    for step in range(STEPS):
        world.step()
        early.read(world.shard, world.generator.choice([1, 3, 50]))
        if world.generator.random() < 0.2:
            world.shard.save()
            if world.generator.random() < 0.5:
                world.shard.machine.saved()
            saved_at = len(world.shard.log)
        if step == STEPS // 2:
            replay(world, 0, other)
    assert early.read_all(world.shard, 2) == world.expected
    assert Reader().read_all(world.shard) == world.expected
    assert Reader().read_all(world.shard, 1) == world.expected
    restarted = world.shard.restored(Ledger(), Allowances())
    replay(world, saved_at, restarted)
    assert Reader().read_all(restarted, 5) == world.expected
    replay(world, len(other.log), other)
    assert Reader().read_all(other, 5) == world.expected
    assert other.machine.digest() == restarted.machine.digest() == world.shard.machine.digest()


def test_a_position_is_good_everywhere(world: World) -> None:
    """Whoever stood somewhere at one replica goes on at another one, also one that was sent a checkpoint."""
    reader = Reader()
    for step in range(STEPS):
        world.step()
        if step == STEPS // 3:
            while reader.read(world.shard, 3) and world.generator.random() < 0.9:
                pass
    world.shard.save()
    assert reader.read_all(world.shard.restored(Ledger(), Allowances()), 4) == world.expected


@pytest.mark.parametrize("kinds", [["accounts"], ["transfers"], ["holds"], ["allowances"], ["transfers", "holds"]])
def test_kinds_and_prefixes_choose(world: World, kinds: list[str]) -> None:
    """What is left of all events is what was asked for; a series that is not read does not move on."""
    named: dict[str, tuple[str, ...]] = {
        "accounts": ("account_opened", "account_updated"), "transfers": ("transfer", "capture"),
        "holds": ("hold", "capture", "void", "hold_ended"), "allowances": ("allowance_set",),
    }  # fmt: skip
    for _ in range(STEPS):
        world.step()
    wanted = {name for kind in kinds for name in named[kind]}
    expected = [told for told in world.expected if told[0] in wanted]
    reader = Reader(kinds=kinds)
    assert reader.read_all(world.shard, 4) == expected
    assert reader.position[0] == (0 if kinds in (["accounts"], ["allowances"]) else world.shard.machine.recorded)
    assert reader.position[1] == (0 if kinds == ["transfers"] else world.shard.machine.journal.count)
    parts = [Reader(kinds=kinds, prefix=prefix).read_all(world.shard) for prefix in ("x", "y")]
    assert set(parts[0]) | set(parts[1]) == set(expected)
    assert Reader(kinds=kinds, prefix="z").read_all(world.shard) == []
    assert Reader(NEWEST, kinds).read_all(world.shard) == []


def test_old_facts_are_forgotten_page_by_page() -> None:
    """The record stays; who stands behind what is left of the journal is told where it begins."""
    world = World(random.Random(1), Shard(Ledger(), Allowances()))
    world.shard.machine.journal = Journal(kept=2 * PAGE)
    while world.shard.machine.journal.count < 9 * PAGE:
        world.step()
        if world.generator.random() < 0.3:
            world.shard.save()
            world.shard.machine.saved()
    world.shard.save()
    kept = world.shard.machine.journal
    assert kept.count - 3 * PAGE < kept.oldest <= kept.count - 2 * PAGE
    assert sorted(world.shard.store[journal.PAGES]) == list(range(kept.oldest // PAGE, kept.count // PAGE))
    assert ask(world.shard, ALL, "", [3, kept.oldest - 1], 9) == ["too_old", [3, kept.oldest - 1], [3, kept.oldest]]
    assert Reader([0, 0], ["transfers"]).read_all(world.shard) == [
        told for told in world.expected if told[0] in ("transfer", "capture")
    ]
    journaled = [told for told in world.expected if told[0] not in NAMES.values()]
    told = [each for each in Reader().read_all(world.shard) if each[0] not in NAMES.values()]
    assert told == journaled[kept.oldest :]
    larger = world.shard.restored(Ledger(), Allowances())
    assert larger.machine.journal.oldest == kept.oldest, "what is gone does not come back with another setting"


def test_a_position_ahead_is_refused(world: World) -> None:
    """Older data was put back: what comes next has other facts under those numbers."""
    world.step()
    rows, facts = world.shard.machine.recorded, world.shard.machine.journal.count
    for position in ([rows + 1, facts], [rows, facts + 1]):
        assert ask(world.shard, ALL, "", position, 9) == ["ahead", position, [rows, facts]]
    assert ask(world.shard, ALL, "", [rows, facts], 9)[0] == "told"


def test_transfers_and_holds_are_told_with_their_currency() -> None:
    """Of one currency or of several in one answer; also where a hold has ended."""
    shard = Shard()
    shard.accounts("a", "b", minimum=None)
    shard.accounts("c", "d", minimum=None, currency="JPY")
    assert shard.transfers(Transfer(1, "a", "b", 5), Transfer(2, "a", "b", 5, int(Flag.hold), ttl=9)) == [0, 0]

    def told(kinds: list[str]) -> list[tuple[str, str]]:
        answer = FactsTold.unpack(ask(shard, kinds, "", OLDEST, 100))
        return [(event.name, event.data["currency"]) for event, _ in answer.batch(1).walk()]

    both = ["transfers", "holds"]
    assert told(both) == [("transfer", "EUR"), ("hold", "EUR")]
    assert shard.transfers(Transfer(3, "c", "d", 7), Transfer(4, "a", "b", 0, int(Flag.void), hold_id=2)) == [0, 0]
    assert told(both) == [
        ("transfer", "EUR"),
        ("hold", "EUR"),
        ("transfer", "JPY"),
        ("void", "EUR"),
        ("hold_ended", "EUR"),
    ]
