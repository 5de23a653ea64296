"""Submissions that nobody waits for any more: what was in no round is not begun, and it is told so."""

from __future__ import annotations

from node.core.commit import Ticket
from node.core.commit.gathering import Gathering
from protocol.status import TRANSFERS_MAX
from tests.core.commit.bench import RETRY, prepare_of, ready, with_group_3_away

ROWS = 4_096  # two such batches are a full round


def rows(first: int, count: int) -> list[tuple[int, int, int]]:
    """Transfers from group 1 to group 2."""
    return [(number, 1, 2) for number in range(first, first + count)]


def test_what_nobody_waits_for_is_not_begun() -> None:
    """It is in no round, its neighbours are, and it is answered as untouched."""
    bench = ready()
    for ticket in (1, 2, 3):
        bench.submit(ticket, (ticket, 1, 2))
    bench.go_on(2)
    assert {prepare_of(ask).count for ask in bench.prepares()} == {2}
    bench.take(bench.core.give_up([Ticket(2)]))
    assert bench.answers == {2: [RETRY]} and bench.untouched == [2]
    bench.vote_all()
    bench.record_all()
    assert bench.answers == {1: [0], 2: [RETRY], 3: [0]} and bench.untouched == [2]


def test_a_submission_of_which_a_row_was_in_a_round_is_not_untouched() -> None:
    """Though it waits for another round when it is given up, nobody may say that nothing has happened."""
    bench, _ = with_group_3_away(1)
    bench.take(bench.core.give_up([Ticket(1)]))
    assert bench.answers == {1: [RETRY]} and bench.untouched == []


def test_who_resigns_knows_what_was_not_begun() -> None:
    """The rest is unknown."""
    bench = ready()
    bench.submit(1, (1, 1, 2))
    bench.go_on()
    bench.submit(2, (2, 1, 2))
    assert bench.core.begun() == {Ticket(1)}
    assert sorted(bench.core.resign()) == [1, 2] and bench.core.begun() == set()


def test_many_are_given_up_at_once() -> None:
    """Each is answered, and what is left is in order."""
    bench = ready()
    for ticket in range(1, 1_001):
        bench.submit(ticket, (ticket, 1, 2))
    bench.take(bench.core.give_up({Ticket(ticket) for ticket in range(1, 1_000)}))
    assert len(bench.untouched) == 999
    bench.go_on()
    assert {prepare_of(ask).count for ask in bench.prepares()} == {1}


def test_a_round_takes_what_fits_in_order() -> None:
    """Two full batches of half the size, then the rest, and what is behind a full round is not even looked at."""
    looked_at = 0

    def may_join(_: object) -> bool:
        nonlocal looked_at
        looked_at += 1
        return True

    bench = ready()
    gathering: Gathering = bench.core._gathering
    for ticket in range(1, 5):
        bench.submit(ticket, *rows(ticket * ROWS, ROWS))
    first = gathering.take(may_join)
    assert sum(len(piece.rows) for piece in first) == TRANSFERS_MAX and looked_at == 2
    assert [piece.submission.ticket for piece in [*first, *gathering.take(may_join)]] == [1, 2, 3, 4]
