"""`pay` on real processes, and what a transfer may carry: a currency, metadata, what it reverses."""

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


def test_a_currency_is_checked_by_the_books(cluster: LocalCluster) -> None:
    """The amount is read as one of it; what the accounts are kept in is said where it is another."""
    assert pay(cluster, "transfer", "alice", "world", "1.50", "--currency", "EUR").returncode == 0
    refused = pay(cluster, "transfer", "alice", "world", "150", "--currency", "JPY")
    assert refused.returncode == 1 and "alice is kept in EUR, world is kept in EUR" in refused.stderr
    assert "transfer_must_have_the_same_currency_as_accounts" in refused.stderr
    assert pay(cluster, "hold", "alice", "world", "150", "--currency", "JPY").returncode == 1


def test_metadata_is_given_and_shown(cluster: LocalCluster) -> None:
    """Typed for programs, in words for people."""
    about = ("--metadata", "order=A-17", "--metadata", "count:=3", "--metadata", "gift:=true", "--metadata", "note=a=b")
    assert pay(cluster, "transfer", "alice", "world", 7, *about).returncode == 0
    newest = ("history", "alice", "--newest-first", "--limit", 1)
    (row,) = json.loads(pay(cluster, *newest, "-o", "json").stdout)
    assert row["metadata"] == {"order": "A-17", "count": 3, "gift": True, "note": "a=b"}
    assert "count=3, gift=true, note=a=b, order=A-17" in pay(cluster, *newest).stdout


def test_a_payment_is_reversed(cluster: LocalCluster) -> None:
    """By its id; more than was paid is refused, and says what is left to do."""
    (paid,) = json.loads(pay(cluster, "transfer", "alice", "world", 90, "-o", "json").stdout)
    back = ("transfer", "world", "alice", "--reverses", paid["id"])
    assert pay(cluster, *back, 60).returncode == 0
    refused = pay(cluster, *back, 31)
    assert (
        refused.returncode == 1 and "exceeds_reversible_amount" in refused.stderr and "what is left" in refused.stderr
    )
    (row,) = json.loads(pay(cluster, "history", "alice", "--newest-first", "--limit", 1, "-o", "json").stdout)
    assert (row["kind"], row["flags"], row["amount"], row["reverses"]) == ("transfer", ["reversal"], 60, paid["id"])
    assert paid["id"] in pay(cluster, "history", "alice", "--newest-first", "--limit", 1).stdout
    assert pay(cluster, *back, 1, "--reverses", "x").returncode == 2


@pytest.mark.parametrize(
    ("given", "expected"),
    [("order", "expected a pair KEY=VALUE, or KEY:=VALUE"), ("=5", "expected text of 1 to 32 bytes"), ("count:=x", "an integer of 64 bits"),
     ("count:=1.5", "an integer of 64 bits"), (f"a={'x' * 65}", "text of up to 64 bytes")],
)  # fmt: skip
def test_metadata_that_cannot_be(cluster: LocalCluster, given: str, expected: str) -> None:
    """Wrong usage says what would be right, and nothing is sent."""
    done = pay(cluster, "transfer", "alice", "world", 7, "--metadata", given)
    assert done.returncode == 2 and expected in done.stderr


def test_an_amount_may_stand_behind_options(cluster: LocalCluster) -> None:
    """Also where it may be left out; anything else that is left over is wrong usage."""
    assert pay(cluster, "transfer", "alice", "world", "--code", 5, 7).returncode == 0
    assert pay(cluster, "transfer", "--code", 5, "alice", "world", 7).returncode == 0
    assert pay(cluster, "allowance", "alice", "--zone", "UTC", 5_000).returncode == 0
    done = pay(cluster, "transfer", "alice", "world", 7, 8)
    assert done.returncode == 2 and "unrecognized arguments: 8" in done.stderr
    done = pay(cluster, "void", "0" * 31 + "1", 8)
    assert done.returncode == 2 and "unrecognized arguments: 8" in done.stderr
    done = pay(cluster, "transfer", "alice", "world", "--code", 5, "--what")
    assert done.returncode == 2 and "--what" in done.stderr
