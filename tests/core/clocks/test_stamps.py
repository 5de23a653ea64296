"""Stamps of one log over any changes of leadership, jumps of wall clocks and restarts: never early, never falling, soon true again."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from node.core.clocks import PACE, Stamp, Stamps

SECOND_NS = 10**9
TRUE_NS = 1_700_000_000 * SECOND_NS
REPLICAS = 3


class Log:
    """Three replicas with monotonic clocks of their own, one of which stamps; the others hear of it later, or not yet."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.bases = [7 * SECOND_NS, 1_000_000 * SECOND_NS, 0]
        self.wrong_ns = [0] * REPLICAS
        self.replicas = [Stamps() for _ in range(REPLICAS)]
        self.entries: list[tuple[Stamp, int]] = []  # and when they were made
        self.applied = [0] * REPLICAS
        self.leader = -1

    def monotonic_ns(self, replica: int) -> int:
        return self.bases[replica] + self.now_ns

    def aim_ns(self, replica: int) -> int:
        return TRUE_NS + self.now_ns + self.wrong_ns[replica]

    def catch_up(self, replica: int) -> None:
        """It applies what it has not yet."""
        for stamp, _ in self.entries[self.applied[replica] :]:
            self.replicas[replica].applied(stamp, self.monotonic_ns(replica))
        self.applied[replica] = len(self.entries)

    def restart(self, replica: int) -> None:
        """All that it knows is what it applied before, and its monotonic clock begins anew."""
        self.bases[replica] = SECOND_NS - self.now_ns
        self.replicas[replica] = Stamps()
        if self.applied[replica]:
            self.replicas[replica].applied(self.entries[self.applied[replica] - 1][0], self.monotonic_ns(replica))
        if self.leader == replica:
            self.leader = -1

    def stamp(self, replica: int) -> None:
        """An entry, stamped by that replica, which takes over if another led."""
        if self.leader != replica:
            self.catch_up(replica)
            self.replicas[replica].lead(self.monotonic_ns(replica), self.aim_ns(replica))
            self.leader = replica
        stamp = self.replicas[replica].take(self.monotonic_ns(replica), self.aim_ns(replica))
        self.entries.append((stamp, self.now_ns))
        self.catch_up(replica)


replicas = st.integers(0, REPLICAS - 1)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("pass"), st.integers(0, 7_200 * SECOND_NS)),
        st.tuples(st.just("stamp"), replicas),
        st.tuples(st.just("catch_up"), replicas),
        st.tuples(st.just("restart"), replicas),
        st.tuples(st.just("jump"), replicas, st.integers(-3_600 * SECOND_NS, 3_600 * SECOND_NS)),
    ),
    max_size=60,
)


def play(log: Log, what: list[tuple[object, ...]]) -> None:
    for name, *arguments in what:
        match name, arguments:
            case "pass", [int(passed_ns)]:
                log.now_ns += passed_ns
            case "jump", [int(replica), int(wrong_ns)]:
                log.wrong_ns[replica] = wrong_ns
            case _:
                getattr(log, str(name))(*arguments)


@settings(deadline=None)
@given(steps)
def test_no_log_counts_more_time_than_has_passed(what: list[tuple[object, ...]]) -> None:
    """Between any two of its entries, whoever stamped them: so nothing that lives for a while ends early."""
    log = Log()
    play(log, what)
    for place, (first, made_ns) in enumerate(log.entries):
        for later, later_ns in log.entries[place + 1 :]:
            assert 0 <= later.elapsed_ns - first.elapsed_ns <= later_ns - made_ns


@settings(deadline=None)
@given(steps)
def test_timestamps_rise(what: list[tuple[object, ...]]) -> None:
    """From each entry to the next, whatever the wall clocks do."""
    log = Log()
    play(log, what)
    assert all(first.timestamp_ns < second.timestamp_ns for (first, _), (second, _) in pairwise(log.entries))


@settings(deadline=None)
@given(steps)
def test_one_leader_never_steps(what: list[tuple[object, ...]]) -> None:
    """While one replica leads, timestamps run within the named pace of time."""
    log = Log()
    play(log, [step for step in what if step[0] in ("pass", "jump")])
    for step in what:
        if step[0] == "stamp":
            log.stamp(0)
        elif step[0] in ("pass", "jump"):
            play(log, [step])
    for (first, made_ns), (second, later_ns) in zip(log.entries, log.entries[1:], strict=False):
        passed_ns = later_ns - made_ns
        run_ns = second.timestamp_ns - first.timestamp_ns
        assert passed_ns * (1 - PACE) - 2 <= run_ns <= passed_ns * (1 + PACE) + 2


def test_stamps_that_are_ahead_return_to_true_time() -> None:
    """An hour ahead, they are true again after an hour over the pace, not before and not later."""
    log = Log()
    log.wrong_ns[0] = 3_600 * SECOND_NS
    log.stamp(0)
    log.now_ns += SECOND_NS
    log.stamp(1)
    due_ns = int(3_600 * SECOND_NS / PACE)
    for at_ns, is_true in ((due_ns // 2, False), (due_ns - 10 * SECOND_NS, False), (due_ns + 10 * SECOND_NS, True)):
        log.now_ns = at_ns
        log.stamp(1)
        assert (abs(log.entries[-1][0].timestamp_ns - TRUE_NS - log.now_ns) < SECOND_NS) == is_true


def test_a_new_leader_counts_the_time_without_one() -> None:
    """A follower that has heard the last entry knows how long ago that was."""
    log = Log()
    log.stamp(0)
    log.catch_up(1)
    log.now_ns += 500 * SECOND_NS
    log.stamp(1)
    assert log.entries[1][0].elapsed_ns - log.entries[0][0].elapsed_ns == 500 * SECOND_NS


def test_a_process_that_was_away_counts_from_its_start() -> None:
    """It cannot know how old the end of its log is, whatever the wall clock says."""
    log = Log()
    log.stamp(0)
    log.catch_up(1)
    log.now_ns += 500 * SECOND_NS
    log.restart(1)
    log.now_ns += 20 * SECOND_NS
    log.stamp(1)
    assert log.entries[1][0].elapsed_ns - log.entries[0][0].elapsed_ns == 20 * SECOND_NS
