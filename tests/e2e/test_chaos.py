"""Faults on real node processes: a leader is parted from the rest, a short run of chaos, and what chaos would notice."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from protocol.client import Undecided, UndecidedRound, connect
from protocol.columns import Flag
from protocol.placement import group_of
from scripts.load.kills import longest_gap_ms
from tests.chaos.bank import Movement, make_bank
from tests.chaos.proof import (
    UNDECIDED_SECONDS_MAX,
    check_histories,
    check_undecided,
    expected_balances,
    not_shown,
    note_undecided,
)
from tests.chaos.strikes import FAULTS, STANDSTILL_MS
from tests.e2e.ports import free_ports
from tests.e2e.programs import run


def test_chaos_finds_every_promise_kept() -> None:
    """A few seeded seconds."""
    done = run("chaos", "--minutes", "0.15", "--shards", "4", "--accounts", "40", "--clients", "4", "--seed", "3")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("verdict: every promise was kept\n")
    assert "rounds are decided within 2 s once all nodes run again: the longest seen took " in done.stdout
    for line in ("faults  ", "acknowledged  ", "unknown  ", "snapshots  ", "longest gap  "):
        assert f"\n{line}" in done.stdout


def test_chaos_without_faults_has_shown_nothing() -> None:
    """All was well, but nothing was put to the test: the verdict says so and fails."""
    done = run("chaos", "--minutes", "0.001", "--nodes", "3", "--shards", "2", "--accounts", "10", "--clients", "2")
    found = re.search(r"verdict: no violation, but (.*); data and logs are kept in (.*)\n$", done.stdout)
    assert found is not None, done.stdout + done.stderr
    shutil.rmtree(found[2])
    assert (done.returncode, found[1]) == (1, "not every promise was put to the test")
    assert "\nnot shown     acknowledged payments while faults fell: 0 of " in done.stdout


def test_chaos_lets_only_fall_what_it_is_told() -> None:
    """And the verdict names each kind, how often it fell and the longest gap."""
    options = [
        "--nodes",
        3,
        "--shards",
        2,
        "--accounts",
        20,
        "--clients",
        2,
        "--faults",
        "pause,restart-one",
        "--seed",
        2,
    ]
    done = run("chaos", "--minutes", "0.15", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.findall(r"(?m)^faults        (\d+) (.*): longest gap [\d,]+ ms$", done.stdout)
    assert found and {name for _, name in found} <= {"pause", "restart one"}
    assert sum(int(count) for count, _ in found) == len(
        re.findall(r"(?m) s  (pause|restart one) [123]( for |$)", done.stdout)
    )


@pytest.mark.parametrize("kind", ["lost-folder", "old-folder"])
def test_chaos_takes_a_nodes_folder(kind: str) -> None:
    """Away or put back as it was earlier: the node has its place again, and nothing that was acknowledged is lost."""
    options = ["--nodes", 3, "--shards", 2, "--accounts", 20, "--clients", 2, "--faults", kind, "--seed", 2]
    done = run("chaos", "--minutes", "0.1", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(rf"(?m)^faults        [1-9]\d* {kind.replace('-', ' ')}: ", done.stdout)


@pytest.mark.parametrize("kinds", ["", "pause,", "pause,earthquake", "slow disk"])
def test_chaos_knows_its_faults(kinds: str) -> None:
    """What is none of them is a usage error that lists them."""
    refused = run("chaos", f"--faults={kinds}")
    assert refused.returncode == 2 and "expected kinds of kill, pause, partition, stop, slow-disk, " in refused.stderr


def test_standstills_are_judged_by_what_fell() -> None:
    """A link that is cut excuses less than a dead leader, all nodes at once excuse everything."""
    assert {fault.name for fault in FAULTS if fault.standstill_ms is None} == {"restart all"}
    assert [fault.name for fault in FAULTS if (fault.standstill_ms or STANDSTILL_MS) < STANDSTILL_MS] == [
        "cut link", "one-way link",
    ]  # fmt: skip


LATE = UNDECIDED_SECONDS_MAX + 0.1
EVIDENCE: dict[str, tuple[dict[str, object], str]] = {
    "all": ({}, ""),
    "no payment": ({"answered": []}, "acknowledged payments while faults fell: 0 of 0 in all"),
    "no snapshot during a fault": ({"snapshots": [3.0, 9.0]}, "complete snapshots while faults fell: 0 of 2 in all"),
    "no audit": ({"audits": []}, "audits while faults fell: 0 of 0 in all"),
    "nobody looked": ({"watched_seconds": 1.5}, "what is undecided 2 s after all nodes run again: the last"),
}


@pytest.mark.parametrize("name", EVIDENCE)
def test_what_a_run_has_not_shown(name: str) -> None:
    """Each lack is named; faults fell twice."""
    changes, expected = EVIDENCE[name]
    bank = replace(make_bank(2), answered=[5.0], snapshots=[1.5], audits=[6.0], watched_seconds=LATE)
    for lack, value in changes.items():
        setattr(bank, lack, value)
    lacking = not_shown(bank, [(1.0, 2.0), (4.0, 8.0)])
    assert [text[: len(expected)] for text in lacking] == [expected] * bool(expected)


def test_how_long_rounds_stay_undecided() -> None:
    """Counted from when all nodes ran again; while a group is silent not all is seen."""
    bank = make_bank(2)
    for seconds, age_seconds, silent in ((0.5, 9.0, ()), (1.0, 0.2, ()), (1.5, 0.1, (3,))):
        note_undecided(
            bank, Undecided((UndecidedRound(7, "2pc", (1, 2), (1,), age_seconds, (), 1),), silent, 1), seconds
        )
    assert (bank.undecided_seconds, bank.watched_seconds) == (0.5, 1.0)
    note_undecided(bank, Undecided((), (), 0), LATE)
    assert (bank.undecided_seconds, bank.watched_seconds) == (0.5, LATE)


@pytest.mark.parametrize("seconds", [0.0, UNDECIDED_SECONDS_MAX, LATE])
def test_a_round_that_stays_undecided_breaks_a_promise(seconds: float) -> None:
    """Once all nodes run again."""
    assert check_undecided(replace(make_bank(2), undecided_seconds=seconds)).holds == (seconds < LATE)


def test_a_parted_leader_is_replaced(tmp_path: Path) -> None:
    """The majority elects another one and serves; after healing all three agree."""
    port = free_ports()
    addresses = [f"127.0.0.1:{port + place}" for place in range(3)]
    folder = ["--dir", tmp_path / "it"]
    up = run("cluster", "up", "--nodes", 3, "--shards", 1, "--base-port", port, "--faults", *folder)
    assert up.returncode == 0, up.stderr
    try:
        for name, minimum in (("world:EUR", "none"), ("ann", "0")):
            pay(addresses, "account", "create", name, "--minimum-balance", minimum)
        rows = json.loads(run("cluster", "status", "-o", "json", *folder).stdout)
        leader = next(row["node"] for row in rows if row["leads"])
        others = [number for number in (1, 2, 3) if number != leader]
        assert run("cluster", "partition", leader, *folder).returncode == 0
        pay([addresses[number - 1] for number in others], "transfer", "world:EUR", "ann", 10)
        assert run("cluster", "heal", *folder).returncode == 0
        pay(addresses, "transfer", "world:EUR", "ann", 10)
        audit = run("pay", "audit", addresses=",".join(addresses))
        assert "replicas agree" in audit.stdout + audit.stderr
        wrong = run("cluster", "partition", "1,2", "2,3", *folder)
        assert (wrong.returncode, "node 2: expected in one group only" in wrong.stderr) == (1, True)
    finally:
        run("cluster", "down", *folder)


@pytest.mark.parametrize("one_way", [False, True])
def test_a_link_goes_silent(tmp_path: Path, one_way: bool) -> None:
    """Between the coordinator and another leader: payments between its shard and the others go on, during the cut and after it."""
    port = free_ports()
    addresses = [f"127.0.0.1:{port + place}" for place in range(3)]
    folder = ["--dir", tmp_path / "it"]
    up = run("cluster", "up", "--nodes", 3, "--shards", 3, "--base-port", port, "--faults", *folder)
    assert up.returncode == 0, up.stderr
    try:
        with connect(addresses) as client:
            leaders = client.cluster().leaders
        group = next(group for group, leader in enumerate(leaders) if leader != leaders[0])
        names = (f"a{number}" for number in range(1_000))
        far = next(name for name in names if group_of(name, 3) == group)
        near = next(name for name in names if group_of(name, 3) != group)
        for name in (far, near):
            pay(addresses, "account", "create", name, "--minimum-balance", "none")
        cut = ["cut", leaders[0], leaders[group], *["--one-way"] * one_way]
        assert run("cluster", *cut, *folder).returncode == 0
        for payer, payee in [(far, near), (near, far)] * 2:
            pay(addresses, "transfer", payer, payee, 10)
        assert run("cluster", "heal", *folder).returncode == 0
        pay(addresses, "transfer", far, near, 10)
        wrong = run("cluster", "cut", 1, 1, *folder)
        assert (wrong.returncode, "expected two nodes" in wrong.stderr) == (1, True)
    finally:
        run("cluster", "down", *folder)


def pay(addresses: list[str], *arguments: object) -> None:
    """A command of scripts/pay that succeeds."""
    done = run("pay", *arguments, addresses=",".join(addresses))
    assert done.returncode == 0, done.stderr


def test_nodes_take_faults_only_when_allowed(tmp_path: Path) -> None:
    """And the remedy is named."""
    folder = ["--dir", tmp_path / "it"]
    port = free_ports(1)
    assert run("cluster", "up", "--nodes", 1, "--shards", 1, "--base-port", port, *folder).returncode == 0
    try:
        for command in (("partition", "1"), ("heal",), ("up", "--faults")):
            refused = run("cluster", *command, *folder)
            assert refused.returncode == 1
            assert "expected fault_switch = true" in refused.stderr
    finally:
        run("cluster", "down", *folder)


PAID, HELD = (
    Movement(1, Flag.none, "bank:00000", "bank:00001", 5),
    Movement(2, Flag.hold, "bank:00000", "bank:00002", 9),
)
TAKEN = Movement(3, Flag.capture, "bank:00000", "bank:00002", 4, 2)
RIGHT = {
    "bank:00000": Counter([(1, 5), (2, 9), (3, 4)]),
    "bank:00001": Counter([(1, 5)]),
    "bank:00002": Counter([(2, 9), (3, 4)]),
}


def verdicts(histories: dict[str, Counter[tuple[int, int]]]) -> list[bool]:
    """Exactly once, not refused, nothing else."""
    bank = make_bank(3)
    bank.acknowledged.update({movement.id: movement for movement in (PAID, HELD, TAKEN)})
    bank.refused[4] = Movement(4, Flag.none, "bank:00001", "bank:00002", 7)
    return [check.holds for check in check_histories(bank, histories)]


WRONG: dict[str, tuple[str, list[tuple[int, int]], list[bool]]] = {
    "lost on one side": ("bank:00001", [], [False, True, True]),
    "doubled": ("bank:00001", [(1, 5), (1, 5)], [False, True, True]),
    "another amount": ("bank:00001", [(1, 6)], [False, True, False]),
    "refused and booked": ("bank:00001", [(1, 5), (4, 7)], [True, False, False]),
    "never sent": ("bank:00001", [(1, 5), (8, 7)], [True, True, False]),
}


def test_right_histories_are_right() -> None:
    """And so are the balances that follow from them."""
    assert verdicts(RIGHT) == [True, True, True]
    posted, held = expected_balances(make_bank(3), [TAKEN, PAID, HELD])
    assert [*posted.values()] == [991, 1_005, 1_004]
    assert held == {"bank:00000": 5, "bank:00001": 0, "bank:00002": 0}
    voided = Movement(5, Flag.void, "bank:00000", "bank:00002", 0, 2)
    assert expected_balances(make_bank(3), [voided, TAKEN, PAID, HELD])[1]["bank:00000"] == 0


@pytest.mark.parametrize("name", WRONG)
def test_wrong_histories_are_noticed(name: str) -> None:
    """Each in its own way."""
    account, rows, expected = WRONG[name]
    assert verdicts({**RIGHT, account: Counter(rows)}) == expected


def test_the_longest_gap_of_a_time() -> None:
    """A gap belongs to the time in which its middle lies."""
    answered = [1.0, 2.0, 5.0, 5.5, 7.5]
    gaps = [longest_gap_ms(answered, *time) for time in ((0.0, 9.0), (1.2, 1.6), (3.0, 6.0), (5.1, 5.3), (8.0, 9.0))]
    assert gaps == [3_000.0, 1_000.0, 3_000.0, 500.0, 0.0]
