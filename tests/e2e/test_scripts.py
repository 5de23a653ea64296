"""The scripts as a person runs them, on real node processes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from node.cli.auditing import agreement, audit_in_full
from node.cli.program import EXIT_INTERRUPTED
from protocol.client import Report, ShardDigest
from scripts.local.processes import wait_for
from tests.e2e.ports import free_ports
from tests.e2e.programs import ROOT, Outcome, environment, run, script

NODES = 3
SETTINGS = ["--nodes", str(NODES), "--shards", "4"]
GROUPS = 5  # a shard each, and the cluster's own
WAIT_SECONDS = 30.0  # for an election on a busy machine


class Cluster:
    """One cluster, by its folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        port = free_ports(NODES)
        self.port = port
        self.addresses = ",".join(f"127.0.0.1:{port + place}" for place in range(NODES))

    def do(self, command: str, *arguments: object) -> Outcome:
        """A command of scripts/cluster."""
        return run("cluster", command, *arguments, "--dir", self.folder)

    def pay(self, *arguments: object) -> Outcome:
        """A command of scripts/pay."""
        return run("pay", *arguments, addresses=self.addresses)

    def paid(self, *arguments: object) -> list[dict[str, Any]]:
        """What a command of scripts/pay that succeeds prints."""
        outcome = self.pay(*arguments, "-o", "json")
        assert outcome.returncode == 0, outcome.stderr
        rows: list[dict[str, Any]] = json.loads(outcome.stdout)
        return rows

    def coordinator(self) -> int:
        """The node that runs commit rounds, once there is one."""
        found: list[int] = []

        def is_known() -> bool:
            rows = json.loads(self.do("status", "-o", "json").stdout)
            found[:] = [int(row["node"]) for row in rows if row["coordinator"]]
            return len(found) == 1

        assert wait_for(is_known, WAIT_SECONDS)
        return found[0]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three nodes that serve; each test leaves them as it found them."""
    made = Cluster(tmp_path_factory.mktemp("cluster") / "it")
    up = made.do("up", *SETTINGS, "--base-port", made.port)
    assert up.returncode == 0, up.stderr
    try:
        made.paid("account", "create", "world:EUR", "--minimum-balance", "none")
        yield made
    finally:
        made.do("down")


def test_money_survives_the_coordinator(cluster: Cluster) -> None:
    """A payment is there after its coordinator is killed, others are served meanwhile, and the books balance."""
    for name in ("ann", "ben"):
        cluster.paid("account", "create", name)
    cluster.paid("transfer", "world:EUR", "ann", 1000)
    node = cluster.coordinator()
    assert cluster.do("kill", node).returncode == 0
    try:
        cluster.paid("transfer", "ann", "ben", 300)
        assert cluster.pay("audit").stderr == f"pay: replicas agree; {GROUPS} of {GROUPS * NODES} did not answer\n"
    finally:
        assert cluster.do("start", node).returncode == 0
    rows = cluster.paid("account", "show", "ann", "ben")
    assert [row["posted"] for row in rows] == [700, 300]
    (report,) = cluster.paid("audit")
    assert all(row["balanced"] for row in report["currencies"])
    assert [shard["shard"] for shard in report["shards"]] == [*range(GROUPS)]
    for shard in report["shards"]:
        assert (sorted(shard["digests"]), shard["agree"], shard["index"] > 0) == (["1", "2", "3"], True, True)


def test_pay_explains_refusals(cluster: Cluster) -> None:
    """A refusal names its status and what was expected on standard error, with exit code 1."""
    cluster.paid("account", "create", "poor")
    refused = cluster.pay("transfer", "poor", "world:EUR", 1)
    assert refused.returncode == 1
    assert "insufficient_funds" in refused.stderr
    assert refused.stdout == ""
    assert cluster.pay("account", "show", "nobody").returncode == 1


def test_pay_repeats_safely(cluster: Cluster) -> None:
    """The same id twice is one payment."""
    cluster.paid("account", "create", "once")
    (first,) = cluster.paid("transfer", "world:EUR", "once", 5)
    (again,) = cluster.paid("transfer", "world:EUR", "once", 5, "--id", first["id"])
    assert [first["status"], again["status"]] == ["created", "exists"]
    assert cluster.paid("account", "show", "once")[0]["posted"] == 5
    assert cluster.paid("outcome", first["id"], "--debit", "world:EUR") == [{"id": first["id"], "status": "created"}]


def test_pay_holds(cluster: Cluster) -> None:
    """A hold is captured in part, the rest is given back, and the history tells it."""
    for name in ("holder", "shop"):
        cluster.paid("account", "create", name)
    cluster.paid("transfer", "world:EUR", "holder", "10.00", "--currency", "EUR")
    (hold,) = cluster.paid("hold", "holder", "shop", 600, "--ttl", 60)
    assert cluster.paid("account", "show", "holder")[0]["available"] == 400
    cluster.paid("capture", hold["id"], 250)
    cluster.paid("void", hold["id"])
    assert cluster.paid("account", "show", "holder")[0]["available"] == 750
    kinds = [row["kind"] for row in cluster.paid("history", "shop")]
    assert kinds == ["hold", "capture", "void"]


def test_pay_updates_accounts(cluster: Cluster) -> None:
    """A frozen account takes no money until it is open again."""
    cluster.paid("account", "create", "cold", "--owner", "someone")
    cluster.paid("account", "update", "cold", "--status", "frozen")
    assert "credit_account_frozen" in cluster.pay("transfer", "world:EUR", "cold", 1).stderr
    cluster.paid("account", "update", "cold", "--status", "open", "--maximum-balance", 10)
    assert "exceeds_maximum_balance" in cluster.pay("transfer", "world:EUR", "cold", 11).stderr
    cluster.paid("transfer", "world:EUR", "cold", 10)


def test_pay_at_a_version(cluster: Cluster) -> None:
    """A version that is old is refused with the current one; a lock and a commit protocol are read."""
    cluster.paid("account", "create", "seen")
    cluster.paid("transfer", "world:EUR", "seen", 9)
    version = cluster.paid("account", "show", "seen")[0]["version"]
    cluster.paid("transfer", "seen", "world:EUR", 1, "--if-version", version, "--commit", "2pc")
    now = cluster.paid("account", "show", "seen")[0]["version"]
    late = cluster.pay("transfer", "seen", "world:EUR", 1, "--if-version", version)
    assert late.returncode == 1 and "version_conflict" in late.stderr and str(now) in late.stderr
    assert str(now) in cluster.pay("account", "update", "seen", "--owner", "x", "--if-version", version).stderr
    unheld = cluster.pay("transfer", "seen", "world:EUR", 1, "--lock", "pay:roll:7")
    assert unheld.returncode == 1 and "lock_not_held" in unheld.stderr
    assert cluster.pay("transfer", "seen", "world:EUR", 1, "--lock", "payroll").returncode == 2
    assert cluster.pay("transfer", "seen", "world:EUR", 1, "--commit", "4pc").returncode == 2


def test_pay_without_a_majority(cluster: Cluster) -> None:
    """Exit code 3 and the id, by which it is settled later; or 1, and then it has not happened, as it got to nobody who could do it."""
    cluster.paid("account", "create", "patient")
    away = [node for node in range(1, NODES + 1) if node != 1]
    for node in away:
        assert cluster.do("pause", node).returncode == 0
    try:
        unknown = run(
            "pay", "transfer", "world:EUR", "patient", 7, "--timeout", 1.5, "-o", "json",
            addresses=f"127.0.0.1:{cluster.port}",
        )  # fmt: skip
    finally:
        for node in away:
            assert cluster.do("resume", node).returncode == 0
    if unknown.returncode == 1:
        assert "outcome" not in unknown.stderr and json.loads(unknown.stdout)[0]["status"] in ("unreachable", "busy")
        assert cluster.paid("account", "show", "patient")[0]["posted"] == 0
        return
    assert unknown.returncode == 3, unknown.stderr
    (row,) = json.loads(unknown.stdout)
    assert row["status"] == "outcome_unknown"
    (settled,) = cluster.paid("outcome", row["id"], "--debit", "world:EUR")
    posted = cluster.paid("account", "show", "patient")[0]["posted"]
    assert (settled["status"], posted) in (("created", 7), ("cancelled", 0))


def test_pay_reads_decimals_in_the_accounts_own_currency(cluster: Cluster) -> None:
    """12.34 of another currency would be another amount."""
    for account in ("yen:world", "yen:payee"):
        cluster.paid("account", "create", account, "--currency", "JPY", "--minimum-balance", "none")
    refused = cluster.pay("transfer", "yen:world", "yen:payee", "5", "--currency", "EUR")
    assert refused.returncode == 1 and "yen:world is kept in JPY, yen:payee is kept in JPY" in refused.stderr
    cluster.paid("transfer", "yen:world", "yen:payee", "5", "--currency", "JPY")
    assert cluster.paid("account", "show", "yen:payee")[0]["posted"] == 5


def test_pay_takes_the_id_that_is_given(cluster: Cluster) -> None:
    """Zero is no id, and another in its place would pay again with each repeat."""
    refused = cluster.pay("transfer", "world:EUR", "world:EUR2", 5, "--id", "0" * 32)
    assert refused.returncode == 2 and "id_must_not_be_zero: expected an id above 0" in refused.stderr


def test_pay_says_how_far_replicas_agree() -> None:
    """Only where all have answered alike it is left at that."""

    def words(*digests: dict[int, int | None]) -> tuple[str, bool]:
        report = Report({}, tuple(ShardDigest(group, 9, found) for group, found in enumerate(digests)))
        return agreement(report), report.balanced

    alike: dict[int, int | None] = {1: 5, 2: 5, 3: 5}
    assert words(alike, alike) == ("replicas agree", True)
    assert words(alike, alike | {2: None}) == ("replicas agree; 1 of 6 did not answer", True)
    few = "too few replicas of shard 1 answered; 2 of 6 did not answer"
    assert words(alike, {1: 5, 2: None, 3: None}) == (few, False)
    assert words(alike, {1: 5, 2: 6, 3: None}) == ("replicas of shard 1 differ", False)
    report = Report({}, (ShardDigest(0, 9, alike), ShardDigest(1, 9, alike | {3: None}, (3,))))
    assert agreement(report).endswith("1 of 6 did not answer; node 3 gets back what it lost, in shard 1")
    assert [row["recovering"] for row in audit_in_full(report)["shards"]] == [(), (3,)]


def test_pay_explains_what_it_cannot_trace(cluster: Cluster) -> None:
    """An id that nobody has seen, and one that is none."""
    unknown = cluster.pay("trace", f"{7:032x}")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert "transfer_not_found: expected the id of a transfer that some shard has seen" in unknown.stderr
    assert cluster.pay("trace", "UNKNOWN-ID").returncode == 2


@pytest.mark.parametrize("seconds", ["0.05", "3601"])
def test_pay_refuses_a_lease_out_of_range(cluster: Cluster, tmp_path: Path, seconds: str) -> None:
    """What was to run under the lock does not."""
    refused = cluster.pay("lock", "leased", "--ttl", seconds, "--", "touch", tmp_path / "ran")
    assert refused.returncode == 2 and "100 ms to 1 h" in refused.stderr, refused.stderr
    assert not (tmp_path / "ran").exists()


def test_pay_that_is_told_to_end_ends_what_runs_under_its_lock(cluster: Cluster, tmp_path: Path) -> None:
    """First the command, then the lock: the next holder meets nobody."""
    program = f"echo $$ > {tmp_path / 'pid'}; exec sleep 60"
    command = [script("pay"), "lock", "ended", "--", "sh", "-c", program]
    variables = environment(RINGPAY_ADDRESSES=cluster.addresses)
    holding = subprocess.Popen(command, env=variables, cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        assert wait_for(lambda: (tmp_path / "pid").is_file() and (tmp_path / "pid").read_text().strip() != "", 20.0)
        holding.terminate()
        assert holding.wait(20.0) == EXIT_INTERRUPTED
    finally:
        holding.kill()
    running = int((tmp_path / "pid").read_text())
    assert not Path(f"/proc/{running}").exists()
    assert cluster.pay("lock", "ended", "--wait", "0", "--", "true").returncode == 0


def test_wrong_usage_is_told_apart(cluster: Cluster, tmp_path: Path) -> None:
    """Exit code 2 is for the command line, 1 for what cannot be done."""
    decimal = cluster.pay("transfer", "a", "b", "1.2345", "--currency", "EUR")
    assert decimal.returncode == 2 and "EUR has 2 digits after the point" in decimal.stderr
    much = cluster.pay("transfer", "a", "b", "much")
    assert much.returncode == 2 and "amount 'much': expected an integer in minor units" in much.stderr
    assert cluster.pay("outcome", "12", "--debit", "a").returncode == 2
    assert run("cluster", "fly").returncode == 2
    assert cluster.do("kill", NODES + 1).returncode == 1
    assert run("cluster", "status", "--dir", tmp_path).returncode == 1
    assert run("bench", "--commit", "4pc").returncode == 2
    assert "invalid choice" in run("bench", "--commit", "4pc").stderr


def test_up_again_changes_nothing(cluster: Cluster) -> None:
    """A cluster that runs is left alone; another shape of it is refused."""
    before = cluster.do("status", "-o", "json").stdout
    assert cluster.do("up").returncode == 0
    pids = [[row["pid"] for row in json.loads(text)] for text in (before, cluster.do("status", "-o", "json").stdout)]
    assert pids[0] == pids[1]
    assert cluster.do("up", "--nodes", NODES + 2).returncode == 1


def test_up_refuses_a_foreign_folder(tmp_path: Path) -> None:
    """Nothing is written into a folder that holds other things, and clean deletes nothing there."""
    (tmp_path / "diary.txt").write_text("dear diary")
    for command in ("up", "clean"):
        assert run("cluster", command, "--dir", tmp_path).returncode == 1
    assert [path.name for path in tmp_path.iterdir()] == ["diary.txt"]


def test_down_and_clean_leave_nothing(tmp_path: Path) -> None:
    """Files of others stay, ours go; a stopped cluster brings its money back with the next up."""
    made = Cluster(tmp_path / "it")
    try:
        assert made.do("up", *SETTINGS, "--base-port", made.port).returncode == 0
        made.paid("account", "create", "kept")
        assert made.do("clean").returncode == 1
        assert made.do("stop", 1).returncode == 0
        assert made.do("down").returncode == 0
        assert made.do("up").returncode == 0
        assert made.paid("account", "show", "kept")[0]["posted"] == 0
        assert "serving" in made.do("logs", 1).stdout
    finally:
        made.do("down")
    (made.folder / "note.txt").write_text("mine")
    assert made.do("clean").returncode == 0
    assert [path.name for path in made.folder.iterdir()] == ["note.txt"]
