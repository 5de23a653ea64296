"""`pay trace`: what became of a transfer, or which ones are undecided."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from node.cli.output import EXIT_FAILED, complain, show
from protocol import ids
from protocol.client import Participant, SyncClient, Trace, Undecided, UndecidedRound
from protocol.status import Status

NANOSECONDS = 1_000_000_000


def add_trace(commands: Any, shared: argparse.ArgumentParser, parse_id: Callable[[str], int]) -> None:
    """trace."""
    trace = commands.add_parser("trace", help="phases of a transfer, or what is undecided", parents=[shared])
    trace.add_argument("id", type=parse_id, nargs="?", help="of a transfer; without it all undecided rounds are listed")
    trace.add_argument("--debit", help="its debit account, where the id was used in several shards")


def show_trace(client: SyncClient, options: argparse.Namespace) -> int:
    """The exit code."""
    if options.id is None:
        return show_undecided(client, options.form)
    trace = client.trace(options.id, options.debit)
    if options.form == "json":
        show([trace_in_full(trace)], "json")
        return 0
    show([trace_row(trace)], "table")
    show([participant_row(shard) for shard in trace.participants], "table")
    return 0


def trace_row(trace: Trace) -> dict[str, Any]:
    """The transfer itself."""
    return {
        "id": ids.format(trace.id), "status": trace.status.name, "protocol": trace.protocol,
        "round": trace.round_id, "epoch": trace.epoch, "coordinator": trace.coordinator,
        "decision": None if trace.decision is None else trace.decision.name,
        "decided": time_of(trace.decided_ns), "recorded": time_of(trace.recorded_ns),
        "timestamp": time_of(trace.timestamp_ns),
    }  # fmt: skip


def participant_row(shard: Participant) -> dict[str, Any]:
    """One shard's phases."""
    return {
        "group": shard.group, "leader": shard.node, "vote": vote_of(shard), "prepared": time_of(shard.prepared_ns),
        "precommitted": time_of(shard.precommitted_ns), "carried_out": time_of(shard.carried_out_ns),
    }  # fmt: skip


def vote_of(shard: Participant) -> str | None:
    """yes, or the objection."""
    return None if shard.vote is None else "yes" if shard.vote == Status.created else shard.vote.name


def trace_in_full(trace: Trace) -> dict[str, Any]:
    """For programs: times as they are, in ns."""
    row = asdict(trace) | {
        "id": ids.format(trace.id), "status": trace.status.name,
        "decision": None if trace.decision is None else trace.decision.name, "decided_ns": trace.decided_ns,
    }  # fmt: skip
    row["participants"] = [asdict(shard) | {"vote": vote_of(shard)} for shard in trace.participants]
    return row


def time_of(stamp_ns: int | None) -> str | None:
    """UTC, to the microsecond."""
    if stamp_ns is None:
        return None
    seconds, rest = divmod(stamp_ns, NANOSECONDS)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest // 1_000:06d}Z"


def show_undecided(client: SyncClient, form: str) -> int:
    """Fails where a group did not answer, as the list may then lack something. Says how many rounds are not listed."""
    found = client.undecided()
    show([undecided_row(row, form) for row in found.rounds], form)
    if more := more_of(found):
        complain(more)
    if found.silent:
        complain(f"groups {', '.join(map(str, found.silent))} did not answer")
        return EXIT_FAILED
    if not found.rounds:
        complain("nothing is undecided")
    return 0


def more_of(found: Undecided) -> str:
    """What to say of rounds that are not listed; nothing where all are."""
    more = found.count - len(found.rounds)
    return f"{more:,} younger rounds are undecided too" if more else ""


def undecided_row(row: UndecidedRound, form: str) -> dict[str, Any]:
    """All ids for programs, the first one for people."""
    shown: dict[str, Any] = {
        "round": row.round_id, "protocol": row.protocol, "age_seconds": round(row.age_seconds, 3),
        "participants": list(row.participants), "prepared": list(row.prepared), "transactions": row.transactions,
    }  # fmt: skip
    if form == "json":
        return shown | {"ids": [ids.format(id) for id in row.ids]}
    return shown | {"first_id": ids.format(row.ids[0]) if row.ids else None}
