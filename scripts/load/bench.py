"""`bench`: measures a cluster of its own, or one that is there."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack

import uvloop

from node.cli.output import complain, say
from node.cli.program import first_error
from protocol.client import Client
from protocol.errors import RingpayError
from protocol.status import AMOUNT_MAX, TRANSFERS_MAX
from scripts.load.accounts import open_accounts
from scripts.load.beside import BesideError, run_beside, without_beside
from scripts.load.clients import Result, Task, query_latencies_ms, run_load
from scripts.load.contention import measure_contention
from scripts.load.kills import BUSY_GROUP, COORDINATOR_GROUP, Kill, kill_leaders
from scripts.load.locks import queue_for_a_lock
from scripts.load.options import parse
from scripts.load.report import accepted, report_kills, report_latencies, report_load
from scripts.load.subscriber import report_subscriber, subscribed
from scripts.load.workload import PREPARED_MAX, Ids, Model, Workload, prepare
from scripts.local import ClusterError, LocalCluster, temporary

WRONG_SHOWN = 100  # sentences about grants that cannot be
WITHOUT_END = 2**62  # transfers, while leaders are killed
MEBIBYTE = 1 << 20
LOCKS_SECONDS = 5.0  # of queueing
ALLOWANCES_AT_ONCE = 256  # a client's requests under way
AMPLE = AMOUNT_MAX // 2  # minor units a day
CONTENTION_SECONDS = 2.0  # for each number of clients, each way


def main() -> int:
    """The exit code."""
    options = parse()
    try:
        if options.beside is not None:
            return run_beside(options.beside, options.runs, without_beside(sys.argv[1:]))
        return uvloop.run(run(options))
    except (BesideError, ClusterError, RingpayError, OSError) as error:
        complain(str(error) or type(error).__name__)
    except BaseExceptionGroup as group:
        cause = first_error(group)
        complain(f"{type(cause).__name__}: {cause}")
    except (KeyboardInterrupt, asyncio.CancelledError):
        complain("stopped")
    return 1


async def run(options: argparse.Namespace) -> int:
    """The whole measurement; 0 unless it is not valid."""
    async with AsyncExitStack() as stack:
        cluster = None
        if options.addresses is None:
            settings = {"base_port": options.base_port} if options.base_port else {}  # as each commit takes it
            own = temporary(options.nodes, options.shards, min(3, options.nodes), settings=settings)
            cluster = await stack.enter_async_context(own)
        addresses = options.addresses or ",".join(cluster.addresses if cluster else [])
        if options.locks:
            return await report_locks(addresses, options.token, options.locks)
        if options.contention:
            return await report_contention(addresses, options.token)
        made = [Client(addresses, token=options.token) for _ in range(options.clients)]
        clients = [await stack.enter_async_context(client) for client in made]
        client = clients[0]
        workload = await make_workload(client, options)
        names = workload.names()
        if options.split:
            await client.create_account(names[0], "EUR", minimum_balance=None, split=True)
        # Without limits, as TigerBeetle's benchmark does; those of an earlier run are taken over.
        rows = [[name, "EUR", None, None, "", b""] for name in names[options.split :]]
        await open_accounts(client, rows, options.account_batch_count, may_exist=True)
        if options.allowances:
            await set_allowances(client, names)
        before = await read_model(client, names, options) if options.validate else None
        memory = rss(cluster)
        subscriber = None
        if options.subscriber:
            reader = await stack.enter_async_context(Client(addresses, token=options.token))
            subscriber = await stack.enter_async_context(subscribed(reader))
        result, kills = await load(options, workload, clients, cluster)
        is_told = subscriber is None or await report_subscriber(subscriber, accepted(result.count()))
        report_load(options, result)
        report_kills(kills)
        is_good = is_told and await report_queries(client, workload, options.query_count)
        if options.memory:
            for number, (earlier, later) in enumerate(zip(memory, rss(cluster), strict=True), 1):
                say(f"rss node {number} before = {earlier // MEBIBYTE} MB")
                say(f"rss node {number} after = {later // MEBIBYTE} MB")
        if before is not None:
            is_good &= await validate(client, names, before, result, options)
        return 0 if is_good else 1


async def report_locks(addresses: str, token: str, clients: int) -> int:
    """One lock and its queue; 0 unless two held it at once or a token fell."""
    rate, count, wrong = await queue_for_a_lock(addresses, token, clients, LOCKS_SECONDS)
    say(f"lock grants = {rate:.0f} per second")
    if not wrong:
        say(f"validated {count} grants to {clients} clients: one at a time, with rising tokens")
    for text in wrong[:WRONG_SHOWN]:
        say(f"NOT VALID: {text}")
    return 1 if wrong else 0


async def report_contention(addresses: str, token: str) -> int:
    """A line for each way and number of clients."""
    for point in await measure_contention(addresses, token, CONTENTION_SECONDS):
        rate = f"{point.per_second:.0f} per second, {point.attempts:.2f} transfers sent for each"
        say(f"{point.way}, {point.clients} clients = {rate}")
    return 0


async def make_workload(client: Client, options: argparse.Namespace) -> Workload:
    """The load for the cluster as it is."""
    shards = (await client.cluster()).placement.shards
    if options.cross_shard_percent and shards < 2:
        raise RingpayError("--cross-shard-percent needs --shards 2 or more")
    return Workload(
        options.account_count, options.account_count_hot, options.transfer_hot_percent, options.account_distribution,
        options.cross_shard_percent, shards, options.id_order, options.seed, options.hot_credit,
    )  # fmt: skip


async def set_allowances(client: Client, names: Sequence[str]) -> None:
    """For every account, some at a time."""
    for start in range(0, len(names), ALLOWANCES_AT_ONCE):
        part = names[start : start + ALLOWANCES_AT_ONCE]
        await asyncio.gather(*(client.set_allowance(name, AMPLE) for name in part))


async def read_model(client: Client, names: Sequence[str], options: argparse.Namespace) -> Model:
    """The balances now."""
    posted, held = [], []
    for start in range(0, len(names), TRANSFERS_MAX):
        for row in await client.accounts(names[start : start + TRANSFERS_MAX]):
            posted.append(0 if row is None else row.posted)
            held.append(0 if row is None else row.held)
    model = Model(posted, held, options.transfer_pending)
    totals = (await client.audit()).currencies.get("EUR")
    model.debits = 0 if totals is None else totals.debits
    return model


def rss(cluster: LocalCluster | None) -> list[int]:
    """Memory of each node, in bytes."""
    return [] if cluster is None else [node.rss_bytes() for node in cluster.nodes()]


async def load(
    options: argparse.Namespace, workload: Workload, clients: Sequence[Client], cluster: LocalCluster | None
) -> tuple[Result, list[Kill]]:
    """Makes the load, runs all clients to their end, and kills meanwhile where asked to."""
    kills_wanted = options.kill_leader + options.kill_coordinator
    share, rest = divmod(WITHOUT_END if kills_wanted else options.transfer_count, options.clients)
    tasks = []
    for number in range(options.clients):
        count = share + (number < rest)
        batches = prepare(workload, number, min(count, PREPARED_MAX // options.clients), options.transfer_batch_count)
        tasks.append(
            Task(
                batches, Ids(workload.id_order, number, workload.seed), count, options.in_flight,
                options.transfer_batch_delay_us, options.transfer_pending, options.commit,
            )
        )  # fmt: skip
    result, stop, kills = Result(), asyncio.Event(), []
    async with asyncio.TaskGroup() as group:
        group.create_task(run_load(clients, tasks, result, stop))
        if kills_wanted and cluster is not None:
            group_number = BUSY_GROUP if options.kill_leader else COORDINATOR_GROUP
            kills = await kill_leaders(cluster, group_number, result.answered, kills_wanted)
            stop.set()
    return result, kills


async def report_queries(client: Client, workload: Workload, count: int) -> bool:
    """TigerBeetle's lines about queries; False when one got no answer."""
    if not count:
        return True
    began = time.monotonic()
    try:
        latencies = await query_latencies_ms(client, workload, count)
    except RingpayError as error:
        complain(f"a query failed: {error}")
        return False
    say(f"{count} queries in {time.monotonic() - began:.2f} s")
    report_latencies("query", latencies)
    return True


async def validate(
    client: Client, names: Sequence[str], model: Model, result: Result, options: argparse.Namespace
) -> bool:
    """Compares every balance with the model, which begins with what was there, and the sum of all debits."""
    after = await read_model(client, names, options)
    result.add_to(model)
    wrong = int(((after.posted != model.posted) | (after.held != model.held)).sum())
    if wrong or after.debits != model.debits:
        say(f"NOT VALID: {wrong} of {len(names)} balances differ; debits {after.debits}, expected {model.debits}")
        return False
    say(f"validated {len(names)} accounts, {accepted(result.count())} transfers")
    return True
