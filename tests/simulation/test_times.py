"""Planted bugs of time are found by the checks of time."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.simulation import clock_mutants
from tests.simulation.simulation import Plan
from tests.simulation.test_simulation import check_found

CLOCKS = {"at": "clocks", "spell": "none"}


def test_rows_that_are_stamped_anew_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request's rows that do not go on behind those of the one before in its entry."""
    check_found(clock_mutants.stamp_anew, "is not later than", Plan(8.0, "bank"), monkeypatch)


@pytest.mark.timeout(600)  # as those of the other planted bugs
@pytest.mark.parametrize(
    ("plant", "found_by", "plan"),
    [
        (clock_mutants.let_stamps_fall, "timestamp falls", Plan(10.0, "note", **CLOCKS)),
        (clock_mutants.step_stamps, "timestamp steps", Plan(10.0, "note", **CLOCKS)),
        (clock_mutants.expire_by_wall_clock, "ends early|counts", Plan(10.0, "lock", **CLOCKS)),
        (clock_mutants.expire_too_soon, "ends early", Plan(10.0, "bank", **CLOCKS)),
        (clock_mutants.count_from_the_start, "ends early|counts", Plan(10.0, "note", **CLOCKS)),
        (clock_mutants.wait_for_the_dead, "lock: not served", Plan(10.0, "lock", at="elections", spell="none")),
        (clock_mutants.stop_counting, "counts", Plan(10.0, "note", **CLOCKS)),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_planted_bug_of_time_is_found(
    plant: Callable[[pytest.MonkeyPatch], None], found_by: str, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a bounded number of seeds."""
    check_found(plant, found_by, plan, monkeypatch)
