"""`pay trace`: what became of a transfer, or which ones are undecided."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from node.cli.arguments import account_id, parse_id
from node.cli.output import EXIT_FAILED, complain, show, show_record
from node.cli.shown import NANOSECONDS, moment, seconds
from protocol import ids
from protocol.client import Participant, SyncClient, Trace, Undecided, UndecidedRound
from protocol.placement import called
from protocol.status import Status


def add_trace(commands: Any, shared: argparse.ArgumentParser) -> None:
    """Declares `pay trace`; `shared` has the options of all commands."""
    trace = commands.add_parser("trace", help="phases of a transfer, or what is undecided", parents=[shared])
    trace.add_argument("id", type=parse_id, nargs="?", help="of a transfer; without it all undecided rounds are listed")
    trace.add_argument("--debit", type=account_id, help="its debit account, where the id was used in several shards")


def show_trace(client: SyncClient, options: argparse.Namespace) -> int:
    """`pay trace`: the phases of a transfer, or what is undecided. Returns the exit code; raises RingpayError."""
    if options.id is None:
        return show_undecided(client, options.form)
    trace = client.trace(options.id, options.debit)
    if options.form == "json":
        show([trace_in_full(trace)], "json")
        return 0
    show_record(trace_row(trace))
    show(phase_rows(trace.participants), "table")
    return 0


def trace_row(trace: Trace) -> dict[str, Any]:
    """The transfer itself."""
    return {
        "id": ids.format(trace.id), "status": trace.status.name, "protocol": trace.protocol,
        "round": trace.round_id, "epoch": trace.epoch, "coordinator": trace.coordinator,
        "decision": None if trace.decision is None else trace.decision.name,
        "decided": moment(trace.decided_ns), "recorded": moment(trace.recorded_ns),
        "timestamp": moment(trace.timestamp_ns),
    }  # fmt: skip


def phase_rows(participants: Sequence[Participant]) -> list[dict[str, Any]]:
    """What each shard has done, in the order of its time; who has done nothing yet comes last."""
    rows: list[tuple[int | None, Participant, str]] = []
    for shard in participants:
        phases = {
            f"prepared, vote {vote_of(shard)}": shard.prepared_ns, "precommitted": shard.precommitted_ns,
            "carried out": shard.carried_out_ns,
        }  # fmt: skip
        known = [(stamp_ns, shard, phase) for phase, stamp_ns in phases.items() if stamp_ns is not None]
        rows += known or [(None, shard, "nothing yet")]
    rows.sort(key=lambda row: (row[0] is None, row[0] or 0))
    return [
        {"time": moment(stamp_ns), "shard": shard.shard, "leader": shard.node, "phase": phase}
        for stamp_ns, shard, phase in rows
    ]


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


def show_undecided(client: SyncClient, form: str) -> int:
    """Fails where a shard did not answer, as the list may then lack something. Says how many rounds are not listed."""
    found = client.undecided()
    show([undecided_row(row, form) for row in found.rounds], form, ["participants"])
    if more := more_of(found):
        complain(more)
    if found.silent:
        complain(f"{called(*found.silent)} did not answer")
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
    age_ns = round(row.age_seconds * NANOSECONDS)
    groups = {"participants": list(row.participants), "prepared": list(row.prepared)}
    if form == "json":
        head = {"round": row.round_id, "protocol": row.protocol, "age_ns": age_ns, "transactions": row.transactions}
        return head | groups | {"ids": [ids.format(id) for id in row.ids]}
    return {
        "round": row.round_id, "protocol": row.protocol, "age": seconds(age_ns), "transactions": row.transactions,
        "first_id": ids.format(row.ids[0]) if row.ids else None,
    } | groups  # fmt: skip
