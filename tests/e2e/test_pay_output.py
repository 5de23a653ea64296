"""What `pay` prints, where standard output fails, in odd texts and for programs, on real node processes."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from node.cli.output import EXIT_OUTPUT_LOST, show, show_pages
from protocol import ids
from protocol.client import connect
from scripts.local import LocalCluster
from tests.e2e.nodes import running
from tests.e2e.paying import pay
from tests.e2e.programs import ROOT, RUN_SECONDS, environment, run, script

RICH, POOR, STRANGE = "{till}rich", "{till}poor", "{till}[bold]x[/y]"
SINKS = ("full", "closed", "broken")
ROWS = 12


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """One node that has some accounts, the oddest of them named like markup and commands to a terminal."""
    with running(1, 2) as made:
        with connect(made.addresses) as client:
            for name in (RICH, POOR, STRANGE):
                client.create_account(name, "EUR", minimum_balance=None if name == RICH else 0)
            for number in range(ROWS):
                client.transfer(RICH, STRANGE, 100, reference="inv [/17] \u202e" + "x" * number)
        yield made


def pay_into(cluster: LocalCluster, sink: str, *arguments: object) -> tuple[int, str]:
    """Its exit code and complaint, with a standard output that takes nothing."""
    command = [script("pay"), *map(str, arguments)]
    if sink == "closed":
        command = ["sh", "-c", 'exec "$@" >&-', "sh", *command]
    variables = environment(RINGPAY_ADDRESSES=",".join(cluster.addresses))
    reading, writing = os.pipe()
    os.close(reading)
    with Path("/dev/full").open("wb") as full, os.fdopen(writing, "wb") as broken:
        output = {"full": full, "closed": None, "broken": broken}[sink]
        done = subprocess.run(
            command, env=variables, cwd=ROOT, stdout=output, stderr=subprocess.PIPE, text=True,
            timeout=RUN_SECONDS, check=False,
        )  # fmt: skip
    return done.returncode, done.stderr


def commands(cluster: LocalCluster) -> dict[str, list[object]]:
    """One of each, all of which succeed."""
    with connect(cluster.addresses) as client:
        held = [ids.format(client.hold(RICH, POOR, 5, ttl=60).id) for _ in range(2)]
    return {
        "account create": [POOR], "account show": [POOR], "account update": [POOR, "--owner", "me"],
        "transfer": [RICH, POOR, 7], "hold": [RICH, POOR, 7], "capture": [held[0], 1], "void": [held[1]],
        "history": [POOR], "outcome": [held[0], "--debit", RICH], "trace": [held[0]], "audit": [], "status": [],
        "allowance": [POOR, 5000],
    }  # fmt: skip


@pytest.mark.parametrize(("sink", "form"), [("full", "table"), ("closed", "table"), ("broken", "json")])
def test_what_standard_output_does_not_take_has_a_code_of_its_own(cluster: LocalCluster, sink: str, form: str) -> None:
    """Never the code of a refusal: every command was done. One row, such as a payment's id, is told on standard error."""
    for name, arguments in commands(cluster).items():
        code, complaint = pay_into(cluster, sink, *name.split(), *arguments, "-o", form)
        assert code == EXIT_OUTPUT_LOST, (name, complaint)
        assert complaint.startswith("pay: standard output") and complaint.count("\n") == 1, (name, complaint)
        if name in ("transfer", "hold", "capture", "void"):
            assert ", status created" in complaint and "id 0" in complaint


def test_a_refusal_keeps_its_code_whatever_becomes_of_standard_output(cluster: LocalCluster) -> None:
    """What did not happen is not called done."""
    for sink in SINKS:
        code, complaint = pay_into(cluster, sink, "transfer", POOR, RICH, 10**9, "-o", "json")
        assert code == 1 and complaint.startswith("pay: insufficient_funds: ") and "Traceback" not in complaint


@pytest.mark.parametrize("name", ["cluster", "demo", "bench", "chaos", "simulate"])
def test_no_script_ends_in_a_traceback_where_standard_output_fails(name: str, tmp_path: Path) -> None:
    """The shortest that each of them can say."""
    shortest: dict[str, list[object]] = {
        "cluster": ["up", "--nodes", "1", "--dir", tmp_path / "it"], "demo": ["--customers", "2", "--terminals", "2"],
        "bench": ["--nodes", "1", "--shards", "1", "--transfer-count", "100", "--account-count", "10"],
        "chaos": ["--minutes", "0.01"], "simulate": ["--seeds", "1"],
    }  # fmt: skip
    command = [script(name), *map(str, shortest[name])]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            command, env=environment(), cwd=ROOT, stdout=full, stderr=subprocess.PIPE,
            text=True, timeout=RUN_SECONDS, check=False,
        )  # fmt: skip
    if name == "cluster":
        assert run("cluster", "down", "--dir", tmp_path / "it").returncode == 0
    assert done.returncode in (1, EXIT_OUTPUT_LOST), done.stderr
    assert "Traceback" not in done.stderr and "standard output: No space left on device" in done.stderr


@pytest.mark.parametrize("name", ["[bold]x", "a[b]c", "[/y]", "zoë"])
def test_texts_are_shown_as_they_are_and_command_no_terminal(cluster: LocalCluster, name: str) -> None:
    """No markup is read in a name or a reference; what is not printable is escaped, in messages too."""
    owner = f"{name}\x1b[31m\u202e"
    assert pay(cluster, "account", "create", name, "--owner", owner).returncode == 0
    shown = pay(cluster, "account", "show", name, f"{name}\x1b")
    first, second = shown.stdout.splitlines()[2:]
    assert first.startswith(name + "  ") and f"  {name}\\x1b[31m\\u202e  " in second
    assert shown.stderr == f"pay: account_not_found: {name}\\x1b\n"
    (row,) = json.loads(pay(cluster, "account", "show", name, "-o", "json").stdout)
    assert (row["account"], row["owner"]) == (name, owner)


def test_history_is_shown_whole_and_in_line(cluster: LocalCluster) -> None:
    """Nothing is folded; each transfer has its lines, of columns below each other: when, which and what, how much and whose, the rest."""
    lines = pay(cluster, "history", STRANGE).stdout.splitlines()
    heads = ["time id kind", "amount currency debit credit code", "reference metadata of"]
    assert [line.split() for line in lines[:3]] == [head.split() for head in heads]
    assert len(lines) == 3 * (1 + ROWS)
    for number in range(ROWS):
        first, second, third = lines[3 * (1 + number) :][:3]
        moment, id, kind = first.split()
        assert (datetime.fromisoformat(moment).tzinfo, ids.parse(id) > 0, kind) == (UTC, True, "transfer")
        assert second == f"      1.00  EUR       {RICH}  {STRANGE}     0"
        assert third == f"    inv [/17] \\u202e{'x' * number}"
    newest = pay(cluster, "history", STRANGE, "--newest-first", "--limit", 2).stdout.splitlines()
    assert newest[3::3] == lines[-3:-7:-3]


def test_a_table_of_many_pages_has_one_head(capsys: pytest.CaptureFixture[str]) -> None:
    """Each page is there when the next one is made; a list of JSON is whole."""
    told: list[str] = []

    def pages() -> Iterator[list[dict[str, int]]]:
        for page in ([{"amount": 7}], [{"amount": 123_456_789}, {"amount": 7}]):
            yield page
            told.append(capsys.readouterr().out)

    show_pages(pages(), "table")
    assert told == ["amount\n     7\n", "123456789\n        7\n"]
    show_pages(pages(), "json")
    assert json.loads("".join(told[2:]) + capsys.readouterr().out) == [{"amount": n} for n in (7, 123_456_789, 7)]
    show([], "json")
    assert capsys.readouterr().out == "[]\n"


def test_a_table_goes_on_below_where_a_line_has_no_room(capsys: pytest.CaptureFixture[str]) -> None:
    """At the columns that are named, or else where it must; as soon as one cell needs the room, with a new head."""
    row = {"a": "a" * 30, "b": "b" * 30, "c": "c" * 14}
    show([row], "table")
    show_pages([[row], [row | {"c": "c" * 17}]], "table", ["b"])
    show([row | {"c": "c" * 99}], "table")
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [f"a{' ' * 31}b{' ' * 31}c", f"{'a' * 30}  {'b' * 30}  {'c' * 14}"]
    assert lines[2:4] == lines[:2]
    assert lines[4:8] == ["a", f"    b{' ' * 31}c", "a" * 30, f"    {'b' * 30}  {'c' * 17}"]
    assert lines[8:] == [f"a{' ' * 31}b", "    c", f"{'a' * 30}  {'b' * 30}", f"    {'c' * 99}"]


def test_tables_fit_a_terminal_and_show_money_and_time_alike(cluster: LocalCluster) -> None:
    """80 columns, decimals, moments; programs have integers in minor units and ns."""
    times = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z\b")
    for name, arguments in commands(cluster).items():
        table = pay(cluster, *name.split(), *arguments).stdout
        assert table and [line for line in table.splitlines() if len(line) > 80] == [], name
        assert bool(times.search(table)) == (name in ("history", "trace")), table
        rows = json.loads(pay(cluster, *name.split(), *arguments, "-o", "json").stdout)
        assert [value for row in rows for value in row.values() if isinstance(value, float)] == [], name
    (shown,) = json.loads(pay(cluster, "account", "show", RICH, "-o", "json").stdout)
    assert f" -{-shown['posted'] // 100}.{-shown['posted'] % 100:02} " in pay(cluster, "account", "show", RICH).stdout


def test_an_encoding_without_letters_shows_escapes(cluster: LocalCluster) -> None:
    """An account is opened and shown where standard output takes ASCII alone."""
    command = [script("pay"), "account", "create", "zoë:ascii"]
    variables = environment(RINGPAY_ADDRESSES=",".join(cluster.addresses), PYTHONIOENCODING="ascii")
    done = subprocess.run(command, env=variables, cwd=ROOT, capture_output=True, timeout=RUN_SECONDS, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.splitlines()[1].split() == [b"zo\\xeb:ascii", b"created"]


FAILURES: dict[str, tuple[list[object], dict[str, Any]]] = {
    "transfer": ([POOR, RICH, 10**9], {"status": "insufficient_funds"}),
    "account create": ([POOR, "--currency", "USD"], {"account": POOR, "status": "exists_with_different_currency"}),
    "account update": (["nobody", "--owner", "me"], {"account": "nobody", "status": "account_not_found"}),
    "account show": (["nobody"], {"account": "nobody", "status": "account_not_found"}),
    "history": (["nobody"], {"account": "nobody", "status": "account_not_found"}),
    "void": ([f"{9:032x}"], {"status": "hold_not_found"}),
    "trace": ([f"{9:032x}"], {"id": f"{9:032x}", "status": "transfer_not_found"}),
    "status --cluster another": ([], {"status": "wrong_cluster"}),
    "status --addresses 127.0.0.1:1 --timeout 0.3": ([], {"status": "unreachable"}),
}


@pytest.mark.parametrize("name", FAILURES)
def test_every_failure_is_a_row_for_programs(cluster: LocalCluster, name: str) -> None:
    """With -o json, whatever failed is told on standard output as well, with its status."""
    arguments, expected = FAILURES[name]
    failed = pay(cluster, *name.split(), *arguments, "-o", "json")
    assert failed.returncode == 1, failed.stderr
    (row,) = json.loads(failed.stdout)
    assert expected.items() <= row.items()


def test_help_tells_what_is_so_unless_told() -> None:
    """An update leaves the limits that it does not name."""
    words = {
        command: " ".join(run("pay", "account", command, "--help").stdout.split()) for command in ("create", "update")
    }
    assert "how far it may fall (0)" in words["create"] and "how far it may fall (as it is)" in words["update"]


@pytest.mark.parametrize(
    "arguments",
    ["transfer a b -5", "transfer a b 0", "hold a b 0", "account create a --currency XYZ", "transfer a b 1 --currency XXQ",
     "status --cluster="],
)  # fmt: skip
def test_a_mistake_of_usage_needs_no_cluster(arguments: str) -> None:
    """Exit code 2, and nobody is asked."""
    wrong = run("pay", *arguments.split(), addresses="127.0.0.1:1")
    assert wrong.returncode == 2 and "expected " in wrong.stderr and wrong.stdout == ""


@pytest.mark.parametrize(
    "arguments",
    ["transfer a b 0 -o json", "transfer -o json a b", "-ojson", "status -o=json --timeout nan", "account update a -o json",
     "lock -o json", "account create a --currency XYZ -ojson"],
)  # fmt: skip
def test_a_mistake_of_usage_is_a_row_for_programs_too(arguments: str) -> None:
    """One row on standard output with the sentence that stands on standard error."""
    wrong = run("pay", *arguments.split(), addresses="127.0.0.1:1")
    (row,) = json.loads(wrong.stdout)
    assert (wrong.returncode, row["status"]) == (2, "usage")
    assert wrong.stderr.endswith(f": {row['message']}\n")


def test_a_mistake_in_a_command_under_a_lock_is_its_own() -> None:
    """What stands behind the dashes is not for pay to read."""
    wrong = run("pay", *["lock", "a", "--wait", "no", "--", "pay", "-o", "json"], addresses="127.0.0.1:1")
    assert (wrong.returncode, wrong.stdout) == (2, "")
