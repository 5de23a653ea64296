"""What the clock at the other end shows at least: never later than it does, and hardly earlier."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from protocol.clocks import DRIFT, RemoteClock, show

WAYS = st.lists(st.tuples(st.floats(0, 60), st.floats(0, 40), st.floats(0, 40)), min_size=1, max_size=20)
"""Of each question the pause before it, its way and that of its answer, in seconds."""


@given(WAYS, st.floats(-1e6, 1e6), st.floats(-DRIFT / 2, DRIFT / 2), st.floats(0, 3_600))
def test_a_request_is_never_void_too_late(
    ways: list[tuple[float, float, float]], ahead: float, drift: float, idle: float
) -> None:
    """Whatever the answers' delays, with clocks that drift within the bound; with the fastest answer it is hardly too early."""
    clock, ours, fastest = RemoteClock(), 2e6, 60.0
    began = ours
    for pause, way, delay in ways:
        ours += pause
        asked_at = ours
        ours += way
        sent = (ours - began) * (1 + drift) + began + ahead
        ours += delay
        clock.hear(show(sent), ours, asked_at)
        fastest = min(fastest, delay)
    ours += idle
    theirs = (ours + 1.0 - began) * (1 + drift) + began + ahead
    told = clock.at(ours + 1.0, ours) / 1_000
    assert told <= theirs + 1e-3
    assert told >= theirs - fastest - 2 * DRIFT * (ours + 1.0 - began) - 0.003


@given(st.floats(0, 0.5), st.floats(0, 1e5), st.floats(1, 1e5), st.floats(0, 0.2), st.floats(0, 0.2))
def test_a_suspended_machine_is_believed_too_much_until_it_answers(
    before: float, idle: float, stood: float, way: float, back: float
) -> None:
    """It does not count while it is suspended, so less of its time has passed than of ours."""
    clock, ours = RemoteClock(), 100.0
    clock.hear(show(ours - before), ours)
    asked_at = ours + idle + stood + DRIFT * (idle + stood) + before
    ours = asked_at + way + back
    theirs = ours - stood - DRIFT * (idle + stood) - before
    clock.hear(show(theirs - back), ours, asked_at)
    assert theirs - back - 0.002 <= clock.at(ours, ours) / 1_000 <= theirs
