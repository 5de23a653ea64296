"""Claims that are over stay over, in bounded memory, also behind a restart."""

from __future__ import annotations

from random import Random

import pytest

from node.core.locks import EndedClaims, ended
from protocol.status import LockStatus
from tests.core.locks.driving import Driver, acquire, sixteen


@pytest.mark.parametrize("seed", range(8))
def test_what_is_forgotten_is_too_old(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each claim that has ended is remembered, or its ticket, which it had before it ended, is too old; so is it when loaded again."""
    monkeypatch.setattr(ended, "ENDED_MAX", 50)
    monkeypatch.setattr(ended, "CLAIMS_PER_ROW", 16)
    random, claims, store = Random(seed), EndedClaims(), dict[int, bytes]()
    tickets: dict[bytes, int] = {}
    living: list[tuple[bytes, int]] = []
    for number in range(600):
        living.append((number.to_bytes(16, "big"), claims.count))
        random.shuffle(living)
        while len(living) > random.randint(0, 20):
            id, ticket = living.pop()
            claims.note(id, LockStatus.released)
            tickets[id] = ticket
        if random.random() < 0.1:
            for change in claims.changes():
                store.pop(change.key, None)
                if change.value is not None:
                    store[change.key] = change.value
            loaded = EndedClaims()
            loaded.restore(claims.pack(), sorted(store.items()))
            assert loaded.digest(1) == claims.digest(1) and loaded.count == claims.count
            claims = random.choice([claims, loaded])
            assert len(store) <= 50 // 16 + 2
        assert all(claims.find(id) or claims.is_too_old(ticket) for id, ticket in tickets.items())
        assert not claims.is_too_old(claims.count)


def test_an_old_ticket_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """And with the one that it is told then, another claim begins."""
    monkeypatch.setattr(ended, "ENDED_MAX", 2)
    driver = Driver()
    for owner in "abc":
        driver.acquire("till", owner)
        driver.release("till", owner)
    old = acquire("till", "d")
    assert driver.say(old)[0][0] == LockStatus.claim_is_over
    fresh = acquire("till", "d", "another", ticket=driver.locks.ended.count)
    assert driver.say(fresh)[0][0] == LockStatus.granted
    assert driver.checkpoint().digest(1) == driver.locks.digest(1)


@pytest.mark.parametrize("status", ["lock_is_held", "lock_already_claimed"])
def test_a_refused_wish_is_refused_for_good(status: str) -> None:
    """A late copy of it does not take the lock when that is free."""
    driver = Driver()
    driver.acquire("till", "alice")
    owner = "bob" if status == "lock_is_held" else "alice"
    word = acquire("till", owner, "late", action="try" if owner == "bob" else "acquire")
    assert driver.say(word)[0][0].name == status
    driver.release("till", "alice")
    assert driver.say(word)[0][0].name == status
    release = ["release", "till", word[2], sixteen(owner), 0, 0, 0, 0]
    assert driver.say(release)[0][0] == LockStatus.lock_not_held
    assert driver.queue("till") == []
