"""`pay transaction`, and the ends of holds that `pay` can ask for, on real processes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from protocol import ids
from protocol.client import connect
from scripts.local import LocalCluster
from tests.e2e.paying import alice_has_100_eur, pay
from tests.e2e.programs import Outcome

PAY = {"kind": "transfer", "debit": "alice", "credit": "shop", "amount": 100}


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Of all tests here."""
    with alice_has_100_eur("shop", "fees") as made:
        yield made


def rows_of(done: Outcome) -> list[dict[str, Any]]:
    """What it said with -o json."""
    return list(json.loads(done.stdout))


def balances(cluster: LocalCluster) -> tuple[int, ...]:
    """Of alice, the shop and the fees."""
    with connect(cluster.addresses) as client:
        return tuple(client.account(name).posted for name in ("alice", "shop", "fees"))


def test_legs_of_a_file_happen_once(cluster: LocalCluster, tmp_path: Path) -> None:
    """With ids, of a hold by its id as it is printed; the table fits a terminal."""
    before = balances(cluster)
    hold = rows_of(pay(cluster, "hold", "alice", "shop", 900, "-o", "json"))[0]["id"]
    legs = [
        {"kind": "capture", "hold": hold, "amount": 500, "final": True, "debit": "alice"},
        {"kind": "transfer", "debit": "shop", "credit": "fees", "amount": 15, "reference": "fee", "code": 3},
    ]
    with connect(cluster.addresses) as client:
        named = [leg | {"id": ids.format(client.new_id())} for leg in legs]
    file = tmp_path / "legs.json"
    file.write_text(json.dumps(named))
    done = pay(cluster, "transaction", file)
    assert done.returncode == 0 and done.stdout.count("created") == 2, done
    assert max(map(len, done.stdout.splitlines())) <= 80
    again = rows_of(pay(cluster, "transaction", file, "-o", "json"))
    assert [(row["leg"], row["kind"], row["id"], row["status"]) for row in again] == [
        (place, leg["kind"], leg["id"], "exists") for place, leg in enumerate(named)
    ]
    moved = tuple(now - then for now, then in zip(balances(cluster), before, strict=True))
    assert moved == (-500, 485, 15)
    with connect(cluster.addresses) as client:
        assert client.account("alice").held == 0


def test_legs_of_standard_input(cluster: LocalCluster) -> None:
    """Decimals with a currency; who refuses is told."""
    legs = [PAY | {"amount": "1.00"}, PAY | {"amount": "500.00"}]
    done = pay(cluster, "transaction", "-", "--currency", "EUR", "-o", "json", stdin=json.dumps(legs))
    assert done.returncode == 1 and "leg 1: insufficient_funds: expected an amount within" in done.stderr
    assert rows_of(done)[0]["status"] == "insufficient_funds"
    done = pay(cluster, "transaction", "-", "--currency", "EUR", stdin=json.dumps(legs[:1]))
    assert done.returncode == 0, done


@pytest.mark.parametrize(
    ("legs", "words"),
    [
        ("[", "expected a JSON list of legs"),
        ("{}", "expected a JSON list of 1 to 8192 legs, got something else"),
        ([], "expected a JSON list of 1 to 8192 legs, got 0"),
        ([PAY] * 8_193, "got 8193"),
        ([PAY, 5], "leg 1: expected an object with a kind of transfer, hold, capture, void, got 5"),
        ([PAY | {"kind": "gift"}], "leg 0: expected an object with a kind of"),
        ([PAY | {"kind": ["hold"]}], "leg 0: expected an object with a kind of"),
        (
            [PAY | {"colour": 1}],
            "leg 0: expected a transfer without 'colour'; it has debit, credit, [amount], [balancing], [code]",
        ),
        ([{"kind": "void"}], "leg 0: expected a void with hold; it has hold, [debit], [credit], [amount]"),
        ([{"kind": "void", "hold": 7}], "leg 0: 7: expected an id of 32 hexadecimal digits"),
        ([PAY | {"kind": "hold"}], "leg 0: expected a hold with ttl"),
        ([PAY, PAY | {"amount": 1.5}], "leg 1: amount 1.5: expected an integer of minor units"),
        ([PAY, PAY | {"id": "1" * 32}], "leg 0: expected an id, as other legs have one, or none for all"),
        ([PAY | {"id": "1" * 32}] * 2, "legs 0 and 1 have one id"),
    ],
)
def test_legs_that_cannot_be(cluster: LocalCluster, legs: Any, words: str) -> None:
    """Usage errors, before anything is sent."""
    done = pay(cluster, "transaction", "-", stdin=legs if isinstance(legs, str) else json.dumps(legs))
    assert done.returncode == 2 and words in done.stderr and not done.stdout, done


def test_a_file_that_is_not_there(cluster: LocalCluster) -> None:
    """Said as such; and the help tells how legs look."""
    assert (
        "nowhere.json: No such file or directory: expected a file" in pay(cluster, "transaction", "nowhere.json").stderr
    )
    assert '"kind": "capture"' in pay(cluster, "transaction", "--help").stdout


def test_what_is_named_of_a_hold(cluster: LocalCluster) -> None:
    """Checked by void and capture; the rest of a hold comes back with --final."""
    hold = rows_of(pay(cluster, "hold", "alice", "shop", 400, "-o", "json"))[0]["id"]
    assert "hold_has_different_amount" in pay(cluster, "void", hold, "--amount", 399).stderr
    assert "hold_has_different_credit_account" in pay(cluster, "void", hold, "--credit", "fees").stderr
    assert pay(cluster, "void", hold, "--amount", 0).returncode == 2
    assert pay(cluster, "capture", hold, 150, "--debit", "alice", "--final").returncode == 0
    assert "hold_already_captured" in pay(cluster, "void", hold, "--amount", "4.00", "--currency", "EUR").stderr


def test_amounts_that_the_books_find(cluster: LocalCluster) -> None:
    """Up to what is there, with a limit or without, and all that is left of a hold: the amount is told."""
    with connect(cluster.addresses) as client:
        client.create_account("saver", "EUR")
        client.transfer("world", "saver", 1_000)
    assert "2.50" in pay(cluster, "transfer", "saver", "shop", 250, "--balancing", "debit").stdout
    hold = rows_of(pay(cluster, "hold", "saver", "shop", 100, "-o", "json"))[0]["id"]
    row = rows_of(pay(cluster, "transfer", "saver", "shop", "--balancing", "debit", "-o", "json"))[0]
    assert row["amount"] == 650
    assert "1.00" in pay(cluster, "capture", hold).stdout
    legs = [PAY | {"debit": "saver", "amount": None, "balancing": "debit"}]
    done = pay(cluster, "transaction", "-", stdin=json.dumps(legs))
    assert done.returncode == 1 and "leg 0: insufficient_funds" in done.stderr
    assert pay(cluster, "transfer", "saver", "shop").returncode == 2
    assert pay(cluster, "transfer", "saver", "shop", 0, "--balancing", "debit").returncode == 2


def test_what_has_moved_is_told(cluster: LocalCluster) -> None:
    """Of every leg, those that the books found, too: decimals for people, minor units for programs; who refuses, by its place."""
    with connect(cluster.addresses) as client:
        client.create_account("jar", "EUR")
        client.transfer("world", "jar", 700)
        hold = ids.format(client.hold("jar", "shop", 200, ttl=600).id)
    legs: list[dict[str, Any]] = [
        {"kind": "capture", "hold": hold},
        {"kind": "transfer", "debit": "jar", "credit": "fees", "balancing": "debit"},
    ]
    told = rows_of(pay(cluster, "transaction", "-", "-o", "json", stdin=json.dumps(legs)))
    assert [row["amount"] for row in told] == [200, 500]
    back = [{"kind": "transfer", "debit": "fees", "credit": "jar", "amount": 500}, PAY | {"amount": 3}]
    shown = pay(cluster, "transaction", "-", stdin=json.dumps(back)).stdout
    assert "5.00" in shown and "0.03" in shown
    wrong = [PAY | {"amount": 1}, {"kind": "transfer", "debit": "jar", "credit": "shop", "amount": 501}]
    (refused,) = rows_of(pay(cluster, "transaction", "-", "-o", "json", stdin=json.dumps(wrong)))
    assert (refused["leg"], refused["status"]) == (1, "insufficient_funds")


def test_a_name_that_comes_twice(cluster: LocalCluster) -> None:
    """Nobody could tell which amount was meant."""
    twice = '[{"kind": "transfer", "debit": "alice", "credit": "shop", "amount": 1, "amount": 2}]'
    done = pay(cluster, "transaction", "-", stdin=twice)
    assert done.returncode == 2 and "'amount' is given twice: expected each name once" in done.stderr
    done = pay(cluster, "transfer", "alice", "shop", 1, "--metadata", "a=1", "--metadata", "a=2")
    assert done.returncode == 2 and "'a' is given twice: expected each key once" in done.stderr
