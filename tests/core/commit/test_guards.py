"""Rows that a lock guards: group 0 takes part in their rounds and can refuse them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from node.core.commit import PROTOCOLS
from protocol.status import Status
from tests.core.commit.bench import Bench, prepare_of, ready, vote

NO_FUNDS = int(Status.insufficient_funds)
NO_ACCOUNT = int(Status.credit_account_not_found)
LINKED = int(Status.linked_event_failed)


def guard_vote(*statuses: int, rows: Sequence[int]) -> list[object]:
    """The locks' vote: one status a transaction, and one a guarded row."""
    return ["votes", bytes(statuses), [["locks", bytes(rows)]]]


def test_a_row_with_a_lock_makes_a_leg_for_group_0() -> None:
    """With the transaction's number, the lock and the token; rows without a lock are not in it."""
    bench = ready(groups=(0, 1, 2, 3))
    bench.submit(7, (1, 1, 2), (2, 2, 3), (3, 1, 3), linked=[1], lock="till")
    bench.go_on()
    guards = {ask.group: prepare_of(ask).commands for ask in bench.prepares()}
    assert sorted(guards) == [0, 1, 2, 3]
    assert guards[0] == [["locks", ["guards", [[1, "till", 5]]]]]
    assert all(prepare_of(ask).groups == (1, 2, 3, 0) for ask in bench.prepares()), "group 0 is a participant"
    assert bench.core.is_guarded("till") and not bench.core.is_guarded("other")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_vote_of_the_locks_refuses_the_transaction(protocol: str) -> None:
    """The whole chain of the guarded row falls; a transaction beside it stands."""
    bench = ready(protocol, groups=(0, 1, 2, 3))
    bench.submit(7, (1, 1, 2), (2, 2, 3), (3, 1, 3), linked=[1], lock="till")
    bench.go_on()
    (guard,) = [ask for ask in bench.prepares() if ask.group == 0]
    bench.answer(guard, guard_vote(0, Status.lock_not_held, rows=[Status.lock_not_held]))
    bench.round()
    assert bench.answers == {7: [0, LINKED, Status.lock_not_held]}
    assert not bench.core.is_guarded("till")


def test_a_lock_that_is_held_lets_the_transaction_through() -> None:
    """And a transaction waits for group 0's vote like for any other."""
    bench = ready(groups=(0, 1, 2, 3))
    bench.submit(7, (1, 1, 2), lock="till")
    bench.go_on()
    for ask in [ask for ask in bench.prepares() if ask.group]:
        bench.answer(ask, vote(ask))
    assert not bench.records
    (guard,) = bench.prepares()
    bench.answer(guard, guard_vote(0, rows=[0]))
    bench.record_all()
    assert bench.answers == {7: [0]}
    bench.tick()
    assert sorted(ask.group for ask in bench.decides()) == [0, 1, 2]


def test_the_smaller_of_the_locks_and_the_ledgers_reason_is_answered() -> None:
    """Precedence is that of the statuses, whoever objects."""
    for ledgers in (NO_FUNDS, NO_ACCOUNT):
        bench = ready(groups=(0, 1, 2, 3))
        bench.submit(7, (1, 1, 2), lock="till")
        bench.go_on()
        for ask in bench.prepares():
            bench.answer(
                ask,
                vote(ask, {1: ledgers}) if ask.group else guard_vote(Status.lock_not_held, rows=[Status.lock_not_held]),
            )
        bench.record_all()
        assert bench.answers == {7: [min(ledgers, Status.lock_not_held)]}


def test_guarded_rows_wait_until_group_0_knows_the_epoch() -> None:
    """A guard of an earlier epoch may still be open there; rows without a lock go on."""
    bench = Bench(groups=(0, 1, 2, 3))
    bench.accept(1, 2)
    bench.submit(1, (1, 1, 2), lock="till")
    bench.submit(2, (2, 1, 2))
    bench.go_on()
    assert [ask.group for ask in bench.prepares()] == [1, 2]
    bench.accept(0)
    bench.go_on()
    assert [ask.group for ask in bench.prepares()] == [1, 2, 1, 2, 0]
