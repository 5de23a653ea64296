"""Groups that do not vote or cannot be reached."""

from __future__ import annotations

from node.core.commit import Ticket
from tests.core.commit.bench import RETRY, decisions, ready, with_group_3_away


def test_work_for_a_silent_group_holds_up_nobody_else() -> None:
    """Others go on; it is given up when its client has waited long enough."""
    bench, _ = with_group_3_away(7)
    bench.submit(8, (2, 1, 2), (3, 2, 1))
    bench.round()
    assert bench.answers == {8: [0, 0]}
    bench.take(bench.core.give_up([Ticket(7)]))
    assert bench.answers[7] == [RETRY]


def test_decisions_that_did_not_arrive_go_out_together() -> None:
    """One call to a group that is away, however many rounds have ended meanwhile."""
    bench = ready()
    for number in (1, 2):
        bench.submit(number, (number, 1, 2))
        bench.go_on()
        bench.vote_all()
        bench.record_all()
        bench.core.hurry(2)
        bench.go_on()
    asks = [ask for ask in bench.decides() if ask.group == 2]
    for ask in asks:
        bench.asks.remove(ask)
        assert bench.core.failed(ask)
    bench.core.hurry()
    bench.go_on()
    assert not [ask for ask in bench.decides() if ask.group == 2]
    bench.core.wake(2)
    bench.go_on()
    (ask,) = [ask for ask in bench.decides() if ask.group == 2]
    assert len(decisions(ask)) == 2
