"""`pay events` on real processes."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.cli.events import plain
from protocol import ids
from protocol.client import connect
from protocol.events import Cursor, Position
from scripts.local import LocalCluster
from tests.e2e.nodes import running
from tests.e2e.paying import pay
from tests.e2e.programs import Outcome, environment, script

PAID = [10_000, 250, 50]


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """One node of two shards, where a few things have happened."""
    with running(1, 2) as made:
        with connect(made.addresses) as client:
            client.create_account("world", "EUR", minimum_balance=None, metadata=b"\xff\x00")
            client.create_account("alice", "EUR")
            client.create_account("carol", "EUR")
            for amount in PAID:
                client.transfer("world", "alice", amount, reference="ref")
            client.void(client.hold("alice", "world", 40, ttl=60).id)
            client.set_allowance("alice", 77)
            with client.lock("till"):
                pass
        yield made


def lines(done: Outcome) -> list[dict[str, object]]:
    assert done.returncode == 0, done
    return [json.loads(line) for line in done.stdout.splitlines()]


def name_of(row: dict[str, object]) -> tuple[str, ...]:
    """Of an event, wherever it is told."""
    return str(row["shard"]), str(row["series"]), str(row["number"])


def test_programs_read_a_line_an_event_and_go_on_behind_any(cluster: LocalCluster) -> None:
    """With the cursor of the line that was worked off last."""
    chosen = ["-o", "json", "--kind", "transfers", "--kind", "holds", "--prefix", "alice"]
    rows = lines(pay(cluster, "events", *chosen))
    assert [row["amount"] for row in rows if row["name"] == "transfer"] == PAID
    assert [row["name"] for row in rows if row["kind"] == "holds"] == ["hold", "void", "hold_ended"]
    paid = [row for row in rows if row["name"] == "transfer"]
    assert all(ids.parse(str(row["id"])) and row["reference"] == "ref" for row in paid)
    for place in (0, 2, len(rows) - 1):
        rest = lines(pay(cluster, "events", *chosen, "--cursor", rows[place]["cursor"]))
        assert sorted(map(name_of, rest)) == sorted(map(name_of, rows[place + 1 :]))
    (opened,) = lines(pay(cluster, "events", "-o", "json", "--kind", "accounts", "--prefix", "wor"))
    assert (opened["account"], opened["metadata"], opened["currency"]) == ("world", "ff00", "EUR")


def test_people_read_a_table(cluster: LocalCluster) -> None:
    """Decimals, times, and nothing wider than a terminal."""
    done = pay(cluster, "events")
    assert done.returncode == 0, done
    for words in (
        "100.00",
        "account_opened",
        "allowance_set",
        "lock_released",
        "hold_ended",
        "voided",
    ):
        assert words in done.stdout, words
    assert max(map(len, done.stdout.splitlines())) <= 80
    heads = [line.split()[2:] for line in done.stdout.splitlines() if line.startswith("time ")]
    assert {tuple(head) for head in heads} == {
        ("status", "currency"), ("amount", "currency", "code"), ("amount", "currency", "ttl", "reason"),
        ("amount", "account", "zone"), ("token", "reason"),
    }, done.stdout  # fmt: skip
    alone = pay(cluster, "events", "--kind", "transfers").stdout
    assert [line for line in alone.splitlines() if line.startswith("time ")] == alone.splitlines()[:1], alone
    assert pay(cluster, "events", "--cursor", "newest").stdout == ""


def test_following_goes_on_until_it_is_interrupted(cluster: LocalCluster, tmp_path: Path) -> None:
    """What comes later is told as it comes."""
    command = [script("pay"), "events", "--follow", "-o", "json", "--cursor", "newest", "--kind", "transfers"]
    given = {**environment(), "RINGPAY_ADDRESSES": ",".join(cluster.addresses)}
    told, sent, deadline = tmp_path / "told", list[int](), time.monotonic() + 60
    with told.open("w") as output, subprocess.Popen(command, env=given, stdout=output) as program:
        with connect(cluster.addresses) as client:
            while told.read_text().count("\n") < 3:
                assert time.monotonic() < deadline and program.poll() is None
                sent.append(client.transfer("world", "carol", 1).id)
                time.sleep(0.2)
        program.send_signal(signal.SIGINT)
        assert program.wait(20) == 130
    seen = [ids.parse(json.loads(line)["id"]) for line in told.read_text().splitlines()]
    assert seen == sent[sent.index(seen[0]) :][: len(seen)]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--kind", "orders"], 2, "allowances"),
        (["--cursor", "yesterday"], 2, "expected oldest, newest, or the cursor of an earlier subscription"),
        (
            ["--cursor", Cursor("other/1", {1: Position(0, 0)}).pack()],
            2,
            "a cursor of cluster other/1: expected one of under-test/",
        ),
        (["--prefix", "x" * 65], 2, "at most 64 bytes"),
    ],
)
def test_bad_input_says_what_was_expected(cluster: LocalCluster, arguments: list[str], code: int, words: str) -> None:
    """By a usage error, or by the client."""
    done = pay(cluster, "events", *arguments)
    assert done.returncode == code and words in done.stderr, done


def test_a_cursor_ahead_is_refused(cluster: LocalCluster) -> None:
    """An older copy of the data was put back."""
    with connect(cluster.addresses) as client:
        name = client.cluster_name
    done = pay(cluster, "events", "-o", "json", "--cursor", Cursor(name, {1: Position(1_000_000, 0)}).pack())
    assert done.returncode == 2 and "ahead of row 1000000" in done.stderr, done
    (row,) = json.loads(done.stdout)
    assert row["status"] == "bad_request"


def test_ids_are_hexadecimal_wherever_they_stand() -> None:
    """128 bits are no number that programs can read."""
    assert plain({"id": 1, "hold": 2, "reverses": 3, "amount": 4}) == {
        "id": f"{1:032x}", "hold": f"{2:032x}", "reverses": f"{3:032x}", "amount": 4,
    }  # fmt: skip
