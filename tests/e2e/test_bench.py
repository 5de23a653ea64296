"""bench, small: alone, beside a commit, and the load that it makes."""

from __future__ import annotations

import shutil
from itertools import islice

import pytest

from protocol.placement import groups_of
from scripts.load.beside import BENCH_FILES, ONE_FOLDER
from scripts.load.workload import Ids, Source, Workload, in_turn, prepare
from tests.architecture.sources import imports_of
from tests.e2e.programs import ROOT, run


def test_bench_prints_what_tigerbeetle_users_know() -> None:
    """The load of three clients is accepted, and every balance is what the model says."""
    done = run(
        "bench", "--nodes", "3", "--shards", "2", "--transfer-count", "20000", "--account-count", "1000",
        "--cross-shard-percent", "30", "--query-count", "5", "--clients", "3", "--validate", "--memory",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for part in ("load accepted = ", "batch latency p99 = ", "query latency p50 = ", "rss node 3 after = "):
        assert part in done.stdout
    assert "validated 1000 accounts, 20000 transfers" in done.stdout


def test_bench_kills_a_coordinator_and_waits_until_all_is_as_before() -> None:
    """The load goes on, its books are right in the end, and what the kill cost is told: both gaps, and the start."""
    options = ["--nodes", 3, "--shards", 3, "--transfer-batch-count", 64, "--account-count", 200]
    outcome = run("bench", *options, "--kill-coordinator", 1, "--validate")
    assert outcome.returncode == 0, outcome.stderr
    (kill,) = (line for line in outcome.stdout.splitlines() if line.startswith("kill 1: node "))
    figures_ms = [int(word) for word in kill.replace(",", "").split() if word.isdigit()][1:]
    assert len(figures_ms) == 3 and all(figure > 0 for figure in figures_ms)
    assert "longest gap in 1 kills" in outcome.stdout and "longest gap in 1 returns" in outcome.stdout
    assert "longest start in 1 returns = " in outcome.stdout


def test_a_subscriber_is_told_of_the_whole_load() -> None:
    """Of each transfer once, and how far behind it was."""
    done = run("bench", "--subscriber", "--transfer-count", 30_000, "--query-count", 0, "--shards", 2)
    assert done.returncode == 0, done
    assert "subscriber told of 30000 transfers, " in done.stdout and " s behind at the end" in done.stdout


@pytest.mark.skipif(not (ROOT / ".git").exists() or not shutil.which("git"), reason="needs the project's history")
def test_bench_runs_beside_a_commit() -> None:
    """Both sides are measured, and what is told is the ratio of their medians."""
    options = ["--nodes", 1, "--transfer-count", 1000, "--account-count", 100, "--query-count", 0]
    done = run("bench", "--beside", "HEAD", "--runs=2", *options)
    assert done.returncode == 0, done.stderr
    (accepted,) = (line.split() for line in done.stdout.splitlines() if line.startswith("load accepted"))
    old, new, ratio = map(float, accepted[2:])
    assert old > 0 and abs(ratio - new / old) < 0.001
    assert [line.split(":")[1].split(", ")[1] for line in done.stderr.splitlines()] == ["HEAD", "here", "here", "HEAD"]


@pytest.mark.parametrize("commit", ["no-such-commit", "--output=elsewhere"])
def test_bench_refuses_to_stand_beside_nothing(commit: str) -> None:
    """What is no commit is told, and nothing is measured."""
    refused = run("bench", f"--beside={commit}")
    assert refused.returncode == 1 and "expected a commit of this repository" in refused.stderr


def test_the_load_is_ours_on_both_sides() -> None:
    """The files that are put beside a commit need one another, and what each commit has: its client, and the face of its own clusters."""
    modules = [name.removesuffix(".py").replace("/", ".") for name in BENCH_FILES]
    for name in BENCH_FILES:
        for imported, _ in imports_of(ROOT / name):
            module, _, thing = imported.rpartition(".")
            if module.split(".")[0] in ("node", "scripts", "tests"):
                assert module in modules or module == "scripts.local", f"{name}: {imported}"
                assert module != "scripts.local" or f" {thing}" in ONE_FOLDER, f"{name}: {imported}"


def test_the_load_is_made_beforehand_and_sent_in_turn() -> None:
    """So many transfers are sent, those that were made again and again, the last request cut to fit."""
    batches = prepare(Workload(50, 0, 0, "uniform", None, 1, "tbid", 7), 0, 1_000, 300)
    assert [len(batch) for batch in islice(batches, 4)] == [300] * 4
    assert batches[0].debits == [f"accounts:{row:08}" for row in batches[0].debit]
    sent = list(in_turn(batches[:2], 1_300))
    assert [len(batch) for batch in sent] == [300, 300, 300, 300, 100]
    assert sent[2] is batches[0] and sent[4].credits == batches[0].credits[:100]


@pytest.mark.parametrize("percent", [0, 40, 100])
def test_cross_shard_share_is_kept(percent: int) -> None:
    """The wanted part of the transfers crosses shards, and no account pays itself."""
    workload = Workload(1_000, 0, 0, "uniform", percent, 8, "tbid", 7)
    batch = Source(workload, 0).next(8_192)
    shard = groups_of(workload.names(), 8)
    crossing = int((shard[batch.debit] != shard[batch.credit]).sum())
    assert abs(crossing * 100 - percent * 8_192) <= 3 * 8_192
    assert (batch.debit != batch.credit).all()


@pytest.mark.parametrize("order", ["tbid", "sequential", "random", "reversed"])
def test_ids_are_in_the_wanted_order_and_unique(order: str) -> None:
    """Ids differ over batches and clients; they rise, fall or jump as asked."""
    sources = [Ids(order, client, 7) for client in (0, 1)]
    packed = [b"".join(source.take(count) for count in (1, 8_192, 307)) for source in sources]
    ids = [[text[start : start + 16] for start in range(0, len(text), 16)] for text in packed]
    assert len(dict.fromkeys(ids[0] + ids[1])) == 2 * 8_500
    assert (ids[0] == sorted(ids[0])) == (order in ("tbid", "sequential"))
    assert (ids[0] == sorted(ids[0], reverse=True)) == (order == "reversed")


@pytest.mark.parametrize("distribution", ["uniform", "zipfian", "latest"])
def test_distributions_favour_whom_they_say(distribution: str) -> None:
    """zipfian favours the first accounts, latest the last ones, hot accounts pay their share."""
    rows = Source(Workload(1_000, 0, 0, distribution, None, 1, "tbid", 7), 0).next(8_192).debit
    low, high = int((rows < 100).sum()), int((rows >= 900).sum())
    assert (low > 2 * high, high > 2 * low) == (distribution == "zipfian", distribution == "latest")
    hot = Source(Workload(1_000, 2, 75, distribution, None, 1, "tbid", 7), 0).next(8_192).debit
    assert int((hot < 2).sum()) > 8_192 * 70 // 100
