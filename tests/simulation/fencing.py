"""Checks of locks: tokens rise, one holder at a time, and nothing happens under a token after a later one was used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from node.core.locks import Locks
from tests.simulation.clocks import RATE_MAX


@dataclass(frozen=True, slots=True)
class Grant:
    """A client was told that it holds a lock."""

    lock: str
    token: int
    invoked: float
    returned: float
    ttl: float = 0.0  # seconds


@dataclass(frozen=True, slots=True)
class Guarded:
    """A transfer under a lock's token that happened, or was refused for it. `returned`: when somebody first knew that."""

    id: int
    lock: str
    token: int
    invoked: float
    returned: float


def check_grants(grants: Sequence[Grant]) -> list[str]:
    """No token is given twice, and who asks after a grant was told gets a greater token."""
    broken = []
    told: dict[tuple[str, int], Grant] = {}
    for one in grants:
        other = told.setdefault((one.lock, one.token), one)
        if other is not one:
            broken.append(
                f"{one.lock}: token {one.token} was granted twice, {other.returned:.4f} and {one.returned:.4f} s"
            )
    for one in grants:
        for other in grants:
            if other.lock == one.lock and other.returned < one.invoked and other.token > one.token:
                when = f"at {one.returned:.4f} s, token {other.token} at {other.returned:.4f} s"
                broken.append(f"{one.lock}: token {one.token} was granted {when}")
    return broken


def check_guarded(transfers: Sequence[Guarded]) -> list[str]:
    """A transfer that began after one under a later token was known to have happened must not happen."""
    return [
        f"{one.lock}: transfer {one.id:032x} happened under token {one.token}, asked for at {one.invoked:.4f} s, "
        f"when token {other.token} had been used at {other.returned:.4f} s"
        for one in transfers
        for other in transfers
        if other.lock == one.lock and other.token > one.token and other.returned < one.invoked
    ]


def check_refused(transfers: Sequence[Guarded], grants: Sequence[Grant]) -> list[str]:
    """No transfer is refused for its token while the lease of that surely lasts: it began after it was asked for."""
    lasts = {(one.lock, one.token): one.invoked + one.ttl * (1 - RATE_MAX) for one in grants}
    return [
        f"{one.lock}: transfer {one.id:032x} was refused at {one.returned:.4f} s under token {one.token}, "
        f"which holds until {lasts[one.lock, one.token]:.4f} s at least"
        for one in transfers
        if one.returned < lasts.get((one.lock, one.token), 0.0)
    ]


@dataclass(slots=True)
class HolderLog:
    """Call `look` after each entry of group 0: by the order of entries, the tokens of a lock's holders rise, and no claim lives twice."""

    expect: Callable[[bool, str], None]
    highest: dict[str, int] = field(default_factory=dict)
    living: dict[bytes, None] = field(default_factory=dict)  # claims
    over: dict[bytes, None] = field(default_factory=dict)

    def look(self, name: str, locks: Locks) -> None:
        """The part after an entry."""
        for lock, queue in locks.queues.items():
            token, before = queue.holder.token, self.highest.get(lock, 0)
            self.expect(token >= before, f"{name}: {lock} is held by token {token} after {before}")
            self.highest[lock] = token
        living = dict.fromkeys(claim.id for claim in locks.tokens.values())
        self.over.update(dict.fromkeys(claim for claim in self.living if claim not in living))
        for claim in living:
            self.expect(claim not in self.over, f"{name}: claim {claim.hex()} has ended and lives again")
        self.living = living
