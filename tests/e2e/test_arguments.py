"""Command lines that cannot be: refused with exit code 2 in a sentence, by every script and for every option."""

from __future__ import annotations

import argparse
import os
import subprocess
from collections.abc import Iterator
from decimal import Decimal
from importlib import import_module
from typing import Any

import pytest

from node.cli.arguments import Parser
from tests.e2e.programs import RUN_SECONDS, environment, run, script

PROGRAMS = {
    "bench": "scripts.load.bench", "chaos": "tests.chaos.chaos", "cluster": "scripts.local.command", "demo": "scripts.load.demo",
    "pay": "node.cli.options", "simulate": "tests.simulation.seeds",
}  # fmt: skip
NO_NUMBERS = ("-1", "nan", "inf", "1e3", "1_000", "１２", "٣", " 1", "1 ", "+1", "", "0x10", str(2**64), "9" * 5_000)
TEXTS = (
    "account", "addresses", "client_token", "cluster", "credit", "currency", "day", "debit", "dir", "faults", "groups", "hold", "id",
    "input", "lock", "metadata", "named_credit", "named_debit", "reverses",
)  # what no numbers are; the last few are what pay reads in forms of their own  # fmt: skip


class Captured(Exception):
    """The parser of a script, before it reads anything."""


def actions_of(parser: argparse.ArgumentParser, path: str) -> Iterator[tuple[str, argparse.Action]]:
    """Every option and word of a command line, those of its commands included."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in action.choices.items():
                yield from actions_of(inner, f"{path} {name}")
        else:
            yield path, action


@pytest.fixture(scope="module")
def actions() -> dict[str, argparse.Action]:
    """All that read a text, by where they stand."""
    found: dict[str, argparse.Action] = {}

    def capture(parser: Parser, args: object = None, namespace: object = None) -> None:
        raise Captured(parser)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Parser, "parse_known_args", capture)
        for name, module in PROGRAMS.items():
            with pytest.raises(Captured) as caught:
                import_module(module).parse()
            for path, action in actions_of(caught.value.args[0], name):
                if action.type is not None:
                    found[f"{path} {action.option_strings[-1] if action.option_strings else action.dest}"] = action
    assert len(found) > 60
    return found


@pytest.mark.parametrize("text", NO_NUMBERS)
def test_no_option_takes_what_is_no_number(actions: dict[str, argparse.Action], text: str) -> None:
    """Python's own reading of digits, underscores, exponents and nan is not ours."""
    for where, action in actions.items():
        if action.dest not in TEXTS:
            assert callable(action.type)
            with pytest.raises(argparse.ArgumentTypeError, match=r"expected an? ") as refused:
                action.type(text)
            assert len(str(refused.value)) < 200, where


@pytest.mark.parametrize("text", ["0", "1", "7", "007", "1.5", "99999", str(2**63)])
def test_options_take_a_number_as_it_is_written_or_refuse_it(actions: dict[str, argparse.Action], text: str) -> None:
    """Nothing is rounded, cut or wrapped."""
    taken = 0
    for action in actions.values():
        if action.dest not in TEXTS:
            assert callable(action.type)
            try:
                value: Any = action.type(text)
                assert Decimal(value) == Decimal(text)
                taken += 1
            except argparse.ArgumentTypeError:
                pass
    assert (taken > 0) == (text != str(2**63))


def run_bytes(name: str, *arguments: bytes, **given: bytes) -> tuple[int, str]:
    """Runs a script with arguments and variables that may be no text; its exit code and complaint."""
    variables = {os.fsencode(k): os.fsencode(v) for k, v in environment(RINGPAY_ADDRESSES="127.0.0.1:1").items()}
    done = subprocess.run(
        [os.fsencode(script(name)), *arguments],
        env=variables | {os.fsencode(name): value for name, value in given.items()},
        capture_output=True, timeout=RUN_SECONDS, check=False,
    )  # fmt: skip
    return done.returncode, done.stderr.decode()


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("bench", [b"--addresses", b"\xff:7101"]),
        ("bench", [b"--addresses", b"127.0.0.1:99999"]),
        ("bench", [b"--base-port", b"65535"]),
        ("chaos", [b"--commit", b"\xff"]),
        ("chaos", [b"--base-port", b"65534"]),
        ("cluster", [b"status", b"--dir", b"\xed\xa0\x80"]),
        ("cluster", [b"up", b"--client-token", b"\xff"]),
        ("cluster", [b"up", b"--client-token", b""]),
        ("cluster", [b"partition", "１,2".encode()]),
        ("cluster", [b"kill", b"99999"]),
        ("demo", [b"--input", b"\xff.csv"]),
        ("demo", [b"--in-flight", b"0"]),
        ("demo", [b"--customers", b"-5"]),
        ("demo", [b"--day", b"2018-6-11"]),
        ("demo", [b"--day", b"2018-06-11"]),
        ("pay", [b"account", b"show", b"\xff"]),
        ("pay", [b"account", b"show", b"a", b"--addresses", b"127.0.0.1:99999"]),
        ("pay", [b"transfer", b"a", b"b", b"1", b"--lock", b"payroll:\xff"]),
        ("pay", [b"transfer", b"a", b"b", "１".encode()]),
        ("pay", [b"hold", b"a", b"b", b"1", b"--ttl", b"4294967296"]),
        ("pay", [b"lock", b"\xff", b"--", b"true"]),
        ("simulate", [b"--workload", b"\xff"]),
    ],
)
def test_what_cannot_be_is_a_usage_error(name: str, arguments: list[bytes]) -> None:
    """Exit code 2 and a sentence at the end, no traceback."""
    code, complaint = run_bytes(name, *arguments)
    assert code == 2 and "Traceback" not in complaint, complaint
    assert "expected " in complaint.splitlines()[-1]


@pytest.mark.parametrize("name", ["pay", "bench"])
def test_a_token_that_is_no_text_is_a_usage_error(name: str) -> None:
    """The token of the environment is checked before anybody is asked."""
    arguments = [b"account", b"show", b"a"] if name == "pay" else [b"--addresses", b"127.0.0.1:1"]
    assert run_bytes(name, *arguments, RINGPAY_TOKEN=b"\xff") == (
        2,
        f"{name}: RINGPAY_TOKEN: expected text in UTF-8\n",
    )


@pytest.mark.parametrize(
    "owners",
    [b"x", b"zz 1 a", b"00 1 a", *(b"00" * 16 + rest for rest in (b" -1 a", b" 9999999999999999999 a", b" 1 ", b" 1 \xff"))],
)  # fmt: skip
def test_owners_of_outer_locks_that_cannot_be_are_a_usage_error(owners: bytes) -> None:
    """What a lock's command finds of the locks around it is checked before anybody is asked, and named."""
    code, complaint = run_bytes("pay", b"lock", b"a", b"--", b"true", RINGPAY_LOCK_OWNERS=owners)
    (sentence,) = complaint.splitlines()
    assert code == 2 and sentence.startswith("pay: RINGPAY_LOCK_OWNERS: ") and "expected lines of" in sentence


def test_addresses_of_the_environment_are_checked_too() -> None:
    """A mistyped RINGPAY_ADDRESSES is told as one of the command line is."""
    refused = run("pay", "status", addresses="localhost")
    assert refused.returncode == 2 and "'localhost': expected host:port" in refused.stderr
