"""Whatever is said in whatever order: one holder, rising tokens, first come first served, equal replicas, no deadlock."""

from __future__ import annotations

from collections import defaultdict
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.core import locks as guide
from node.core.locks import TRANSITIONS, Claim, ClaimEvent, ClaimState, Locks, diagram, locks
from protocol.status import LockStatus, Status
from tests.core.locks.driving import START_NS, TTL_MS, Driver, acquire

NAMES = ("till", "door")
OWNERS = tuple("abcdef")


def check(state: Locks) -> None:
    """What holds between any two entries."""
    living = []
    for name, queue in state.queues.items():
        orders = [claim.order for claim in queue.waiting]
        assert orders == sorted(orders), "who waits stands in order of age"
        assert all(claim.state is ClaimState.waiting and not claim.pins for claim in queue.waiting)
        holder = queue.holder
        assert holder.state is ClaimState.holding or (holder.state is ClaimState.ending and holder.pins)
        if holder.state is ClaimState.holding:
            assert all(holder.order < order for order in orders), "the oldest one holds"
            living.append(holder)
        living += queue.waiting
        assert queue.name == name
    assert {claim.token: claim for claim in living} == state.tokens
    assert all(state.ended.find(claim.id) is None for claim in living), "what is over never begins again"
    assert [claim for owner in state.owners.values() for claim in owner.claims.values() if claim not in living] == []


def same(state: Locks, other: Locks) -> None:
    """Two replicas cannot be told apart, also by what comes next."""
    assert other.digest(1) == state.digest(1)
    assert other._pinned.keys() == state._pinned.keys()
    now = START_NS * 2
    assert (other.due(0, now) is None) == (state.due(0, now) is None)


steps = st.lists(
    st.tuples(
        st.sampled_from(["acquire", "old", "try", "release", "withdraw", "renew", "guard", "decide", "pass", "save"]),
        st.sampled_from(NAMES),
        st.sampled_from(OWNERS),
        st.integers(0, 5),
    ),
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@given(steps)
def test_any_order_of_words(words: list[tuple[str, str, str, int]]) -> None:
    """Invariants after every step; a checkpoint and a replay give the same state; tokens of holders rise."""
    driver, held = Driver(), defaultdict[str, list[int]](list)
    for number, (word, name, owner, choice) in enumerate(words):
        holder = driver.locks.queues[name].holder.token if name in driver.locks.queues else 0
        match word:
            case "acquire" | "try":
                driver.acquire(name, owner, f"{owner}{number % 3}", ttl_ms=100 * (choice + 1), action=word)
            case "old":
                driver.acquire(name, owner, age_ns=START_NS + choice)
            case "release":
                for holding, token, _ in driver.queue(name)[:1]:
                    driver.release(name, holding, token)
            case "withdraw":
                driver.release(name, owner, claim=f"{owner}{choice % 3}")
            case "renew":
                driver.renew(name, holder + choice // 2)
            case "guard":
                driver.guard(choice, (name, holder + choice // 3), (NAMES[choice % 2], 1 + choice))
            case "decide":
                driver.decide(choice)
            case "pass":
                driver.expire(choice * 60)
            case _:
                driver.locks = driver.checkpoint()
        check(driver.locks)
        for lock, queue in driver.locks.queues.items():
            if not held[lock] or held[lock][-1] != queue.holder.token:
                held[lock].append(queue.holder.token)
    assert all(tokens == sorted(tokens) for tokens in held.values())
    same(driver.locks, driver.replay())
    same(driver.locks, driver.checkpoint())


@given(st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=60))
def test_new_owners_are_served_in_the_order_in_which_they_came(words: list[tuple[int, bool]]) -> None:
    """Also those of one round, whatever their ids."""
    driver, came, served = Driver(), [], []
    for number, (count, leaves) in enumerate(words):
        owners = [f"{(7 * place) % 31}.{number}" for place in range(count)]
        driver.say(*(acquire("till", owner) for owner in owners))
        came += owners
        if leaves and (queue := driver.queue("till")):
            served.append(queue[0][0])
            driver.release("till", *queue[0][:2])
    served += [owner for owner, _, _ in driver.queue("till")]
    assert served == came
    assert [token for _, token, _ in driver.queue("till")] == sorted(token for _, token, _ in driver.queue("till"))


@pytest.mark.parametrize("seed", range(40))
def test_no_deadlock(seed: int) -> None:
    """Owners that take several locks in any order, keep their age when they are wounded, and try again, all come to an end."""
    random, driver = Random(seed), Driver()
    wanted = {owner: random.sample("12345", 3) for owner in OWNERS}
    tokens: dict[str, dict[str, int]] = {owner: {} for owner in OWNERS}
    ages = dict.fromkeys(OWNERS, 0)
    tries = dict.fromkeys(OWNERS, 0)

    def give_up(owner: str) -> None:
        for name in wanted[owner]:
            driver.release(name, owner, claim=f"{owner}{tries[owner]}")
        tokens[owner].clear()
        tries[owner] += 1

    for _ in range(2_000):
        if not wanted:
            return
        owner = random.choice(sorted(wanted))
        mine = tokens[owner]
        if any(driver.renew(name, token) is not LockStatus.renewed for name, token in list(mine.items())):
            give_up(owner)
            continue
        name = wanted[owner][len(mine)]
        row = acquire(name, owner, f"{owner}{tries[owner]}", age_ns=ages[owner])
        status, token, age_ns = driver.entry("apply", ["words", [row]])[1][0]
        check(driver.locks)
        if status == LockStatus.claim_is_over:  # it held the lock without hearing of it, and was wounded
            give_up(owner)
            continue
        ages[owner] = age_ns
        if status == LockStatus.granted:
            mine[name] = token
        if len(mine) == len(wanted[owner]):
            assert set(driver.guard(1, *mine.items())) == {Status.created}
            driver.decide(1)
            for name in wanted.pop(owner):
                driver.release(name, owner, claim=f"{owner}{tries[owner]}")
    raise AssertionError(f"{wanted} wait for ever")


def test_queues_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Claims to one lock, and to all of them."""
    monkeypatch.setattr(locks, "CLAIMS_PER_LOCK_MAX", 3)
    monkeypatch.setattr(locks, "CLAIMS_MAX", 5)
    driver = Driver()
    statuses = [driver.acquire("till", owner)[0].name for owner in "abcd"]
    assert statuses == ["granted", "waiting", "waiting", "lock_queue_full"]
    assert [driver.acquire(owner, owner)[0].name for owner in "def"] == ["granted", "granted", "lock_queue_full"]
    check(driver.locks)


def test_the_timetable_of_leases_stays_small() -> None:
    """Renewals leave stale rows, which are swept."""
    driver = Driver()
    driver.acquire("till", "alice")
    for _ in range(5_000):
        driver.renew("till", 1)
    assert len(driver.locks._leases) < 2_000
    driver.expire(TTL_MS - 1)
    assert driver.queue("till")
    driver.expire(1)
    assert not driver.queue("till")


def test_many_leases_end_over_several_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that no entry is long."""
    monkeypatch.setattr(locks, "EXPIRED_PER_ENTRY_MAX", 10)
    driver = Driver()
    driver.say(*(acquire(f"lock {number}", f"{number}") for number in range(25)))
    driver.expire(TTL_MS)
    assert len(driver.locks.queues) == 15
    driver.expire()
    driver.expire()
    assert not driver.locks.queues and driver.locks.due(0, 2 * START_NS) is None


def test_every_state_and_event_of_a_claim() -> None:
    """The table is the contract: `gone` is the end, and only holders are pinned."""
    assert all(state is not ClaimState.gone for state, _ in TRANSITIONS)
    reached = set(TRANSITIONS.values()) | {ClaimState.waiting}
    assert reached == set(ClaimState)
    assert f"```mermaid\n{diagram()}\n```" in str(guide.__doc__), "the guide shows the table"


@pytest.mark.parametrize("event", ClaimEvent)
@pytest.mark.parametrize("state", ClaimState)
def test_a_pair_that_is_not_in_the_table_stops_the_node(state: ClaimState, event: ClaimEvent) -> None:
    """Rather than going on with a queue that nobody has thought of."""
    claim = Claim("till", b"", b"", 1, 1, TTL_MS, state=state)
    if (state, event) in TRANSITIONS:
        claim.step(event)
        assert claim.state is TRANSITIONS[state, event]
    else:
        with pytest.raises(KeyError):
            claim.step(event)
