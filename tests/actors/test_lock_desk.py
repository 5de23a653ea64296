"""The lock desk: who is told to hold a lock, in every order of events; and the client's locks on a cluster in virtual time."""

from __future__ import annotations

from unittest.mock import ANY

import pytest

from node.actors import locks as desk_module
from node.actors.actor import Failed, Outcome
from protocol.errors import ErrorCode
from protocol.requests import LockWord
from protocol.status import LockStatus, Status
from tests.actors.desk_world import Customer, DeskWorld

STEPS = 10_000


@pytest.mark.parametrize("seed", range(30))
def test_never_two_who_believe_to_hold(seed: int) -> None:
    """While nobody loses a lease against its will: over lost words, crashed leaders, and leaders that are deposed unknowingly."""
    world = DeskWorld(seed, 6)
    for _ in range(STEPS):
        if world.random.random() < 0.004:
            world.elect()
        if world.random.random() < 0.01:
            host = world.random.choice(world.hosts)
            if host.term != world.term:
                world.notice(host)
        world.step()
        assert sum(customer.believes for customer in world.customers) <= 1
    assert sum(customer.grants for customer in world.customers) > 20
    assert {vote for _, vote in world.guards} <= {Status.created, Status.undecided}, "who believes to hold can act"
    agree(world)


@pytest.mark.parametrize("seed", range(30))
def test_who_has_lost_a_lease_unknowingly_cannot_act(seed: int) -> None:
    """Older owners and the end of leases: once a greater token has acted, no smaller one does."""
    world = DeskWorld(seed, 6, elders=2)
    for _ in range(STEPS):
        chance = world.random.random()
        if chance < 0.004:
            world.elect()
        elif chance < 0.014:
            host = world.random.choice(world.hosts)
            if host.term != world.term:
                world.notice(host)
        elif chance < 0.016:
            world.time.now_ns += 12 * 10**9
        elif chance < 0.03:
            world.expire()
        world.step()
    acted = [token for token, vote in world.guards if vote is Status.created]
    assert acted == sorted(acted) and len(dict.fromkeys(acted)) > 5
    agree(world)


def agree(world: DeskWorld) -> None:
    """All replicas come to the same state."""
    for host in world.hosts:
        if host.term != world.term:
            world.notice(host)
        while host.applied < len(world.log):
            world.apply(host)
    assert len({host.locks.digest(0) for host in world.hosts}) == 1


@pytest.mark.parametrize("seed", range(10))
def test_everybody_comes_to_its_turn(seed: int) -> None:
    """Once nothing is lost any more: tokens of nobody expire, all others are served."""
    world = DeskWorld(seed, 5)
    for _ in range(STEPS):
        if world.random.random() < 0.01:
            world.elect()
        world.step()
    world.is_lossy = False
    for host in world.hosts:
        if host.term and host.term != world.term:
            world.notice(host)
    before = [customer.grants for customer in world.customers]
    for number in range(20_000):
        if number % 2_000 == 0:
            world.time.now_ns += 3 * 10**9
        world.expire()
        world.step()
        if all(customer.grants > count + 2 for customer, count in zip(world.customers, before, strict=True)):
            return
    raise AssertionError([customer.grants for customer in world.customers])


def test_the_next_one_is_told_ahead() -> None:
    """In the undisturbed case most hand-overs do not wait for the log."""
    world = DeskWorld(0, 6)
    world.is_lossy = False
    for _ in range(STEPS):
        world.step()
    grants = sum(customer.grants for customer in world.customers)
    told_ahead = sum(host.desk.statistics().told_ahead for host in world.hosts)
    assert told_ahead > grants / 4 > 5


def said(world: DeskWorld, action: str, name: str, *, token: int = 0, age_ns: int = 0) -> list[Outcome]:
    """A word of the owner of that name, at the leader's desk; its answers will be in the list."""
    answers: list[Outcome] = []
    claim = name.encode().ljust(16, b".")
    word = LockWord(action, "till", claim, claim, 10_000, token, age_ns)
    world.hosts[world.leader].desk.request(word, world.time.monotonic() + 10, answers.append)
    return answers


def settle(world: DeskWorld) -> None:
    """Everything that is under way arrives."""
    host = world.hosts[world.leader]
    while world.pool or host.proposed or host.applied < len(world.log):
        while world.pool:
            world.pool.pop(0)()
        world.commit()
        world.apply(host)


def test_nobody_is_told_ahead_of_a_round_that_relies_on_the_holder() -> None:
    """The next one hears of it when the round is decided."""
    world = DeskWorld(0, 0)
    assert (said(world, "acquire", "alice"), said(world, "acquire", "bob")) == ([], [])
    waiting = said(world, "acquire", "carol")
    settle(world)
    holder = Customer(0, token=1)
    world.guard(holder)
    settle(world)
    released = said(world, "release", "alice", token=1)
    withdrawn = said(world, "release", "bob")
    settle(world)
    assert (released, withdrawn) == ([[LockStatus.released, 1, ANY, ANY]], [[LockStatus.released, 0, ANY, ANY]])
    assert waiting == []
    world.decide()
    settle(world)
    assert waiting == [[LockStatus.granted, 3, ANY, ANY]]


def test_a_round_that_is_only_gathered_keeps_the_next_one_out_too() -> None:
    """The coordinator says so; then the log decides."""
    world = DeskWorld(0, 0)
    world.guarded["till"] = None
    first, second = said(world, "acquire", "alice"), said(world, "acquire", "bob")
    settle(world)
    assert (first, second) == ([[LockStatus.granted, 1, ANY, ANY]], [])
    said(world, "release", "alice", token=1)
    assert second == []
    settle(world)
    assert second == [[LockStatus.granted, 2, ANY, ANY]]


def test_a_token_that_will_change_is_not_told_ahead() -> None:
    """Behind an older owner that was let in first, the next one gets a new token when its turn comes."""
    world = DeskWorld(0, 0)
    said(world, "acquire", "alice")
    bob = said(world, "acquire", "bob")
    settle(world)
    assert said(world, "acquire", "old", age_ns=1) == []
    settle(world)
    said(world, "release", "old", token=3)
    assert bob == []
    settle(world)
    assert bob == [[LockStatus.granted, 4, ANY, ANY]]


def test_releases_in_a_row_are_told_ahead_in_a_row() -> None:
    """One hand-over after the other without waiting for the log."""
    world = DeskWorld(0, 0)
    answers = [said(world, "acquire", name) for name in "abcd"]
    settle(world)
    for number, name in enumerate("abc"):
        said(world, "release", name, token=number + 1)
        assert answers[number + 1] == [[LockStatus.granted, number + 2, ANY, ANY]]
    settle(world)
    host = world.hosts[world.leader]
    assert host.locks.queues["till"].holder.token == 4
    assert host.desk.statistics().told_ahead == 3


def test_who_waits_is_told_to_ask_again() -> None:
    """After a while, by a leader that resigns, and where another word of the same claim takes the place."""
    world = DeskWorld(0, 0)
    said(world, "acquire", "alice")
    first = said(world, "acquire", "bob")
    settle(world)
    second = said(world, "acquire", "bob")
    assert first == [[LockStatus.waiting, 0, 0, ANY]] and second == []
    world.time.now_ns += 3 * 10**9
    world.hosts[world.leader].desk.tick()
    assert second == [[LockStatus.waiting, 0, 0, ANY]]
    third = said(world, "acquire", "bob")
    world.notice(world.hosts[world.leader])
    (failed,) = third
    assert isinstance(failed, Failed) and failed.code is ErrorCode.not_leader
    (refused,) = said(world, "acquire", "carol")
    assert isinstance(refused, Failed)


@pytest.mark.parametrize(
    ("name", "ttl_ms", "status"),
    [
        ("", 1_000, LockStatus.lock_name_must_not_be_empty),
        ("ü" * 33, 1_000, LockStatus.lock_name_too_long),
        ("two\nlines", 1_000, LockStatus.lock_name_has_invalid_characters),
        ("till ", 1_000, LockStatus.lock_name_has_invalid_characters),
        ("ka\u0308sse", 1_000, LockStatus.lock_name_has_invalid_characters),
        ("till", 99, LockStatus.lock_ttl_out_of_range),
        ("till", 3_600_001, LockStatus.lock_ttl_out_of_range),
    ],
)
def test_what_is_refused_at_sight(name: str, ttl_ms: int, status: LockStatus) -> None:
    """Nothing of it reaches the log."""
    world = DeskWorld(0, 0)
    answers: list[Outcome] = []
    word = LockWord("acquire", name, b"c" * 16, b"o" * 16, ttl_ms)
    world.hosts[world.leader].desk.request(word, 10.0, answers.append)
    assert answers == [[status, 0, 0, 0]] and not world.pool


def test_a_full_desk_says_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather than making everybody wait."""
    monkeypatch.setattr(desk_module, "GATHERED_MAX", 2)
    world = DeskWorld(0, 0)
    assert [said(world, "acquire", name) for name in "ab"] == [[], []]
    (refused,) = said(world, "acquire", "c")
    assert isinstance(refused, Failed) and refused.code is ErrorCode.busy and refused.retry_after_ms > 0
