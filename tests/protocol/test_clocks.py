"""What the clock at the other end shows at least: never later than it does, and hardly earlier."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from protocol.clocks import DRIFT, KNOWN_SECONDS, RemoteClock, show

DELAYS = st.lists(st.tuples(st.floats(0, 60), st.floats(0, 40)), min_size=1, max_size=20)


@given(DELAYS, st.floats(-1e6, 1e6), st.floats(-DRIFT / 2, DRIFT / 2), st.floats(0, 3_600))
def test_a_request_is_never_void_too_late(
    answers: list[tuple[float, float]], ahead: float, drift: float, idle: float
) -> None:
    """Whatever the answers' delays, with clocks that drift within the bound; with fast answers it is hardly too early."""
    clock, ours, slowest = RemoteClock(), 2e6, 0.0
    began = ours
    for pause, delay in answers:
        ours += pause
        sent = (ours - began) * (1 + drift) + began + ahead
        ours += delay
        clock.hear(show(sent), ours)
        slowest = max(slowest, delay)
    ours += idle
    theirs = (ours + 1.0 - began) * (1 + drift) + began + ahead
    told = clock.at(ours + 1.0, ours) / 1_000
    assert told <= theirs + 1e-3
    assert told >= theirs - slowest - 2 * DRIFT * (ours + 1.0 - began) - 0.003


@given(st.floats(0, 0.5), st.floats(1, 1e5), st.floats(0, 0.5))
def test_a_suspended_machine_is_believed_too_much_for_some_seconds_only(
    before: float, stood: float, after: float
) -> None:
    """It does not count while it is suspended, so less of its time has passed than of ours."""
    clock, ours = RemoteClock(), 100.0
    clock.hear(show(ours - before), ours)
    ours += KNOWN_SECONDS + stood
    theirs = ours - stood
    clock.hear(show(theirs - after), ours)
    assert theirs - after - 0.002 <= clock.at(ours, ours) / 1_000 <= theirs


def test_of_answers_close_together_the_fastest_counts() -> None:
    """Slow ones would make requests void too early."""
    clock = RemoteClock()
    clock.hear(show(100.0), 100.001)
    clock.hear(show(101.0), 104.0)
    assert clock.at(105.0, 104.0) >= 104_990
