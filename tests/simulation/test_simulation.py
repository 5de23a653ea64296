"""The production cluster under seeded faults: promises hold, runs repeat exactly, and planted bugs are found."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest

from protocol.columns import COMMIT_PROTOCOLS
from tests.simulation import event_mutants, more_mutants, mutants
from tests.simulation.network import Network
from tests.simulation.simulation import WORKLOADS, Plan, simulate

RUNS = [(workload, commit) for workload in WORKLOADS for commit in COMMIT_PROTOCOLS]
pytestmark = [
    pytest.mark.timeout(600),  # a planted bug may take all its seeds on a slow machine
    pytest.mark.filterwarnings(
        "ignore::pytest.PytestUnraisableExceptionWarning"
    ),  # a run that breaks off leaves coroutines behind
]

SHORT = Plan(16.0)  # seconds of faults; scripts/simulate does more
TARDY = Plan(12.0, "bank", at="shards")
AGAINST_VOTES = (
    "against the votes|commits unrecorded|decided unlike its votes|books|transfer|adds up|history of|balanced=False"
)
SEEDS_MAX = 40  # within which a planted bug must be found


def plan(workload: str, at: str, commit: str | None = None) -> Plan:
    """What a planted bug needs, and no more: it is found sooner."""
    return Plan(12.0, workload, commit, at, spell="none")


@pytest.mark.parametrize(("workload", "commit"), RUNS)
def test_promises_hold_under_faults(workload: str, commit: str) -> None:
    """Crashes, partitions, lossy networks, bad disks and clocks: nothing acknowledged is lost, doubled or torn."""
    seed = RUNS.index((workload, commit))
    result = simulate(seed, replace(SHORT, workload=workload, commit=commit))
    assert result.holds, result.report()
    assert result.created or result.operations or result.guarded
    assert result.faults


@pytest.mark.parametrize(("seed", "commit"), [(3, "2pc"), (7, "2pc"), (3, "3pc")])
def test_promises_hold_where_shards_are_tardy(seed: int, commit: str) -> None:
    """Calls to one shard come late again and again: the others' refusals are not final without its word."""
    result = simulate(seed, replace(TARDY, commit=commit))
    assert result.holds, result.report()
    assert result.faults["tardy"] and result.created


def test_a_seed_gives_the_same_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that leaves a node is the same in both runs, byte for byte, also where Python hashes otherwise; what is not is seen."""
    short = Plan(2.0, "mix", spell="none")
    first = simulate(2, short)
    again = f"from tests.simulation.simulation import *; print(simulate(2, {short}).trace)"
    environment = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    found = subprocess.run([sys.executable, "-c", again], env=environment, capture_output=True, text=True, check=True)
    assert int(found.stdout) == first.trace
    assert simulate(2, short) == first
    honest, calls = Network._latency, itertools.count()

    def delay(self: Network) -> float:
        return honest(self) + 1e-9 * (next(calls) > first.units * 0.9)

    monkeypatch.setattr(Network, "_latency", delay)
    assert simulate(2, short).trace != first.trace


@pytest.mark.parametrize("commit", COMMIT_PROTOCOLS)
@pytest.mark.parametrize(
    ("plant", "found_by"),
    [
        (mutants.skip_fence, "the epoch fell|decided twice"),
        (mutants.lose_decision, "decided twice|decided unlike its|commits, precommitted by|transfer"),
        (mutants.presume_commit, "commits unrecorded|commits, precommitted by"),
        (mutants.decide_early, "commits unrecorded|decided unlike its votes|commits, precommitted by"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_planted_bug_of_rounds_is_found(
    plant: Callable[[pytest.MonkeyPatch], None], found_by: str, commit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With either protocol, within a bounded number of seeds, and by the checker that is meant for it."""
    check_found(plant, found_by, Plan(12.0, "bank", commit, at="coordinator"), monkeypatch)


@pytest.mark.parametrize(
    ("plant", "found_by", "plan"),
    [
        (mutants.acknowledge_before_write, "on disk at", plan("bank", "elections")),
        (mutants.commit_old_term, "counted an entry of term", plan("bank", "elections")),
        (mutants.forget_vote, "voted for", plan("note", "votes")),
        (mutants.forget_promises, "voted for|forgot that", plan("bank", "disks")),
        (mutants.promise_before_log, "has lost nothing", plan("bank", "writes")),
        (mutants.believe_old_folder, "forgot that|voted for|lacks committed|on disk at", plan("note", "copies")),
        (mutants.name_older_checkpoint, "only applied entries|is taken for", plan("bank", "snapshots")),
        (mutants.believe_own_log, "two entries|lacks committed|on disk at", Plan(1.0, "note", spell="machines")),
        (mutants.decide_on_timeout, AGAINST_VOTES, plan("bank", "shards", "2pc")),
        (mutants.decide_on_timeout, AGAINST_VOTES, plan("bank", "shards", "3pc")),
        (mutants.cut_anywhere, "adds up|ahead|misses|in the log it is|balanced=False", plan("bank", "shards")),
        (
            mutants.let_new_folder_vote,
            "the log ends before the commit index|lacks committed",
            Plan(4.0, "note", spell="folders"),
        ),
        (mutants.guard_nothing, "happened under token", plan("lock", "coordinator")),
        (mutants.forget_version, "not linearizable", plan("register", "elections")),
        (mutants.forget_version, "does not agree|misses|loss", plan("append", "elections")),
        (mutants.record_whole_chains, "in the end", plan("bank", "elections")),
        (more_mutants.pay_by_credit, "another credit_account|in the end|accepted, and", plan("split", "elections")),
        (more_mutants.forget_finished, "decided twice|is undecided for", plan("bank", "shards")),
        (more_mutants.tell_nothing_over, "are not forgotten", plan("bank", "elections")),
        (more_mutants.pledge_nothing, "paid out of", plan("bank", "shards")),
        (more_mutants.count_reversals_late, "given back of", plan("bank", "shards")),
        (more_mutants.count_failed_reversals, "not given back, and", plan("bank", "shards")),
        (more_mutants.leave_bounds_to_the_debit, "balances credit with|balances both with", plan("bank", "elections")),
        (more_mutants.keep_what_is_given_back, "refused, and", plan("bank", "shards")),
        (mutants.give_up_pings, "far apart, does not come up", Plan(1.0, "note", spell="links")),
        (mutants.know_one_way, "while nothing but single links failed", Plan(1.0, "note", spell="links")),
        (mutants.forget_updates, "not linearizable", plan("note", "elections")),
        (mutants.forget_ended_claims, "has ended and lives again", plan("lock", "elections")),
        (event_mutants.pass_whole_batches, "was not told of", plan("read", "elections")),
        (event_mutants.tell_both_sides, "was told 2 times", plan("read", "elections")),
        (event_mutants.tell_refusals, "did not happen, and was told 1 times", plan("read", "elections")),
        (event_mutants.answer_anywhere, "a cursor ahead of", plan("read", "elections")),
        (mutants.serve_overdue, "was carried out when it was void", plan("note", "elections")),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_planted_bug_is_found(
    plant: Callable[[pytest.MonkeyPatch], None], found_by: str, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a bounded number of seeds, and by the checker that is meant for it."""
    check_found(plant, found_by, plan, monkeypatch)


@pytest.mark.parametrize(
    ("plant", "found_by", "plan", "seed"),
    [
        (mutants.refuse_without_the_debit, "in the end|accepted, and", replace(TARDY, seconds=6.0, spell="none"), 10),
        (more_mutants.take_late_prepares, "is undecided for", replace(TARDY, seconds=4.0, spell="none"), 18),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_planted_bug_about_tardy_shards_is_found(
    plant: Callable[[pytest.MonkeyPatch], None], found_by: str, plan: Plan, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a seed that holds without it, or a few more."""
    check_found(plant, found_by, plan, monkeypatch, first_seed=seed)


def check_found(
    plant: Callable[[pytest.MonkeyPatch], None],
    found_by: str,
    plan: Plan,
    patch: pytest.MonkeyPatch,
    first_seed: int = 0,
) -> None:
    plant(patch)
    for seed in range(first_seed, first_seed + SEEDS_MAX):
        result = simulate(seed, plan)
        found = [broken for broken in result.broken if any(words in broken for words in found_by.split("|"))]
        if found:
            print(f"{plant.__name__}: found by seed {seed}: {found[0]}")
            return
    pytest.fail(f"{plant.__name__}: not found in {SEEDS_MAX} seeds")
