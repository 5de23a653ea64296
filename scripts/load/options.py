"""What `bench` can be told, checked."""

from __future__ import annotations

import argparse

from node.cli.arguments import PORT_MAX, Parser, addresses, integer, make_parser, natural, positive, token
from protocol.columns import COMMIT_PROTOCOLS
from protocol.placement import NODES_MAX, SHARDS_MAX
from protocol.status import TRANSFERS_MAX
from scripts.load.workload import DISTRIBUTIONS, ID_ORDERS

BATCHED_TRANSFERS = 1_000_000  # without --transfer-count
SINGLE_TRANSFERS = 20_000  # the same for requests of few transfers
FEW = 100  # transfers a request that count as few
ACCOUNTS_MAX = 10_000_000  # hundreds of bytes each, in every node and here
LOCKS_MAX = 100_000  # clients that queue
DELAY_US_MAX = 1_000_000_000  # a quarter of an hour
CLIENTS_MAX = 1_000  # a connection each to every node: a process has about so many files
IN_FLIGHT_MAX = 1_000  # that a connection takes
KILLS_MAX = 1_000  # some seconds each
RUNS, RUNS_MAX = 5, 1_000  # of each side of --beside
GUIDE = """Measures a cluster with the flags and the output lines that users of TigerBeetle's benchmark know.

Starts a cluster of its own in a fresh folder, and deletes it afterwards, unless --addresses names one (RINGPAY_TOKEN is
shown to it). The load is made beforehand: up to a million transfers, which a longer load sends again under new ids.
--beside COMMIT runs the same load by turns here and on the tree of that commit, with its own nodes and client.

Examples:
  scripts/bench --nodes 3 --shards 1                                          batches of 8,192
  scripts/bench --nodes 3 --shards 16 --cross-shard-percent 94                commit rounds over shards
  scripts/bench --nodes 3 --shards 1 --transfer-batch-count 1 --in-flight 64  one transfer a request
  scripts/bench --nodes 3 --shards 1 --transfer-batch-count 1 --in-flight 1   one at a time
  scripts/bench --nodes 3 --shards 1 --subscriber                             somebody follows all transfers meanwhile
  scripts/bench --nodes 3 --shards 1 --kill-leader 20                         gaps and starts while leaders die
  scripts/bench --nodes 3 --shards 16 --kill-coordinator 20                   the same for commit rounds
  scripts/bench --nodes 3 --locks 1000                                        clients that queue for one lock
  scripts/bench --nodes 3 --shards 16 --contention                            1 to 64 clients that change one account
  scripts/bench --beside HEAD~20 --runs 5 --nodes 3 --shards 1                medians of five runs each, and the ratio

Exit codes: 0 done, 1 failed or not valid, 2 usage.
"""


def parse() -> argparse.Namespace:
    """The command line, checked."""
    parser = make_parser(GUIDE)
    add = parser.add_argument
    a_request, percent, kills = integer(1, TRANSFERS_MAX), integer(0, 100), integer(0, KILLS_MAX)
    add("--addresses", type=addresses, help="host:port,... of a running cluster; without it one is started")
    add("--base-port", type=integer(1, PORT_MAX), help="of the cluster that is started (a free one)")
    add("--beside", metavar="COMMIT", help="measure that commit too, by turns")
    add("--runs", type=integer(1, RUNS_MAX), default=RUNS, help=f"of each side of --beside ({RUNS})")
    add("--nodes", type=integer(1, NODES_MAX), default=3, help="of the cluster that is started (3)")
    add("--shards", type=integer(1, SHARDS_MAX), default=1, help="of the cluster that is started (1)")
    add("--account-count", type=integer(2, ACCOUNTS_MAX), default=10_000, help="(10000)")
    add("--account-count-hot", type=natural, default=0, help="accounts that --transfer-hot-percent debits (0)")
    add("--account-distribution", choices=DISTRIBUTIONS, default="uniform")
    add("--account-batch-count", type=a_request, default=TRANSFERS_MAX, help=f"accounts a request ({TRANSFERS_MAX})")
    add("--transfer-batch-count", type=a_request, default=TRANSFERS_MAX, help=f"transfers a request ({TRANSFERS_MAX})")
    add("--transfer-count", type=positive, help="in all (1000000; 20000 in small requests)")
    add("--transfer-hot-percent", type=percent, default=100, help="transfers that debit a hot account (100)")
    add("--transfer-pending", action="store_true", help="holds instead of transfers")
    add("--transfer-batch-delay-us", type=integer(0, DELAY_US_MAX), default=0, help="pause after each answer (0)")
    add("--query-count", type=natural, default=100, help="pages of history read afterwards (100)")
    add("--id-order", choices=ID_ORDERS, default="tbid", help="of transfer ids; tbid sorts by time")
    add("--clients", type=integer(1, CLIENTS_MAX), default=1, help="in this process, each with its own connections (1)")
    add("--in-flight", type=integer(1, IN_FLIGHT_MAX), default=4, help="requests under way for each client (4)")
    add("--seed", type=natural, default=42)
    add("--validate", action="store_true", help="compare every balance with a model")
    add("--print-batch-timings", action="store_true")
    add("--cross-shard-percent", type=percent, help="transfers between two shards (by chance)")
    add("--hot-credit", action="store_true", help="every transfer credits one account")
    add("--split", action="store_true", help="that account is split: one share a shard")
    add("--allowances", action="store_true", help="every account has an allowance, which the load does not reach")
    add("--subscriber", action="store_true", help="one follows all transfers; how far behind it is at the end")
    add("--commit", choices=COMMIT_PROTOCOLS, help="protocol between shards (the cluster's)")
    add("--kill-leader", type=kills, default=0, metavar="N", help="kill a busy shard's leader N times under load")
    add("--kill-coordinator", type=kills, default=0, metavar="N", help="kill the coordinator N times under load")
    add("--contention", action="store_true", help="only measure clients that all change one account, in three ways")
    add("--locks", type=integer(0, LOCKS_MAX), default=0, metavar="N", help="only let N clients queue for one lock")
    add("--memory", action="store_true", help="print the memory of each node before and after")
    options = parser.parse_args()
    options.token = token(parser)
    if options.transfer_count is None:
        options.transfer_count = BATCHED_TRANSFERS if options.transfer_batch_count > FEW else SINGLE_TRANSFERS
    _check(parser, options)
    return options


def _check(parser: Parser, options: argparse.Namespace) -> None:
    """Ends the program where options do not go together."""
    killed = options.kill_leader + options.kill_coordinator
    rules = (
        (options.hot_credit or not options.split, "--split is about the account of --hot-credit"),
        (options.account_count_hot <= options.account_count, "--account-count-hot is above --account-count"),
        (not (options.kill_leader and options.kill_coordinator), "--kill-leader or --kill-coordinator, not both"),
        (not (options.subscriber and options.transfer_pending), "--subscriber is told of transfers, not of holds"),
        (not (killed and options.nodes < 3), "kills need 3 nodes or more"),
        (not (options.addresses and killed), "kills take a cluster of its own, not --addresses"),
        (not (options.addresses and options.memory), "--memory takes a cluster of its own, not --addresses"),
        (not (options.addresses and options.beside), "--beside takes clusters of its own, not --addresses"),
        (not (options.addresses and options.base_port), "--base-port is of a cluster of its own, not --addresses"),
        ((options.base_port or 0) + options.nodes - 1 <= PORT_MAX, f"--base-port: expected ports up to {PORT_MAX} for all nodes"),
    )  # fmt: skip
    for holds, text in rules:
        if not holds:
            parser.error(text)
