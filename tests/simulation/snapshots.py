"""Checks of reads over many accounts: each is one cut through the books, and all cuts lie in one order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One account in a snapshot. Amounts in minor units; `minimum` None for no lower limit."""

    currency: str
    posted: int
    minimum: int | None
    version: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one call gave; `rows` by account."""

    invoked: float
    returned: float
    rows: Mapping[str, Row]


def check_snapshots(snapshots: Sequence[Snapshot], accounts: Mapping[str, str], total: int = 0) -> list[str]:
    """Every snapshot of all `accounts` (name to currency) adds up to `total` per currency, and no balance is below its limit."""
    broken = []
    for one in snapshots:
        name = f"snapshot from {one.invoked:.4f} to {one.returned:.4f} s"
        broken += [f"{name} lacks {account}" for account in accounts if account not in one.rows]
        sums = dict.fromkeys(accounts.values(), 0)
        for account, row in one.rows.items():
            sums[row.currency] = sums.get(row.currency, 0) + row.posted
            if row.minimum is not None and row.posted < row.minimum:
                broken.append(f"{name}: {account} has {row.posted}, below {row.minimum}")
        broken += [f"{name}: {currency} adds up to {found}" for currency, found in sums.items() if found != total]
    return broken


def check_cuts(snapshots: Sequence[Snapshot]) -> list[str]:
    """Of two snapshots one is before the other, in every account alike, and in the order of time if they do not overlap."""
    broken = []
    ordered = sorted(snapshots, key=lambda one: one.invoked)
    for place, first in enumerate(ordered):
        for second in ordered[place + 1 :]:
            common = [account for account in first.rows if account in second.rows]
            ahead = [name for name in common if first.rows[name].version > second.rows[name].version]
            behind = [name for name in common if first.rows[name].version < second.rows[name].version]
            if ahead and (behind or first.returned < second.invoked):
                when = f"snapshots at {first.invoked:.4f} and {second.invoked:.4f} s"
                other = f" and the other way round {behind[0]}" if behind else ""
                broken.append(f"{when}: the first is ahead in {ahead[0]}{other}")
    return broken
