"""`pay audit`: whether the books balance and the replicas agree."""

from __future__ import annotations

import argparse
from typing import Any

from node.cli.health import recoveries
from node.cli.output import EXIT_FAILED, complain, show
from node.cli.shown import amount
from protocol.client import CurrencyTotals, Report, ShardDigest, SyncClient
from protocol.placement import called


def add_audit(commands: Any, shared: argparse.ArgumentParser) -> None:
    """Declares `pay audit`; `shared` has the options of all commands."""
    commands.add_parser("audit", help="add up all books; fails unless they balance", parents=[shared])


def show_audit(client: SyncClient, options: argparse.Namespace) -> int:
    """`pay audit`: adds up all books. Returns the exit code, of failure unless all balances and majorities agree; raises RingpayError."""
    report = client.audit()
    if options.form == "json":
        show([audit_in_full(report)], "json")
    else:
        show([in_decimals(currency_row(row)) for row in report.currencies.values()], "table")
    complain(agreement(report))
    return 0 if report.balanced else EXIT_FAILED


def audit_in_full(report: Report) -> dict[str, Any]:
    """For programs: the shards beside the currencies."""
    return {
        "currencies": [currency_row(row) for row in report.currencies.values()],
        "shards": [shard_row(shard) for shard in report.shards],
    }


def currency_row(row: CurrencyTotals) -> dict[str, Any]:
    """One currency."""
    return {
        "currency": row.currency, "debits": row.debits, "credits": row.credits, "held": row.held,
        "in_flight": row.in_flight, "balanced": row.balanced,
    }  # fmt: skip


def in_decimals(row: dict[str, Any]) -> dict[str, Any]:
    """One currency, for people."""
    return {name: amount(value, row["currency"]) if type(value) is int else value for name, value in row.items()}


def shard_row(shard: ShardDigest) -> dict[str, Any]:
    """One shard; digests in hexadecimal, as some readers of JSON cannot hold 64 bits, and null where a node did not answer."""
    digests = {str(node): None if digest is None else f"{digest:016x}" for node, digest in shard.digests.items()}
    return {
        "shard": shard.shard,
        "index": shard.index,
        "digests": digests,
        "agree": shard.agrees,
        "recovering": shard.recovering,
    }


def agreement(report: Report) -> str:
    """Whether the replicas agree, how many of them did not answer, and who is recovering."""
    return "; ".join([_agreement(report), *recoveries(_recovering(report))])


def _recovering(report: Report) -> dict[int, list[int]]:
    """By node the groups whose replica there gets back what its disk has lost."""
    nodes = sorted({node for shard in report.shards for node in shard.recovering})
    return {node: [shard.shard for shard in report.shards if node in shard.recovering] for node in nodes}


def _agreement(report: Report) -> str:
    if differing := [shard.shard for shard in report.shards if shard.differs]:
        return f"replicas of {called(*differing)} differ"
    silent = sum(len(shard.silent) for shard in report.shards)
    missing = f"{silent} of {sum(len(shard.digests) for shard in report.shards)} did not answer"
    if lacking := [shard.shard for shard in report.shards if not shard.agrees]:
        return f"too few replicas of {called(*lacking)} answered; {missing}"
    return f"replicas agree; {missing}" if silent else "replicas agree"
