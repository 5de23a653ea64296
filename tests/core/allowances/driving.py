"""What tests of allowances do to a shard where account a may pay out 100 a day."""

from __future__ import annotations

from protocol.columns import Flag
from protocol.status import AllowanceStatus, Status
from tests.core.ledger.driving import id_bytes
from tests.core.ledger.model import Transfer
from tests.core.machine.shards import Shard, decision, legs, votes

ZONE = "Europe/Berlin"
DAY_NS = 24 * 3_600 * 10**9
OVER = int(Status.exceeds_allowance)
HOLD, CAPTURE, VOID, FINAL = int(Flag.hold), int(Flag.capture), int(Flag.void), int(Flag.final)
LINKED = int(Flag.linked)

ENDINGS = [
    Transfer(20, "a", "far", 0, VOID, hold_id=10, side=1),
    Transfer(20, "a", "far", 1, CAPTURE | FINAL, hold_id=10, side=1),
]


def change(
    shard: Shard, id: int, amount: int | None, *, account: str = "a", zone: str = ZONE, after: int | None = None
) -> AllowanceStatus:
    """By somebody who has read the last change, unless told."""
    (row,) = shard.query("allowances", "allowance", account).body[1:]
    follows = b"" if row is None else row[4]
    if after is not None:
        follows = id_bytes(after) if after else b""
    answer = shard.command("allowances", ["set", account, amount, zone, id_bytes(id), follows])
    return AllowanceStatus(answer[1])


def paid(shard: Shard, account: str = "a") -> int:
    """Out of the allowance today."""
    return int(shard.query("allowances", "allowance", account).body[1][1])


def pay(shard: Shard, id: int, amount: int, credit: str = "b") -> int:
    """One payment from a."""
    return shard.transfers(Transfer(id, "a", credit, amount))[0]


def opened_in_a_round(shard: Shard, round_id: int, verdict: int) -> None:
    """A hold of 30 over shards."""
    opening = Transfer(10, "a", "far", 30, HOLD, ttl=60, side=1)
    assert votes(shard.prepare(round_id, 1, ("ledger", legs([opening])))) == [0]
    shard.decide((round_id, decision(verdict)))


def midnight_ns(shard: Shard) -> int:
    """When the day of a ends."""
    return int(shard.query("allowances", "allowance", "a").body[1][3])


def begin_day(shard: Shard, after_ns: int) -> None:
    """By the timer, so long behind midnight."""
    shard.now_ns = midnight_ns(shard) + after_ns
    (due,) = shard.machine.due(shard.now_ns, 0)
    shard.command(*due)
