"""Which funds move to the home share of a split account so that its debits find them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ShareMove:
    """Funds that go from one share of an account to another."""

    debit_group: int
    credit_group: int
    amount: int


def plan_moves(available: Mapping[int, int], home: int, wanted: Sequence[int]) -> tuple[list[bool], list[ShareMove]]:
    """Whether the sum is enough for each transaction alone, and the moves for all of them together.

    `available` is what each group's share can give, `wanted` what each transaction takes, in order. A transaction that finds too
    little only beside those before it is not refused: they may fail for another reason. If the home share is short of what the sum
    covers, it gets all that the others have, so that the next debits find it.
    """
    total = left = sum(available.values())
    possible = [amount <= total for amount in wanted]
    for amount in wanted:
        left -= amount if amount <= left else 0
    if total - left <= available[home]:
        return possible, []
    return possible, moves_home(available, home)


def moves_home(available: Mapping[int, int], home: int) -> list[ShareMove]:
    """The moves of all that the other shares have."""
    return [ShareMove(group, home, amount) for group, amount in available.items() if group != home and amount > 0]
