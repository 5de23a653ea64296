"""Commands of `pay` against a cluster of a test, and a small one to pay in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from protocol.client import connect
from scripts.local import LocalCluster
from tests.e2e.nodes import running
from tests.e2e.programs import Outcome, run


@contextmanager
def alice_has_100_eur(*others: str) -> Iterator[LocalCluster]:
    """One node of two shards; the money is from `world`, the others have none."""
    with running(1, 2) as cluster:
        with connect(cluster.addresses) as client:
            client.create_account("world", "EUR", minimum_balance=None)
            for account in ("alice", *others):
                client.create_account(account, "EUR")
            client.transfer("world", "alice", 10_000)
        yield cluster


def pay(cluster: LocalCluster, *arguments: object, stdin: str | None = None) -> Outcome:
    """A command of pay."""
    return run("pay", *arguments, addresses=",".join(cluster.addresses), stdin=stdin)
