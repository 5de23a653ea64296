"""The list of split accounts, and the plan that brings their funds together."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from node.core.machine import At
from node.core.splits import ShareMove, Splits, plan_moves
from protocol.status import SPLIT_ACCOUNTS_MAX, AccountStatus


def add(part: Splits, id: str) -> int:
    """Lists an account."""
    return int(part.apply(["add", id], At(1, 1, 1))[1])


def test_the_list_only_grows() -> None:
    """Up to its limit; repeating changes nothing."""
    part = Splits()
    for number in range(SPLIT_ACCOUNTS_MAX):
        assert add(part, f"shop {number}") == AccountStatus.created
    before = part.digest(0)
    assert add(part, "shop 5") == AccountStatus.exists
    assert add(part, "one more") == AccountStatus.too_many_split_accounts
    assert part.digest(0) == before
    assert len(part.ids) == SPLIT_ACCOUNTS_MAX


def test_the_list_survives_a_restart() -> None:
    """From checkpoints that hold what is new each."""
    part, store = Splits(), {}
    for number in range(7):
        add(part, f"shop {number}")
        if number % 3 == 0:
            store.update({change.key: change.value for change in part.changes()})
    store.update({change.key: change.value for change in part.changes()})
    other = Splits()
    other.restore(lambda table: [(key, value) for key, value in sorted(store.items()) if value is not None])
    assert list(other.ids) == list(part.ids)
    assert other.digest(3) == part.digest(3)
    assert other.changes() == []


def test_the_home_part_gets_all_there_is() -> None:
    """Where it is short of what the sum covers; each transaction alone is measured by the sum."""
    assert plan_moves({1: 0, 2: 100, 3: 20, 4: 0}, 1, [40]) == ([True], [ShareMove(2, 1, 100), ShareMove(3, 1, 20)])
    assert plan_moves({1: 10, 2: 100}, 1, [110]) == ([True], [ShareMove(2, 1, 100)])
    assert plan_moves({1: 10, 2: 100}, 1, [111, 11]) == ([False, True], [ShareMove(2, 1, 100)])
    assert plan_moves({1: 50, 2: 100}, 1, [50]) == ([True], [])
    assert plan_moves({1: 0, 2: 100}, 1, [60, 50]) == ([True, True], [ShareMove(2, 1, 100)])
    assert plan_moves({1: 10, 2: 5}, 1, [16]) == ([False], [])


@given(
    st.dictionaries(st.integers(2, 6), st.integers(-5, 100)).map(lambda others: {1: 20, **others}),
    st.lists(st.integers(1, 160), max_size=6),
)
def test_plans_are_sound(available: dict[int, int], wanted: list[int]) -> None:
    """No share gives what it has not; afterwards each covered debit is there; what is not possible never could be."""
    possible, moves = plan_moves(dict(available), 1, wanted)
    after = dict(available)
    for move in moves:
        assert move.amount > 0 and move.debit_group != move.credit_group == 1
        after[move.debit_group] -= move.amount
        after[move.credit_group] += move.amount
    total = left = sum(available.values())
    for amount, is_possible in zip(wanted, possible, strict=True):
        assert is_possible == (amount <= total)
        if amount <= left:
            left -= amount
            after[1] -= amount
    assert after[1] >= min(0, left)
    assert all(amount >= min(0, available[group]) for group, amount in after.items() if group != 1)
