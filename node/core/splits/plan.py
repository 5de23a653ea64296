"""Which funds move between the parts of a split account so that debits find them."""

from __future__ import annotations

from collections.abc import Sequence


def plan_moves(
    available: dict[int, int], wanted: Sequence[Sequence[tuple[int, int]]]
) -> tuple[list[bool], list[tuple[int, int, int]]]:
    """Whether the sum is enough for each transaction alone, and the moves for those that it is enough for together.

    `available` is what each group's part can give; `wanted` holds for each transaction, in order, (group, amount) of its debits; a
    move is (from group, to group, amount). A transaction that finds too little only beside those before it is not refused: they may
    fail for another reason. The parts that are short get an equal share of what is left beside what they need; the largest parts
    give first, and none more than what it has beyond its own needs and share.
    """
    total = left = sum(available.values())
    needs = dict.fromkeys(available, 0)
    possible: list[bool] = []
    for transaction in wanted:
        amount = sum(amount for _, amount in transaction)
        possible.append(amount <= total and all(group in needs for group, _ in transaction))
        if possible[-1] and amount <= left:
            left -= amount
            for group, part_amount in transaction:
                needs[group] += part_amount
    share = left // len(available) if available else 0
    surplus = {group: available[group] - needs[group] - share for group in available}
    givers = sorted((group for group in surplus if surplus[group] > 0), key=lambda group: (-available[group], group))
    takers = [group for group in surplus if needs[group] > available[group]]
    moves: list[tuple[int, int, int]] = []
    for taker in takers:
        while surplus[taker] < 0 and givers:
            amount = min(-surplus[taker], surplus[givers[0]])
            moves.append((givers[0], taker, amount))
            surplus[taker] += amount
            surplus[givers[0]] -= amount
            if not surplus[givers[0]]:
                givers.pop(0)
    return possible, moves
