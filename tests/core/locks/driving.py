"""Drives the locks in a test as a replica would: entries in order, checkpoints, replays."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from node.core.locks import Locks
from node.core.machine import At, Body, Judged
from protocol.status import LockStatus, Status
from tests.core.machine.judging import prepare

START_NS = 1_700_000_000 * 10**9
MILLISECOND_NS = 1_000_000
TTL_MS = 10_000


def sixteen(text: str) -> bytes:
    """An id of a claim or an owner."""
    return text.encode().ljust(16, b".")


class Driver:
    """The part with its place in the log and its store."""

    def __init__(self) -> None:
        self.locks = Locks()
        self.store: dict[str, dict[int, bytes]] = {}
        self.claims: dict[tuple[str, str], int] = {}  # of an owner for a lock, how many have ended
        self.log: list[tuple[At, str, tuple[Any, ...]]] = []
        self.now_ns = START_NS + MILLISECOND_NS  # so that an owner can bring an earlier age

    @property
    def elapsed_ns(self) -> int:
        """What the log has counted: another number than the wall's time, so that nobody takes one for the other."""
        return self.now_ns - START_NS

    def entry(self, work: str, *arguments: Any) -> Any:
        """One entry: `apply`, `prepare` or `decide` with what comes before the time."""
        self.now_ns += 1
        at = At(len(self.log) + 1, self.now_ns, self.elapsed_ns)
        self.log.append((at, work, arguments))
        return do(self.locks, work, *arguments, at)

    def say(self, *operations: Body) -> list[tuple[LockStatus, int]]:
        """A round of operations."""
        body = self.entry("apply", ["words", list(operations)])
        assert body[0] == "locks"
        return [(LockStatus(status), token) for status, token, _ in body[1]]

    def acquire(
        self, name: str, owner: str, claim: str = "", *, ttl_ms: int = TTL_MS, age_ns: int = 0, action: str = "acquire"
    ) -> tuple[LockStatus, int]:
        """One owner asks."""
        self.claims.setdefault((name, owner), 0)
        if not claim and self.locks.ended.find(self.claim_id(name, owner)) is not None:
            self.claims[name, owner] += 1
        word = acquire(name, owner, claim, ttl_ms=ttl_ms, age_ns=age_ns, action=action)
        word[2] = self.claim_id(name, owner, claim)
        return self.say(word)[0]

    def claim_id(self, name: str, owner: str, claim: str = "") -> bytes:
        """That of a claim with a name of its own, or of the owner's last one for the lock."""
        return sixteen(f"{name[:5]} {claim or f'{owner}{self.claims.get((name, owner)) or str()}'}")

    def renew(self, name: str, token: int, ttl_ms: int = 0) -> LockStatus:
        """The holder renews."""
        return self.say(["renew", name, b"", b"", ttl_ms, token, 0, 0])[0][0]

    def release(self, name: str, owner: str, token: int = 0, claim: str = "") -> LockStatus:
        """By the claim; the token says that it was told to hold."""
        return self.say(["release", name, self.claim_id(name, owner, claim), sixteen(owner), 0, token, 0, 0])[0][0]

    def guard(self, round_id: int, *guards: tuple[str, int]) -> list[Status]:
        """One transaction a guard."""
        rows = [[number, name, token] for number, (name, token) in enumerate(guards)]
        votes, _ = self.entry("prepare", round_id, Judged((("locks", ["guards", rows]),), None, 0), len(guards))
        return [Status(vote) for vote in votes]

    def decide(self, round_id: int) -> None:
        """It does not matter how."""
        self.entry("decide", round_id, b"")

    def expire(self, passed_ms: int = 0) -> None:
        """What the leader proposes when the time comes."""
        self.now_ns += passed_ms * MILLISECOND_NS
        if (body := self.locks.due(self.now_ns, self.elapsed_ns)) is not None:
            self.entry("apply", body)

    def queue(self, name: str) -> list[tuple[str, int, str]]:
        """Owner, token and state of each claim, the holder first."""
        queue = self.locks.queues.get(name)
        claims = [] if queue is None else [queue.holder, *queue.waiting]
        return [(claim.owner.rstrip(b".").decode(), claim.token, claim.state.value) for claim in claims]

    def checkpoint(self) -> Locks:
        """Saves what has changed; gives what a restart would load."""
        for change in self.locks.changes():
            if change.value is None:
                self.store.setdefault(change.table, {}).pop(change.key, None)
            else:
                self.store.setdefault(change.table, {})[change.key] = change.value
        self.locks.saved()
        loaded = Locks()
        loaded.restore(self._rows)
        return loaded

    def _rows(self, table: str) -> Iterable[tuple[int, bytes]]:
        return sorted(self.store.setdefault(table, {}).items())

    def replay(self) -> Locks:
        """Another replica that applies the same log."""
        other = Locks()
        for at, work, arguments in self.log:
            do(other, work, *arguments, at)
        return other


def do(locks: Locks, work: str, *arguments: Any) -> Any:
    """A method of the part, or `prepare` as the machine does it."""
    return prepare(locks, *arguments) if work == "prepare" else getattr(locks, work)(*arguments)


def acquire(
    name: str,
    owner: str,
    claim: str = "",
    *,
    ttl_ms: int = TTL_MS,
    age_ns: int = 0,
    action: str = "acquire",
    ticket: int = 0,
) -> Body:
    """The operation; without a name of its own the claim is called like its owner."""
    return [action, name, sixteen(f"{name[:5]} {claim or owner}"), sixteen(owner), ttl_ms, 0, age_ns, ticket]
