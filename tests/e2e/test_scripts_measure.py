"""bench and demo, small; what the node refuses to start with; and the load that bench makes."""

from __future__ import annotations

import json
import sys
from datetime import date
from pathlib import Path

import pytest
from _payments import GENERATED, InputError, generate, read
from _workload import Source, Workload

from protocol.placement import shards_of
from tests.e2e.programs import ROOT, run, run_program


def test_bench_prints_what_tigerbeetle_users_know() -> None:
    """The load is accepted, and every balance is what the model says."""
    done = run(
        "bench", "--nodes", "3", "--shards", "2", "--transfer-count", "20000", "--account-count", "1000",
        "--cross-shard-percent", "30", "--query-count", "5", "--validate", "--memory",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for part in ("load accepted = ", "batch latency p99 = ", "query latency p50 = ", "rss node 3 = "):
        assert part in done.stdout
    assert "validated 1000 accounts, 20000 transfers" in done.stdout


def test_bench_kills_a_coordinator_and_waits_until_all_is_as_before() -> None:
    """The load goes on, its books are right in the end, and both gaps of the kill are told."""
    options = ["--nodes", 3, "--shards", 3, "--transfer-batch-count", 64, "--account-count", 200]
    outcome = run("bench", *options, "--kill-coordinator", 1, "--validate")
    assert outcome.returncode == 0, outcome.stderr
    (kill,) = (line for line in outcome.stdout.splitlines() if line.startswith("kill 1: node "))
    gaps = [int(word) for word in kill.replace(",", "").split() if word.isdigit()][1:]
    assert len(gaps) == 2 and all(gap > 0 for gap in gaps)
    assert "longest gap in 1 kills" in outcome.stdout and "longest gap in 1 returns" in outcome.stdout


def test_demo_loses_no_cent(tmp_path: Path) -> None:
    """A short day from a file: two nodes die and come back, and every check holds."""
    rows = [f"2026-05-0{4 + place // 300} 10:00:00,{place % 70},{place % 90},{100 + place}" for place in range(600)]
    path = tmp_path / "payments.csv"
    path.write_text("\n".join(["time,customer,terminal,amount_cents", *rows]))
    done = run("demo", "--input", str(path), "--day", "2026-05-05", "--customers", "100", "--terminals", "100")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no cent lost" in done.stdout
    assert "300 of 300, 0 lost, 0 doubled" in done.stdout


def test_demo_explains_wrong_input(tmp_path: Path) -> None:
    """A file without the columns is refused before anything starts."""
    path = tmp_path / "payments.csv"
    path.write_text("time,customer\n")
    done = run("demo", "--input", str(path))
    assert done.returncode == 2
    assert "terminal is missing" in done.stderr


def node(folder: Path, *, optimised: bool = False, config: Path = ROOT / "cluster.toml") -> tuple[int, str]:
    """Starts a node that is expected to refuse; exit code and reason."""
    python = [sys.executable, "-O"] if optimised else [sys.executable]
    done = run_program(*python, "-m", "node", "--config", str(config), "--node", "1", "--data", str(folder))
    return done.returncode, done.stderr


def test_node_refuses_to_run_without_checks(tmp_path: Path) -> None:
    """python -O removes assertions, which stop a node that has gone wrong."""
    code, reason = node(tmp_path / "data", optimised=True)
    assert code == 2
    assert "refused to start: python -O" in reason


@pytest.mark.parametrize(
    ("identity", "expected"),
    [
        ({"format": 99}, "newer version"),
        ({"format": 1, "cluster": "another"}, "belongs to cluster 'another'"),
        ("no identity", "damaged"),
    ],
)
def test_node_refuses_data_that_is_not_its_own(tmp_path: Path, identity: object, expected: str) -> None:
    """A folder of another cluster, of a newer version or with a damaged identity is left untouched."""
    text = json.dumps(identity)
    (tmp_path / "node.json").write_text(text)
    code, reason = node(tmp_path)
    assert code == 2
    assert expected in reason
    assert (tmp_path / "node.json").read_text() == text


@pytest.mark.parametrize("percent", [0, 40, 100])
def test_cross_shard_share_is_kept(percent: int) -> None:
    """The wanted part of the transfers crosses shards, and no account pays itself."""
    workload = Workload(1_000, 0, 0, "uniform", percent, 8, "tbid", 7)
    batch = Source(workload, 0).next(8_192)
    shard = shards_of(workload.names(), 8)
    crossing = int((shard[batch.debit] != shard[batch.credit]).sum())
    assert abs(crossing * 100 - percent * 8_192) <= 3 * 8_192
    assert (batch.debit != batch.credit).all()


@pytest.mark.parametrize("order", ["tbid", "sequential", "random", "reversed"])
def test_ids_are_in_the_wanted_order_and_unique(order: str) -> None:
    """Ids differ over batches and clients; they rise, fall or jump as asked."""
    workload = Workload(10, 0, 0, "uniform", None, 1, order, 7)
    packed = [Source(workload, client).next(500).ids for client in (0, 1)]
    ids = [[text[start : start + 16] for start in range(0, len(text), 16)] for text in packed]
    assert len(dict.fromkeys(ids[0] + ids[1])) == 1_000
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


def test_generated_day_is_the_same_for_the_same_seed() -> None:
    """The generator is seeded, and all its payments are of positive cents."""
    payments = generate(3)
    assert payments == generate(3)
    assert payments != generate(4)
    assert len(payments) == GENERATED
    assert min(payment.amount_cents for payment in payments) > 0


def test_day_of_a_file_is_chosen(tmp_path: Path) -> None:
    """Without a day, the file's first one; an empty day is refused."""
    path = tmp_path / "payments.csv"
    path.write_text(
        "amount_cents,time,customer,terminal\n5,2026-01-02T03:04:05,a,b\n6,2026-01-01T00:00:00,c,d\n", encoding="utf-8"
    )
    assert [payment.amount_cents for payment in read(path, None)] == [6]
    assert [payment.customer for payment in read(path, date(2026, 1, 2))] == ["a"]
    with pytest.raises(InputError, match="no payments on 2025"):
        read(path, date(2025, 1, 1))
