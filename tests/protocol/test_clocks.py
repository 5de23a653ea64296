"""What the clock at the other end shows at least: never later than it does, and hardly earlier."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from protocol.clocks import DRIFT, RemoteClock, show

DELAYS = st.lists(st.tuples(st.floats(0, 60), st.floats(0, 40)), min_size=1, max_size=20)


@given(DELAYS, st.floats(-1e6, 1e6), st.floats(-DRIFT / 2, DRIFT / 2), st.floats(0, 3_600))
def test_a_request_is_never_void_too_late(
    answers: list[tuple[float, float]], ahead: float, drift: float, idle: float
) -> None:
    """Whatever the answers' delays, with clocks that drift within the bound; with the fastest answer it is hardly too early."""
    clock, ours, fastest = RemoteClock(), 2e6, 60.0
    began = ours
    for pause, delay in answers:
        ours += pause
        sent = (ours - began) * (1 + drift) + began + ahead
        ours += delay
        clock.hear(show(sent), ours)
        fastest = min(fastest, delay)
    ours += idle
    theirs = (ours + 1.0 - began) * (1 + drift) + began + ahead
    told = clock.at(ours + 1.0, ours) / 1_000
    assert told <= theirs + 1e-3
    assert told >= theirs - fastest - 2 * DRIFT * (ours + 1.0 - began) - 0.003
