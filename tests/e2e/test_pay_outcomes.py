"""What `pay` tells of payments whose outcome nobody knows yet, and how it is settled, on real node processes."""

from __future__ import annotations

import asyncio
import json
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from node.cli.failing import EXIT_REFUSED_BEFORE, EXIT_UNKNOWN
from node.cli.program import EXIT_INTERRUPTED
from node.cli.shown import moment
from protocol.client import Client, connect
from protocol.errors import OutcomeUnknown, Unreachable
from protocol.placement import group_of
from scripts.local import LocalCluster, open_cluster
from scripts.local.faults import heal, slow_disk
from scripts.local.processes import wait_for
from tests.e2e.nodes import running
from tests.e2e.ports import free_ports
from tests.e2e.programs import ROOT, Outcome, environment, run, script

NODES = 3
SHARDS = 4
SLOW_MS = 5_000  # of a disk: longer than `pay` takes from the first byte that it sends to the interrupt
SECONDS = 30.0  # within which everything that a test waits for has happened
WORLD, ALICE, SHOP = "{till}world", "{till}alice's", "{till}shop"  # in one shard
GROUP = group_of(WORLD, SHARDS)
STRANGER = next(name for name in map(str, range(100)) if group_of(name, SHARDS) != GROUP)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """Three nodes that serve and take faults; each test leaves them as it found them."""
    folder = tmp_path_factory.mktemp("cluster") / "it"
    port = free_ports(NODES)
    shape = ["--nodes", NODES, "--shards", SHARDS, "--base-port", port]
    up = run("cluster", "up", "--faults", *shape, "--dir", folder)
    assert up.returncode == 0, up.stderr
    try:
        made = open_cluster(folder)
        pay(made, "account", "create", WORLD, "--minimum-balance", "none")
        for name in (ALICE, SHOP, STRANGER):
            pay(made, "account", "create", name)
        pay(made, "transfer", WORLD, ALICE, 1_000)
        yield made
    finally:
        run("cluster", "down", "--dir", folder)


def pay(cluster: LocalCluster, *arguments: object) -> dict[str, Any]:
    """What a command of pay that succeeds prints, one row."""
    outcome = refused(cluster, *arguments, "-o", "json")
    assert outcome.returncode == 0, outcome.stderr
    (row,) = json.loads(outcome.stdout)
    return dict(row)


def refused(cluster: LocalCluster, *arguments: object) -> Outcome:
    """A command of pay that may fail."""
    return run("pay", *arguments, addresses=",".join(cluster.addresses))


def start_pay(addresses: str, *arguments: object) -> subprocess.Popen[str]:
    """`pay` in the background; its addresses are given on the command line."""
    return subprocess.Popen(
        [script("pay"), *map(str, arguments), "--addresses", addresses],
        env=environment(), cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def group_now(cluster: LocalCluster) -> tuple[int, int, int]:
    """Of the group of the accounts: its leader, its commit index and its last index as the leader knows them."""

    async def ask() -> tuple[int, int, int]:
        leader = (await cluster.view()).leaders[GROUP]
        async with cluster.client(addresses=[cluster.addresses[leader - 1]]) as client:
            (replica,) = [replica for replica in (await client.cluster()).groups if replica.group == GROUP]
        return leader, replica.commit, replica.last_index

    return asyncio.run(ask())


@contextmanager
def slow_followers(cluster: LocalCluster) -> Iterator[int]:
    """The last index of a group whose leader finds no majority for what is new, though it answers questions."""
    asyncio.run(cluster.wait_until_at_home())  # a new leader answers nothing before a majority has its first entry
    leader, _, last = group_now(cluster)
    for number in cluster.numbers:
        if number != leader:
            asyncio.run(slow_disk(cluster, number, SLOW_MS))
    try:
        yield last
    finally:
        asyncio.run(heal(cluster))
        assert wait_for(lambda: len(set(group_now(cluster)[1:])) == 1, SECONDS)


def settled(cluster: LocalCluster, complaint: str) -> str:
    """The status that the command in the hint prints, word for word as it is there."""
    command = shlex.split(complaint.partition("settle it with: ")[2])
    assert command[:2] == ["scripts/pay", "outcome"] and f"--addresses={','.join(cluster.addresses)}" in command
    outcome = run("pay", *command[1:], "-o", "json", addresses="127.0.0.1:1")
    assert outcome.returncode == 0, outcome.stderr
    return str(json.loads(outcome.stdout)[0]["status"])


def payment(kind: str, hold: str) -> list[object]:
    """Arguments of a payment of 10."""
    match kind:
        case "capture":
            return ["capture", hold, 10]
        case "void":
            return ["void", hold]
        case _:
            return [kind, ALICE, SHOP, 10]


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        ("transfer", signal.SIGHUP),
        ("hold", signal.SIGTERM),
        ("capture", signal.SIGINT),
        ("void", signal.SIGTERM),
    ],
)
def test_an_interrupt_tells_the_id(cluster: LocalCluster, kind: str, number: signal.Signals) -> None:
    """The payment may happen yet: its id is printed, and the hint settles it."""
    hold = pay(cluster, "hold", ALICE, SHOP, 10)["id"]
    with slow_followers(cluster) as before:
        paying = start_pay(",".join(cluster.addresses), *payment(kind, hold), "-o", "json")
        try:
            assert wait_for(lambda: group_now(cluster)[2] > before, SECONDS)
            paying.send_signal(number)
            printed, complaint = paying.communicate(timeout=SECONDS)
        finally:
            paying.kill()
    assert paying.returncode == EXIT_UNKNOWN, complaint
    (row,) = json.loads(printed)
    assert row["status"] == "outcome_unknown"
    assert complaint.startswith(f"pay: outcome of transfer {row['id']} is unknown: interrupted; settle it with: ")
    assert complaint.count("\n") == 1
    assert settled(cluster, complaint) == "created"


@pytest.mark.parametrize(
    ("command", "number"),
    [("create {till}new --owner me", signal.SIGHUP), ("update {till}shop --owner me", signal.SIGQUIT)],
)
def test_an_interrupt_of_a_change_to_an_account(cluster: LocalCluster, command: str, number: signal.Signals) -> None:
    """It may happen yet, which the exit code says; the hint shows whether it has."""
    with slow_followers(cluster) as before:
        changing = start_pay(",".join(cluster.addresses), "account", *command.split())
        try:
            assert wait_for(lambda: group_now(cluster)[2] > before, SECONDS)
            changing.send_signal(number)
            printed, complaint = changing.communicate(timeout=SECONDS)
        finally:
            changing.kill()
    action, account, *_ = command.split()
    assert changing.returncode == EXIT_UNKNOWN, complaint
    assert printed.splitlines()[1].split() == [account, "outcome_unknown"]
    assert complaint.startswith(f"pay: outcome of account {action} is unknown: interrupted; settle it with: ")
    hint = shlex.split(complaint.partition("settle it with: ")[2])
    assert hint[:4] == ["scripts/pay", "account", "show", account]
    assert json.loads(run("pay", *hint[1:], "-o", "json").stdout)[0]["owner"] == "me"


def test_an_interrupt_while_it_starts() -> None:
    """One line and the usual exit code, whatever is being imported."""
    paying = start_pay("127.0.0.1:1", "status")
    try:
        maps = Path(f"/proc/{paying.pid}/maps")
        assert wait_for(lambda: "numpy" in maps.read_text(), SECONDS)
        paying.send_signal(signal.SIGINT)
        printed, complaint = paying.communicate(timeout=SECONDS)
    finally:
        paying.kill()
    assert (paying.returncode, printed, complaint) == (EXIT_INTERRUPTED, "", "pay: interrupted\n")


@pytest.mark.parametrize("kind", ["capture", "void"])
def test_a_timeout_names_the_debit_account(cluster: LocalCluster, kind: str) -> None:
    """The hint of a capture or void has the debit account of its hold."""
    hold = pay(cluster, "hold", ALICE, SHOP, 10)["id"]
    with slow_followers(cluster):
        paying = start_pay(",".join(cluster.addresses), *payment(kind, hold), "--timeout", 2, "-o", "json")
        printed, complaint = paying.communicate(timeout=SECONDS)
    assert paying.returncode == EXIT_UNKNOWN, complaint
    assert json.loads(printed)[0]["status"] == "outcome_unknown"
    assert shlex.quote(f"--debit={ALICE}") in complaint
    assert settled(cluster, complaint) == "created"


def test_an_outcome_is_never_cancelled_for_a_wrong_debit_account(cluster: LocalCluster) -> None:
    """What happened with another debit account is told with that account's name."""
    done = pay(cluster, "transfer", WORLD, ALICE, 5)["id"]
    wrong = refused(cluster, "outcome", done, "--debit", STRANGER)
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert f"exists_with_different_debit_account: expected {WORLD}, the debit account" in wrong.stderr
    assert pay(cluster, "outcome", done, "--debit", WORLD)["status"] == "created"
    short = refused(cluster, "transfer", SHOP, WORLD, 10**9, "--id", f"{int(done, 16) + 1:032x}")
    assert "insufficient_funds" in short.stderr
    assert pay(cluster, "outcome", f"{int(done, 16) + 1:032x}", "--debit", STRANGER)["status"] == "cancelled"


def test_nothing_is_said_to_be_cancelled_while_a_shard_is_silent() -> None:
    """It may know the id under another debit account: `cancelled` would then be said of a payment in the books."""
    with running(2, 2, replication=1) as cluster:
        here = asyncio.run(name_on_the_first(cluster))
        cluster.kill(2)
        told = pytest.raises(OutcomeUnknown, match="with another debit account is not known")
        with connect(cluster.addresses[:1], token=cluster.config.security.client_token) as client, told:
            client.outcome(client.new_id(), here, timeout=2)


async def name_on_the_first(cluster: LocalCluster) -> str:
    """An account id of a shard that the first node leads."""
    async with cluster.client() as client:
        leaders = (await client.cluster()).leaders
    return next(name for name in map(str, range(100)) if leaders[group_of(name, 2)] == 1)


async def test_a_capture_keeps_to_its_own_timeout(cluster: LocalCluster) -> None:
    """The look for its hold is part of it. Nobody listens at this address."""
    async with cluster.client() as known:
        id = known.new_id()
        assert await known.find(id) is None
        receipt = await known.transfer(WORLD, ALICE, 7, id=id)
        found = await known.find(receipt.id)
    assert found is not None and (found.id, found.debit, found.credit, found.amount) == (id, WORLD, ALICE, 7)
    silent = Client("127.0.0.1:1", timeout=10 * SECONDS)
    async with asyncio.timeout(SECONDS):
        with pytest.raises(Unreachable, match="no node answers"):
            await silent.capture(id, 1, timeout=0.2)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("arguments", [["account", "show", "alice"], ["transfer", "alice", "shop", "1"]])
def test_an_interrupt_before_anything_is_sent(arguments: list[str], number: signal.Signals) -> None:
    """One line. Whoever listens here never answers the greeting."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(SECONDS)
        paying = start_pay(f"127.0.0.1:{server.getsockname()[1]}", *arguments)
        try:
            connection, _ = server.accept()
            with connection:
                paying.send_signal(number)
                printed, complaint = paying.communicate(timeout=SECONDS)
        finally:
            paying.kill()
    assert (paying.returncode, printed, complaint) == (EXIT_INTERRUPTED, "", "pay: interrupted\n")


def test_amounts_in_another_currency_than_the_holds(cluster: LocalCluster) -> None:
    """A capture reads its amount as the hold's debit account is kept."""
    hold = pay(cluster, "hold", ALICE, SHOP, 10)["id"]
    wrong = refused(cluster, "capture", hold, "1", "--currency", "JPY")
    assert wrong.returncode == 1 and f"expected --currency EUR: {ALICE} is kept in EUR" in wrong.stderr
    assert pay(cluster, "capture", hold, "0.10", "--currency", "EUR")["status"] == "created"
    unknown = refused(cluster, "void", f"{9:032x}")
    assert unknown.returncode == 1 and "hold_not_found" in unknown.stderr


@pytest.mark.parametrize("amount", ["1_000", "١٢", "+7", " 5", "0x1", "", "9" * 25])
def test_an_amount_is_ascii_digits(amount: str) -> None:
    """Wrong usage: nobody is asked."""
    wrong = run("pay", "transfer", "a", "b", amount)
    assert wrong.returncode == 2 and f"pay: amount {amount!r}: " in wrong.stderr
    limit = run("pay", "account", "create", "a", f"--minimum-balance={amount}")
    assert limit.returncode == 2 and f"pay: minimum balance: amount {amount!r}: " in limit.stderr


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "1e30", "soon"])
def test_a_timeout_is_above_0(seconds: str) -> None:
    """Wrong usage: nobody is asked."""
    wrong = run("pay", "status", f"--timeout={seconds}")
    assert wrong.returncode == 2 and f"{seconds!r}: expected a number of 0.001 to 86400" in wrong.stderr


@pytest.mark.parametrize("arguments", [[], ["--if-version", "3"]])
def test_an_update_changes_something(arguments: list[str]) -> None:
    """Wrong usage: nobody is asked."""
    wrong = run("pay", "account", "update", "alice", *arguments)
    assert wrong.returncode == 2 and "expected something to change" in wrong.stderr


def test_status_for_programs(cluster: LocalCluster) -> None:
    """True and false in JSON, words in the table; once the node that is asked knows all others and a coordinator."""
    whole = [True] * NODES, [False] * (NODES - 1) + [True]

    def shown() -> tuple[list[bool], list[bool]]:
        rows = json.loads(refused(cluster, "status", "-o", "json").stdout)
        return [row["up"] for row in rows], sorted(row["coordinator"] for row in rows)

    assert wait_for(lambda: shown() == whole, SECONDS)
    assert wait_for(lambda: refused(cluster, "status").stdout.count("yes") == NODES + 1, SECONDS)
    assert "True" not in refused(cluster, "status").stdout


def test_help_tells_what_an_id_is_good_for() -> None:
    """The same id with another debit account is another payment."""
    text = " ".join(run("pay", "transfer", "--help").stdout.split())
    assert "the same payment, unchanged, can be sent again" in text and "another debit account" in text


def test_a_refused_id_stays_refused_and_its_repeat_says_so(cluster: LocalCluster) -> None:
    """By text, by JSON and by the exit code; the command that it names pays anew."""
    poor = "{till}poor"
    pay(cluster, "account", "create", poor)
    command = ["transfer", poor, SHOP, "7", "--reference", "two words"]
    id = "0192f3c4a5b6000102030405060708ff"
    first = refused(cluster, *command, "--id", id)
    assert (first.returncode, first.stdout) == (1, "")
    assert "insufficient_funds: expected an amount within" in first.stderr
    pay(cluster, "transfer", WORLD, poor, 100)
    again = refused(cluster, *command, "--id", id, "-o", "json")
    assert again.returncode == EXIT_REFUSED_BEFORE
    (row,) = json.loads(again.stdout)
    assert (row["id"], row["status"], row["is_repeat"]) == (id, "insufficient_funds", True)
    assert abs(row["first_refused_ns"] - time.time_ns()) < SECONDS * 1e9
    text = refused(cluster, *command, f"--id={id}").stderr
    before = f"pay: {id}: insufficient_funds: this id was refused before at {moment(row['first_refused_ns'])} and stays"
    assert before in text
    _, _, named = text.strip().rpartition(": ")
    assert shlex.split(named) == ["scripts/pay", *command]
    assert pay(cluster, *command)["status"] == "created"
