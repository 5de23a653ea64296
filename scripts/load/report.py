"""What `bench` prints: the lines that users of TigerBeetle's benchmark know, the gaps of kills, and how soon nodes are back."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence

import numpy as np

from node.cli.output import say
from protocol.status import Status
from scripts.load.clients import Result
from scripts.load.kills import Kill


def report_load(options: argparse.Namespace, result: Result) -> None:
    """TigerBeetle's lines about the load."""
    latencies, counts, seconds = result.latencies_ms, result.count(), result.seconds
    if options.print_batch_timings:
        for number, latency in enumerate(latencies, 1):
            say(f"batch {number}: {latency:.2f} ms")
    say(f"{len(latencies)} batches in {seconds:.2f} s")
    say(f"transfer batch size = {options.transfer_batch_count} txs")
    say(f"transfer batch delay = {options.transfer_batch_delay_us} us")
    say(f"load accepted = {accepted(counts) / seconds:.0f} tx/s")
    report_latencies("batch", latencies)
    for status, count in sorted((status.name, count) for status, count in counts.items() if status > Status.exists):
        say(f"refused {status} = {count}")


def accepted(counts: Counter[Status]) -> int:
    """Transfers that happened; some were answered `exists`, since their batch was sent again."""
    return counts[Status.created] + counts[Status.exists]


def report_latencies(name: str, latencies_ms: Sequence[float]) -> None:
    """Percentiles in milliseconds."""
    for percentile in (1, 50, 99, 100):
        say(f"{name} latency p{percentile} = {np.percentile(latencies_ms, percentile):.2f} ms")


def report_kills(kills: Sequence[Kill]) -> None:
    """What each kill cost, and the most of it."""
    for number, kill in enumerate(kills, 1):
        say(
            f"kill {number}: node {kill.node}, longest gap {kill.gap_ms:.0f} ms, at its return {kill.return_gap_ms:.0f} ms, "
            f"answers after {kill.answers_ms:.0f} ms"
        )
    if kills:
        for what, gaps in (("kills", [k.gap_ms for k in kills]), ("returns", [k.return_gap_ms for k in kills])):
            say(f"longest gap in {len(kills)} {what} = {max(gaps):.0f} ms, median {np.median(gaps):.0f} ms")
        starts = [kill.answers_ms for kill in kills]
        say(f"longest start in {len(kills)} returns = {max(starts):.0f} ms, median {np.median(starts):.0f} ms")
