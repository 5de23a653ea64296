"""`pay` and what could never be: ids, accounts, names and texts that no cluster takes."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from node.cli.arguments import EXIT_USAGE
from protocol.client import connect
from scripts.local import LocalCluster
from tests.e2e.nodes import running
from tests.e2e.paying import pay


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """One node with two accounts."""
    with running(1, 2) as made:
        with connect(made.addresses) as client:
            client.create_account("rich", "EUR", minimum_balance=None)
            client.create_account("poor", "EUR")
        yield made


LONG, ODD = "x" * 65, "a\u200bb"
MALFORMED: list[tuple[list[object], str]] = [
    (["transfer", "rich", "poor", 1, "--id", "x"], "32 hexadecimal digits"),
    (["transfer", "rich", "poor", 1, "--id", "0" * 32], "expected an id above 0"),
    (["hold", "rich", "poor", 1, "--id", "f" * 32], "expected an id below 2^128 - 1"),
    (["transfer", "rich", "poor", 1, "--reverses", "0" * 32], "expected the id of a transfer"),
    (["capture", "x"], "32 hexadecimal digits"),
    (["void", "1" * 31], "32 hexadecimal digits"),
    (["outcome", "x", "--debit", "rich"], "32 hexadecimal digits"),
    (["trace", "x"], "32 hexadecimal digits"),
    (["transfer", "rich", "poor", 1, "--reference", LONG], "a reference of at most 64 bytes"),
    (["hold", "rich", "poor", 1, "--reference", "two\nlines"], "expected one line of text"),
    (["transfer", "rich", "rich", 1], "two different accounts"),
    (["account", "create", ""], "1 to 64 bytes"),
    (["account", "create", LONG], "1 to 64 bytes"),
    (["account", "create", ODD], "ZERO WIDTH SPACE"),
    (["account", "create", "owned", "--owner", LONG], "an owner of at most 64 bytes"),
    (["account", "show", "rich", ""], "1 to 64 bytes"),
    (["account", "update", LONG, "--owner", "me"], "1 to 64 bytes"),
    (["history", "a\nb"], "in one line"),
    (["transfer", "", "poor", 1], "1 to 64 bytes"),
    (["transfer", "rich", LONG, 1], "1 to 64 bytes"),
    (["outcome", "1" * 32, "--debit", ""], "1 to 64 bytes"),
    (["trace", "1" * 32, "--debit", LONG], "1 to 64 bytes"),
    (["allowance", "", 5], "1 to 64 bytes"),
    (["lock", "", "--", "true"], "a name of 1 to 64 bytes"),
    (["lock", ODD, "--", "true"], "ZERO WIDTH SPACE"),
    (["events", "--prefix", LONG], "at most 64 bytes"),
    (["events", "--cursor", "yesterday"], "oldest, newest, or the cursor"),
]


@pytest.mark.parametrize(("arguments", "words"), MALFORMED)
def test_what_could_never_be_is_wrong_usage(cluster: LocalCluster, arguments: list[object], words: str) -> None:
    """With one exit code, whether the command line, the client or a node says so; and it is a row for programs."""
    place = arguments.index("--") if "--" in arguments else len(arguments)
    done = pay(cluster, *arguments[:place], "-o", "json", *arguments[place:])
    assert done.returncode == EXIT_USAGE and words in done.stderr, done
    assert json.loads(done.stdout)[0]["message"]
