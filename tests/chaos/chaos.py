"""Runs a bank on a cluster of its own while nodes are killed, paused, parted and restarted, then proves every promise.

Starts real nodes in a fresh folder. Customers move money between the accounts through all nodes: transfers within and
across shards, holds, captures and voids, some sent twice. Readers read all accounts at one cut: the total must be exact,
no balance below its limit. Meanwhile a seeded choice of faults falls: SIGKILL, SIGSTOP, SIGTERM, partitions, single links
that go silent both ways or one way, slow disks, wrong clocks where libfaketime is installed, clients that read without end
or never take an answer, data folders that are lost or older than they were, and SIGKILL of all nodes at once. Otherwise only
so many nodes are away at a time as every shard can spare: two of five.
At the end no round may stay undecided, all open outcomes are settled, and the books are compared with what every customer
knows. A promise counts as kept only where the run has shown it: payments, snapshots and audits must have come through while
faults fell.

Examples:
  scripts/chaos --minutes 5
  scripts/chaos --minutes 1 --nodes 3 --shards 4 --seed 7
  scripts/chaos --minutes 2 --faults cut-link,one-way-link

Exit codes: 0 every promise was kept, 1 one was not, or was not shown (the cluster's folder is kept), 2 usage.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack

import numpy as np
import uvloop

from node.cli.arguments import PORT_MAX, decimal, integer, make_parser, natural
from node.cli.output import complain, say
from protocol.client import Client
from protocol.columns import COMMIT_PROTOCOLS
from protocol.errors import RingpayError
from protocol.placement import NODES_MAX, SHARDS_MAX
from scripts.load.kills import longest_gap_ms
from scripts.load.proof import Check
from scripts.local import ClusterError, LocalCluster, temporary
from tests.chaos.bank import Bank, Customer, Reader, make_bank, open_bank
from tests.chaos.nemesis import SEVERAL, Nemesis
from tests.chaos.proof import check_undecided, not_shown, prove, settle, watch_undecided
from tests.chaos.strikes import FAULTS, OPTIONS, STANDSTILL_MS, faults

REPLICATION_MAX = 5
MINUTES_MAX = 100_000.0  # two months
ACCOUNTS_MAX = 100_000  # read again and again, all of them at once
CLIENTS_MAX = 200  # of the Python process that plays them all
IN_FLIGHT = 4  # movements under way of each client
READERS = 2
VIOLATIONS_SHOWN = 20
STANDSTILLS_MS = {fault.name: fault.standstill_ms for fault in FAULTS} | {SEVERAL: STANDSTILL_MS}


def main() -> int:
    """The exit code."""
    options = parse()
    try:
        return uvloop.run(run(options))
    except (ClusterError, RingpayError, OSError) as error:
        complain(str(error))
    except (KeyboardInterrupt, asyncio.CancelledError):
        complain("stopped; all nodes and their data are gone")
    return 1


def parse() -> argparse.Namespace:
    """The command line."""
    parser = make_parser(__doc__ or "")
    parser.add_argument("--minutes", type=decimal(0.001, MINUTES_MAX), default=5.0, help="of faults (5)")
    parser.add_argument("--nodes", type=integer(3, NODES_MAX), default=5, help="3 or more (5)")
    parser.add_argument("--shards", type=integer(1, SHARDS_MAX), default=16, help="arcs of the ring (16)")
    parser.add_argument("--seed", type=natural, default=1, help="of the faults and the payments (1)")
    parser.add_argument("--commit", choices=COMMIT_PROTOCOLS, default=COMMIT_PROTOCOLS[0], help="protocol (2pc)")
    parser.add_argument("--accounts", type=integer(2, ACCOUNTS_MAX), default=200, help="of the bank (200)")
    parser.add_argument(
        "--clients", type=integer(1, CLIENTS_MAX), default=8, help=f"each with {IN_FLIGHT} movements under way (8)"
    )
    parser.add_argument("--base-port", type=integer(1, PORT_MAX), help="of the nodes (a free one)")
    parser.add_argument(
        "--faults",
        type=faults,
        default=list(FAULTS),
        metavar="KIND,...",
        help=f"that may fall, of {', '.join(OPTIONS)} (all)",
    )
    options = parser.parse_args()
    if (options.base_port or 0) + options.nodes - 1 > PORT_MAX:
        parser.error(f"--base-port: expected ports up to {PORT_MAX} for all nodes")
    return options


async def run(options: argparse.Namespace) -> int:
    """The whole story; 0 when every promise was shown to be kept."""
    replication = min(options.nodes, REPLICATION_MAX)
    away_max = (replication - 1) // 2
    bank = make_bank(options.accounts)
    is_kept = False
    async with temporary(
        options.nodes,
        options.shards,
        replication,
        base_port=options.base_port,
        settings={"fault_switch": True, "commit": options.commit},
        is_kept=lambda: is_kept,
    ) as cluster:
        began = time.monotonic()
        say(
            f"{options.nodes} nodes, {options.shards} shards of {replication} replicas each, {options.commit}; data in {cluster.folder}"
        )
        say(f"at most {away_max} of {options.nodes} away at a time, except when all are restarted; seed {options.seed}")

        def tell(text: str) -> None:
            say(f"{time.monotonic() - began:7.1f} s  {text}")

        nemesis = Nemesis(cluster, options.faults, random.Random(options.seed), away_max, bank.accounts, tell)
        checks: list[Check] = []
        settled: Counter[str] = Counter()
        try:
            await trouble(cluster, bank, nemesis, options)
            checks.append(check_undecided(bank))
            async with cluster.client() as client:
                unknown = len(bank.unknown)
                tell(f"calm; settling {unknown:,} unknown outcomes and reading the books back")
                settled = await settle(client, bank)
                checks += await prove(client, bank)
        except (ClusterError, RingpayError, TimeoutError) as error:
            bank.violations.append(f"the cluster does not serve: {error}")
        violations = [*bank.violations, *(f"{check.name}: {check.found}" for check in checks if not check.holds)]
        violations += standstills(gaps_ms(bank, nemesis))
        lacking = not_shown(bank, [(episode.began, episode.ended) for episode in nemesis.episodes])
        is_kept = bool(violations or lacking)
        report(bank, nemesis, settled, checks)
    return verdict(violations, lacking, cluster)


async def trouble(cluster: LocalCluster, bank: Bank, nemesis: Nemesis, options: argparse.Namespace) -> None:
    """Customers and readers at work while the faults fall. Raises ClusterError where nodes do not come back."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(client) for client in homes(cluster, options.clients + READERS)]
        await open_bank(clients[0], bank)
        customers = [
            Customer(bank, client, f"{options.seed} {number} {place}")
            for number, client in enumerate(clients[READERS:])
            for place in range(IN_FLIGHT)
        ]
        readers = [Reader(bank, client) for client in clients[:READERS]]
        work = [*(customer.work() for customer in customers), *(reader.work() for reader in readers)]
        working = [asyncio.ensure_future(one) for one in work]
        striking = asyncio.ensure_future(strike(nemesis, options.minutes * 60, clients[0], bank))
        try:
            await asyncio.wait([striking, *working], return_when=asyncio.FIRST_COMPLETED)
            for task in (striking, *working):
                if task.done():
                    task.result()  # whoever ends early has failed
        finally:
            for task in (striking, *working):
                task.cancel()
            await asyncio.gather(striking, *working, return_exceptions=True)
            bank.ended = time.monotonic()


async def strike(nemesis: Nemesis, seconds: float, client: Client, bank: Bank) -> None:
    """All faults, and then a look at how long rounds stay undecided while the customers go on."""
    await nemesis.work(seconds)
    await watch_undecided(client, bank)


def homes(cluster: LocalCluster, count: int) -> list[Client]:
    """Clients that begin with one node after the other, and know the rest for when it is away."""
    addresses = cluster.addresses
    first = [number % len(addresses) for number in range(count)]
    return [cluster.client(addresses=[*addresses[place:], *addresses[:place]]) for place in first]


def report(bank: Bank, nemesis: Nemesis, settled: Counter[str], checks: Sequence[Check]) -> None:
    """What happened, in numbers."""
    gaps = gaps_ms(bank, nemesis)
    for name, count in nemesis.counts.items():
        gap = f"longest gap {gaps[name]:,} ms" if name in gaps else f"none without others, see {SEVERAL}"
        say(f"faults        {count:,} {name}: {gap}")
    say(f"acknowledged  {len(bank.answered):,}, {bank.repeated:,} movements sent twice")
    say(f"refused       {counted(bank.reasons) or 0}; not taken {len(bank.unserved):,}")
    say(f"unknown       {sum(settled.values()) + len(bank.unknown):,}; settled as {counted(settled) or 'none'}")
    reads = f"audits {len(bank.audits):,}, reads that no node answered {bank.failed_reads:,}"
    say(f"snapshots     {len(bank.snapshots):,}, {reads}")
    if bank.answered:
        low, high, most = np.percentile(bank.latencies_ms, [50, 99, 100])
        longest = max((gap for name, gap in gaps.items() if STANDSTILLS_MS[name] is not None), default=0)
        say(f"longest gap   {longest:,} ms between two acknowledgements while a majority was up")
        say(f"latency       p50 {low:.1f} ms, p99 {high:.0f} ms, longest {most:.0f} ms")
    for check in checks:
        say(f"{'holds' if check.holds else 'FAILS':12}  {check.name}: {check.found}")


def gaps_ms(bank: Bank, nemesis: Nemesis) -> Counter[str]:
    """The longest time without an acknowledgement, by what fell."""
    gaps: Counter[str] = Counter()
    for episode in nemesis.episodes:
        gap = longest_gap_ms([*bank.answered, bank.ended], episode.began, episode.ended)
        gaps[episode.name] = max(gaps[episode.name], round(gap))
    return gaps


def standstills(gaps: Mapping[str, int]) -> list[str]:
    """The gaps that are longer than what fell can excuse."""
    return [
        f"nothing was acknowledged for {gap:,} ms under {name}, though a majority was up: expected {limit:,} ms at most"
        for name, gap in gaps.items()
        if (limit := STANDSTILLS_MS[name]) is not None and gap > limit
    ]


def counted(counts: Mapping[str, int]) -> str:
    """`3 of this, 1 of that`, without what did not happen."""
    return ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)


def verdict(violations: Sequence[str], lacking: Sequence[str], cluster: LocalCluster) -> int:
    """The last word; the exit code."""
    for violation in violations[:VIOLATIONS_SHOWN]:
        say(f"violation     {violation}")
    for text in lacking:
        say(f"not shown     {text}")
    if not violations and not lacking:
        say("verdict: every promise was kept")
        return 0
    untested = "no violation, but not every promise was put to the test"
    found = f"{len(violations):,} violations" if violations else untested
    say(f"verdict: {found}; data and logs are kept in {cluster.folder}")
    return 1
