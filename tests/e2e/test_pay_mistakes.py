"""What `pay` says to whoever is wrong: with what was typed, what is there instead, and how it is asked for, on a real node process."""

from __future__ import annotations

import json
import re
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from node.cli.arguments import EXIT_USAGE
from protocol.client import connect
from scripts.local import LocalCluster
from tests.e2e.paying import alice_has_100_eur, pay
from tests.e2e.programs import Outcome, run


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Alice's euros, and Bob's yens."""
    with alice_has_100_eur("shop") as made:
        with connect(made.addresses) as client:
            client.create_account("bob", "JPY")
        yield made


@contextmanager
def stranger(answer: bytes) -> Iterator[str]:
    """The address of a server of another kind, which answers so, whatever it hears."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1_000)
            self.request.sendall(answer)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield "{}:{}".format(*server.server_address[:2])
        finally:
            server.shutdown()
            thread.join()


def test_another_cluster_is_named_whole(cluster: LocalCluster) -> None:
    """One of the same name is told by its identity."""
    for other in ("under-test/0000000000000000", "under-tests", "under-test/00000000000000ff"):
        told = pay(cluster, "account", "show", "alice", "--cluster", other).stderr
        assert other in told and re.search(r"under-test/(?!0{14})[0-9a-f]{16}", told), told


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "it speaks HTTP"),
        (b"220 mail.test ESMTP\r\n", "frame of "),
        (bytes(20), "body is "),
    ],
)
def test_what_is_no_node_is_said_to_be_none(cluster: LocalCluster, answer: bytes, said: str) -> None:
    """And which address that is; where a further one is a node, that one answers."""
    with stranger(answer) as place:
        told = run("pay", "account", "show", "alice", addresses=place)
        assert told.returncode == 1 and f"{place} is no ringpay node: {said}" in told.stderr, told.stderr
        for addresses in ((place, cluster.addresses[0]), (cluster.addresses[0], place)):
            assert run("pay", "account", "show", "alice", addresses=",".join(addresses)).returncode == 0


@pytest.mark.parametrize(
    ("command", "usage", "said"),
    [
        (
            ("transfer", "alice", "shop", 10, "--curency", "EUR"),
            "pay transfer ",
            "--curency EUR; did you mean --currency?",
        ),
        (("account", "create", "x", "--onwer=me"), "pay account create ", "--onwer=me; did you mean --owner?"),
        (("history", "alice", "--zzz"), "pay history ", "unrecognized arguments: --zzz\n"),
    ],
)
def test_a_wrong_option_shows_those_of_its_command(
    cluster: LocalCluster, command: tuple[object, ...], usage: str, said: str
) -> None:
    """And the one that was meant, if any is like it."""
    told = pay(cluster, *command)
    assert told.returncode == EXIT_USAGE and usage in told.stderr and said in told.stderr, told.stderr


@pytest.mark.parametrize("value", ["x", "1.5", "True", "", "-", "1" * 20])
def test_metadata_of_no_type_is_shown_as_typed(cluster: LocalCluster, value: str) -> None:
    """Whatever it was taken for."""
    told = pay(cluster, "transfer", "alice", "shop", 1, "--metadata", f"a:={value}")
    assert (
        told.returncode == EXIT_USAGE and f"'a:={value}': expected an integer of 64 bits, true or false" in told.stderr
    )


def test_currencies_that_differ_are_named(cluster: LocalCluster) -> None:
    """Whether they were asked for or not; an allowance is no transfer."""
    for asked in ((), ("--currency", "USD")):
        told = pay(cluster, "transfer", "alice", "bob", 1, *asked)
        assert told.returncode == 1 and "alice is kept in EUR, bob is kept in JPY" in told.stderr
    told = pay(cluster, "allowance", "alice", 100, "--currency", "USD", "-o", "json")
    assert told.returncode == 1 and "expected --currency EUR: alice is kept in EUR" in told.stderr
    assert "transfer" not in told.stderr + told.stdout


def test_what_is_not_set_is_none(cluster: LocalCluster) -> None:
    """In words, where a blank would read as if something was missing; null for programs."""
    assert pay(cluster, "allowance", "alice").stdout.split()[-1] == "none"
    assert pay(cluster, "account", "show", "world").stdout.split().count("none") == 3
    (row,) = json.loads(pay(cluster, "allowance", "alice", "-o", "json").stdout)
    assert row["amount"] is row["zone"] is None


def test_a_shard_has_one_name(cluster: LocalCluster) -> None:
    """Of a trace, of an audit, in tables and for programs."""
    (paid,) = json.loads(pay(cluster, "transfer", "alice", "shop", 1, "-o", "json").stdout)
    (trace,) = json.loads(pay(cluster, "trace", paid["id"], "-o", "json").stdout)
    (audit,) = json.loads(pay(cluster, "audit", "-o", "json").stdout)
    rows = [*trace["participants"], *audit["shards"]]
    assert rows and all("shard" in row and "group" not in row for row in rows)


def test_a_receipt_shows_what_was_moved(cluster: LocalCluster) -> None:
    """As balances are shown: who took minor units for euros sees it at once."""
    for arguments, shown in (
        (("transfer", "alice", "shop", 1234), ["12.34", "EUR"]),
        (("hold", "alice", "shop", "0.50", "--currency", "EUR"), ["0.50", "EUR"]),
        (("transfer", "shop", "alice", "--balancing", "debit", 34), ["0.34", "EUR"]),
    ):
        head, row = pay(cluster, *arguments).stdout.splitlines()
        assert head.split() == ["id", "status", "amount", "currency"] and row.split()[1:] == ["created", *shown]
    hold = row_of(pay(cluster, "hold", "alice", "shop", 300, "-o", "json"))["id"]
    assert pay(cluster, "capture", hold, 100).stdout.split()[-2:] == ["1.00", "EUR"]
    assert pay(cluster, "capture", hold).stdout.split()[-2:] == ["2.00", "EUR"]


def row_of(told: Outcome) -> dict[str, Any]:
    """The first row for programs, as `pay --help` takes it."""
    return dict(json.loads(told.stdout)[0])
