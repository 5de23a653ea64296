"""Faults on real node processes: a leader is parted from the rest, a short run of chaos, and what chaos would notice."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest
from _bank import Movement, make_bank
from _bank_proof import check_histories, expected_balances
from _kills import longest_gap_ms
from _processes import free_base_port

from protocol.columns import Flag
from tests.e2e.programs import run

FIRST_PORT = 20_000 + os.getpid() % 400 * 20  # runs side by side begin at different ports


def test_chaos_finds_every_promise_kept() -> None:
    """A few seeded seconds."""
    done = run("chaos", "--minutes", "0.15", "--shards", "4", "--accounts", "40", "--clients", "4", "--seed", "3")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("verdict: every promise was kept\n")
    for line in ("faults  ", "acknowledged  ", "unknown  ", "snapshots  ", "longest gap  "):
        assert f"\n{line}" in done.stdout


def test_a_parted_leader_is_replaced(tmp_path: Path) -> None:
    """The majority elects another one and serves; after healing all three agree."""
    port = free_base_port("127.0.0.1", 3, range(FIRST_PORT, 32_000, 20))
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


def pay(addresses: list[str], *arguments: object) -> None:
    """A command of scripts/pay that succeeds."""
    done = run("pay", *arguments, addresses=",".join(addresses))
    assert done.returncode == 0, done.stderr


def test_nodes_take_faults_only_when_allowed(tmp_path: Path) -> None:
    """And the remedy is named."""
    folder = ["--dir", tmp_path / "it"]
    port = free_base_port("127.0.0.1", 1, range(FIRST_PORT, 32_000, 20))
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
