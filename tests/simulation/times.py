"""Checks of time, from outside: stamps rise in each log and are true, and what lives for a while ends neither early nor late."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from node.core.clocks import PACE
from node.core.ledger import Ledger
from node.core.locks import ClaimState, Locks
from node.core.machine import Body, Kind, Machine, unpack_entry
from protocol.status import Status
from tests.simulation.clocks import EPOCH_NS, NANOSECONDS, RATE_MAX

CLOCKS_NS = NANOSECONDS // 1_000  # what rounding and the stamps of an entry's rows make of a short time
NEAR_SECONDS = 1.0  # of true time, where clocks are right: what readings of wrong ones do until they are taken again
SHORT_NS = 5 * NANOSECONDS  # lives that are waited for at the end of a run

Name = tuple[Any, ...]
"""`("hold", id)` or `("lease", lock, token)`."""


@dataclass(frozen=True, slots=True)
class Stamped:
    """An entry's times, and the true one, in virtual seconds."""

    timestamp_ns: int
    elapsed_ns: int
    term: int
    made: float

    @property
    def ahead_seconds(self) -> float:
        """Of true time."""
        return (self.timestamp_ns - EPOCH_NS) / NANOSECONDS - self.made


@dataclass(frozen=True, slots=True)
class Life:
    """Of a hold or a lease."""

    made: float  # when it began, or was last renewed
    granted_ns: int
    ends_ns: int  # by its log's count


@dataclass(slots=True)
class TimeLog:
    """One log: call `before` and `after` around the application of each of its entries."""

    name: str
    expect: Callable[[bool, str], None]
    right_since: Callable[[], float | None]  # when all clocks were set right, None while any may be wrong
    began: float  # of watching: when earlier entries were made is not known
    last: Stamped | None = None
    lives: dict[Name, Life] = field(default_factory=dict)
    _requests: list[Body] = field(default_factory=list)  # of the entry at hand

    def before(self, index: int, term: int, data: bytes, made: float) -> None:
        """An entry that was made at that virtual time."""
        timestamp_ns, elapsed_ns, self._requests = unpack_entry(data)
        stamped = Stamped(timestamp_ns, elapsed_ns, term, made)
        where = f"{self.name}: entry {index}"
        if self.last is not None and self.last.made > self.began:
            self._compare(where, self.last, stamped)
        self.last = stamped
        for name, life in self.lives.items():
            if life.ends_ns <= elapsed_ns and life.made > self.began:
                self._check_end(name, life, made)

    def _check_end(self, name: Name, life: Life, made: float) -> None:
        age_ns = round((made - life.made) * NANOSECONDS)
        self.expect(
            age_ns >= life.granted_ns * (1 - RATE_MAX) - CLOCKS_NS,
            f"{self.name}: {_text(name)} ends early, after {age_ns / 1e9:.3f} of {life.granted_ns / 1e9:.3f} s",
        )

    def _compare(self, where: str, last: Stamped, stamped: Stamped) -> None:
        passed_ns = (stamped.made - last.made) * NANOSECONDS
        counted_ns = stamped.elapsed_ns - last.elapsed_ns
        run_ns = stamped.timestamp_ns - last.timestamp_ns
        self.expect(run_ns > 0, f"{where}: its timestamp falls by {-run_ns} ns")
        slow_ns = passed_ns * (1 - RATE_MAX) if stamped.term == last.term else 0.0  # one leader counts all of it
        self.expect(
            max(0.0, slow_ns - CLOCKS_NS) <= counted_ns <= passed_ns * (1 + RATE_MAX) + CLOCKS_NS,
            f"{where}: counts {counted_ns / 1e9:.3f} s, {passed_ns / 1e9:.3f} s after the one before",
        )
        if stamped.term == last.term:
            slowest, fastest = passed_ns * (1 - PACE) * (1 - RATE_MAX), passed_ns * (1 + PACE) * (1 + RATE_MAX)
            self.expect(
                slowest - CLOCKS_NS <= run_ns <= fastest + CLOCKS_NS,
                f"{where}: its timestamp steps by {run_ns / 1e9:.3f} s within {passed_ns / 1e9:.3f} s of one leader",
            )
        since = self.right_since()
        if since is not None and last.made >= since:
            before, now = abs(last.ahead_seconds), abs(stamped.ahead_seconds)
            allowed = max(0.0, before - PACE * passed_ns / NANOSECONDS) + NEAR_SECONDS
            self.expect(now <= allowed, f"{where}: its timestamp is {now:.3f} s off, {before:.3f} s before")

    def after(self, machine: Machine, made: float) -> None:
        """What lives now."""
        lives = {}
        for name, ends_ns in _lifetimes(machine):
            known = self.lives.get(name)
            is_same = known is not None and known.ends_ns == ends_ns
            lives[name] = known if known and is_same else Life(made, ends_ns - machine.elapsed_ns, ends_ns)
        for name, life in self.lives.items():
            if name not in lives and life.made > self.began and self._has_expired(machine, name):
                self._check_end(name, life, made)
        self.lives, self._requests = lives, []

    def _has_expired(self, machine: Machine, name: Name) -> bool:
        """Whether a life that is over has ended by time, for sure."""
        ledger = machine.parts.get(Ledger.name)
        if isinstance(ledger, Ledger):
            return ledger.books.holds.ended_status(bytes.fromhex(name[1])) == Status.hold_expired
        return self._requests == [[Kind.apply, Locks.name, ["expire"]]]

    def overdue(self, now: float, since: float, late_seconds: float) -> list[str]:
        """What lives for much longer than it was given, counting from a time at which all was well."""
        return [
            f"{self.name}: {_text(name)} has not ended {now - max(life.made, since):.1f} s after {life.granted_ns / 1e9:.1f} s began"
            for name, life in self.lives.items()
            if now - max(life.made, since) > life.granted_ns / 1e9 + late_seconds
        ]

    def short_lives(self) -> list[str]:
        """What will end within seconds."""
        return [f"{self.name}: {_text(name)} lives" for name, life in self.lives.items() if life.granted_ns <= SHORT_NS]


def _text(name: Name) -> str:
    return " ".join(map(str, name))


def _lifetimes(machine: Machine) -> Iterator[tuple[Name, int]]:
    """Open holds and leases, and when they end by the log's count. What a round keeps over its time ends with the round."""
    for part in machine.parts.values():
        if isinstance(part, Ledger):
            for hold in part.books.holds.open.values():
                if not hold.expired:
                    yield ("hold", hold.id.hex()), hold.expiry_ns
        elif isinstance(part, Locks):
            for lock, queue in part.queues.items():
                if queue.holder.state is ClaimState.holding:
                    yield ("lease", lock, queue.holder.token), queue.holder.expires_ns
