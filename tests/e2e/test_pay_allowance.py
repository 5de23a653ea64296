"""`pay allowance` on real processes."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from scripts.local import LocalCluster
from tests.e2e.paying import alice_has_100_eur, pay


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Of all tests here."""
    with alice_has_100_eur() as made:
        yield made


def test_an_allowance_is_set_shown_and_taken_back(cluster: LocalCluster) -> None:
    """Decimals and a time in the table, minor units and ns for programs; a refusal says what would pass."""
    assert "alice" in pay(cluster, "allowance", "alice").stdout
    done = pay(cluster, "allowance", "alice", "25.50", "--currency", "EUR", "--zone", "Europe/Berlin")
    assert done.returncode == 0 and "set" in done.stdout
    assert pay(cluster, "transfer", "alice", "world", 2_000).returncode == 0
    refused = pay(cluster, "transfer", "alice", "world", 551)
    assert refused.returncode == 1 and "exceeds_allowance" in refused.stderr and "pay out today" in refused.stderr
    shown = pay(cluster, "allowance", "alice").stdout
    assert all(word in shown for word in ("25.50", "20.00", "5.50", "Europe/Berlin", "Z"))
    assert max(map(len, shown.splitlines())) <= 80
    row = json.loads(pay(cluster, "allowance", "alice", "-o", "json").stdout)[0]
    assert (row["amount"], row["paid"], row["available"], row["zone"]) == (2_550, 2_000, 550, "Europe/Berlin")
    assert row["ends_ns"] > 10**18
    assert pay(cluster, "allowance", "alice", "2600").returncode == 0
    row = json.loads(pay(cluster, "allowance", "alice", "-o", "json").stdout)[0]
    assert (row["amount"], row["zone"]) == (2_600, "Europe/Berlin"), "the zone is as it was"
    assert pay(cluster, "allowance", "alice", "none").returncode == 0
    assert pay(cluster, "transfer", "alice", "world", 551).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["alice", "-1"], 2, "expected"),
        (["alice", "1.5"], 2, "expected"),
        (["alice", "--zone", "Europe/Berlin"], 2, "--zone: expected an amount with it"),
        (["alice", str(2**63)], 2, "at most"),
        (["alice", "5", "--zone", "Mars"], 2, "time_zone_unknown"),
        (["nobody", "5"], 1, "account_not_found"),
        (["nobody"], 1, "account_not_found"),
        (["alice", "5", "--currency", "USD"], 1, "kept in EUR"),
    ],
)
def test_bad_input_says_what_was_expected(cluster: LocalCluster, arguments: list[str], code: int, words: str) -> None:
    """By a usage error, or by the books."""
    done = pay(cluster, "allowance", *arguments)
    assert done.returncode == code and words in done.stderr, done
