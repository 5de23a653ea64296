"""The production cluster under seeded faults: promises hold, runs repeat exactly, and planted bugs are found."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.simulation import mutants
from tests.simulation.simulation import simulate

SEEDS = (1, 4, 13, 17)
SECONDS = 20.0  # of faults; scripts/simulate does more
SEEDS_MAX = 40  # within which a planted bug must be found


@pytest.mark.parametrize("seed", SEEDS)
def test_promises_hold_under_faults(seed: int) -> None:
    """Crashes, partitions, lossy networks, bad disks and clocks: nothing acknowledged is lost, doubled or torn."""
    result = simulate(seed, SECONDS)
    assert result.holds, result.report()
    assert result.created > 0 and result.reads > 0 and result.faults


def test_a_seed_gives_the_same_run_again() -> None:
    """Everything that leaves a node is the same in both runs, byte for byte."""
    first, second = simulate(2, SECONDS), simulate(2, SECONDS)
    assert first == second
    assert first.trace != simulate(3, SECONDS / 4).trace


@pytest.mark.parametrize(
    ("plant", "found_by"),
    [
        (mutants.acknowledge_before_write, "on disk at"),
        (mutants.commit_old_term, "counted an entry of term"),
        (mutants.forget_vote, "voted for"),
        (mutants.skip_record, "transfer|lacks|decided twice"),
        (mutants.skip_fence, "the epoch fell|decided twice"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_planted_bug_is_found(
    plant: Callable[[pytest.MonkeyPatch], None], found_by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a bounded number of seeds, and by the checker that is meant for it."""
    plant(monkeypatch)
    for seed in range(SEEDS_MAX):
        result = simulate(seed, 45.0)
        if not result.holds:
            break
    else:
        pytest.fail(f"{plant.__name__}: not found in {SEEDS_MAX} seeds")
    print(f"{plant.__name__}: found by seed {seed}: {result.broken[0]}")
    assert any(words in broken for words in found_by.split("|") for broken in result.broken), result.report()
