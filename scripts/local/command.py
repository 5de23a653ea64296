"""Runs a cluster on this machine: real node processes, their data, logs and pid files in one folder.

Examples:
  scripts/cluster up --nodes 5 --shards 16   start, return when it serves; again: start what does not run
  scripts/cluster status -o json             who runs, who leads
  scripts/cluster logs                       what happened on all nodes, in the order of time; logs 2: on node 2
  scripts/cluster kill 2                     SIGKILL node 2; start 2 brings it back
  scripts/cluster replace 2                  node 2's data is lost or damaged: bring it back with an empty folder
  scripts/cluster partition 1,2 3,4,5        after `up --faults`: the two groups hear nothing of each other; heal ends it
  scripts/cluster cut 1 2                    the link between the two goes silent, no connection is closed; --one-way, heal
  scripts/cluster down                       stop all; clean deletes the data

Exit codes: 0 done, 1 failed, 2 usage, 4 (status) all shards are led, but a node does not answer or a replica recovers.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import uvloop

from node.cli.arguments import PORT_MAX, Parser, integer, make_parser, natural, token_text
from node.cli.health import health
from node.cli.output import EXIT_FAILED, complain, say, show
from node.cli.program import EXIT_INTERRUPTED
from node.notices import Level
from protocol.messages import full_name
from protocol.placement import NODES_MAX, SHARDS_MAX
from scripts.local.cluster import LocalCluster
from scripts.local.faults import cut_link, heal, partition
from scripts.local.folder import MARKER, ClusterError, alone, open_folder
from scripts.local.logs import show_events, show_logs
from scripts.local.making import USUAL_PORT, create, open_cluster
from scripts.local.replace import identity_of, replace

READING = ("status", "logs")  # they need not wait for a command that changes something


def main() -> int:
    """The exit code."""
    options = parse()
    try:
        if options.command in READING:
            return read(options)
        if options.command == "up":
            options.dir.mkdir(parents=True, exist_ok=True)
        else:
            open_folder(options.dir)  # before its lock is taken
        with alone(options.dir, complain):
            return up(options) if options.command == "up" else act(options)
    except (ClusterError, OSError) as error:
        complain(str(error))
        return EXIT_FAILED
    except KeyboardInterrupt:
        rest = "; what was started is stopped again" if options.command in ("up", "start") else ""
        complain(f"interrupted{rest}")
        return EXIT_INTERRUPTED


def parse() -> argparse.Namespace:
    """The command line."""
    parser = make_parser(__doc__ or "")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    shared = Parser(add_help=False)
    shared.add_argument("--dir", type=Path, default=Path(".cluster"), help="the cluster's folder (.cluster)")

    def add(name: str, text: str) -> Parser:
        return commands.add_parser(name, help=text, description=text, parents=[shared])

    start_all = add("up", "Starts all nodes and returns when they serve.")
    start_all.add_argument("--nodes", type=integer(1, NODES_MAX), help="how many (5)")
    start_all.add_argument("--shards", type=integer(1, SHARDS_MAX), help="arcs of the ring (16)")
    start_all.add_argument("--replication", type=integer(1, NODES_MAX), help="replicas of a shard (3)")
    start_all.add_argument(
        "--base-port", type=integer(1, PORT_MAX), help=f"node N listens on this + N - 1 ({USUAL_PORT})"
    )
    start_all.add_argument("--client-token", type=token_text, help="that clients must show, in RINGPAY_TOKEN (none)")
    start_all.add_argument("--faults", action="store_true", help="let the nodes be partitioned, for tests (no)")
    status = add("status", "Asks every node and shows it; the exit code tells what is missing.")
    status.add_argument("-o", dest="form", choices=("table", "json"), default="table")
    for name, text in (
        ("kill", "Kills a node with SIGKILL."), ("stop", "Stops a node with SIGTERM."), ("start", "Starts a node."),
        ("replace", "Brings a node back whose data folder is lost or damaged, with an empty one; run it again if it is interrupted."),
        ("pause", "Freezes a node."), ("resume", "Lets a frozen node go on."),
    ):  # fmt: skip
        one = add(name, text)
        one.add_argument("node", type=node_number)
        if name == "start":
            one.add_argument(
                "--moved", action="store_true", help="its data folder is the last one that the node had, and was only moved: trust it,"
                " though a node that could confirm that is gone for good (no); with an older copy payments can be lost",
            )  # fmt: skip
    logs = add("logs", "Shows the operator's logs of some nodes as one, in the order of time.")
    logs.add_argument("nodes", nargs="*", type=node_number, metavar="node", help="whose (all)")
    logs.add_argument("--lines", type=natural, default=50, help="the last ones (50)")
    logs.add_argument(
        "--level", choices=[level.value for level in Level], default="debug", help="and what asks for more (debug)"
    )
    logs.add_argument("--follow", "-f", action="store_true", help="go on with what comes, until interrupted (no)")
    logs.add_argument(
        "-o", dest="form", choices=("text", "json"), default="text", help="as they stand in the files: json"
    )
    logs.add_argument(
        "--events",
        action="store_true",
        help="show instead which events there are, and what they mean; group N is shard N, 0 the cluster's own",
    )
    parts = add("partition", "Cuts the network between groups of nodes; those not named form a group.")
    parts.add_argument("groups", nargs="+", type=group, metavar="NODE,NODE", help="nodes that hear each other")
    link = add("cut", "Cuts the link between two nodes in silence; no connection is closed.")
    link.add_argument("first", type=node_number)
    link.add_argument("second", type=node_number)
    link.add_argument("--one-way", action="store_true", help="the first still hears the second (no)")
    add("heal", "Ends all partitions and cuts.")
    add("down", "Stops all nodes.")
    add("clean", "Deletes the data, logs and settings that were made here.")
    return parser.parse_args()


node_number = integer(1, NODES_MAX)


def group(text: str) -> list[int]:
    """Nodes that hear each other."""
    return [node_number(number) for number in text.split(",")]


def up(options: argparse.Namespace) -> int:
    """Creates the cluster where it is not there yet, and starts what does not run."""
    given = {
        name: value
        for name in ("nodes", "shards", "replication", "base_port")
        if (value := getattr(options, name)) is not None
    }
    is_new = not (options.dir / MARKER).is_file()
    cluster = make(options, given) if is_new else open_cluster(options.dir)
    if options.faults:
        cluster.check_fault_switch()
    if options.client_token not in (None, cluster.config.security.client_token):
        raise ClusterError(f"{cluster.folder} has another client token; {cluster.renewal}, or choose another --dir")
    for name, value in given.items():
        if (found := getattr(cluster.config.cluster, name)) != value:
            raise ClusterError(f"{cluster.folder} has {name} {found}; {cluster.renewal}, or choose another --dir")
    wanted = [node.number for node in cluster.nodes() if node.state() != "running"]
    try:
        cluster.check_startable(wanted)
    except ClusterError:
        if is_new:
            cluster.clean()
        raise
    with cluster.started(wanted):
        uvloop.run(cluster.wait_until_serving())
    settings = cluster.config.cluster
    say(f"serving    nodes {settings.nodes}, shards {settings.shards}, replicas of each {settings.replication}")
    say(f"cluster    {full_name(settings.name, identity_of(cluster.node(1).data)[1])}")
    say(f"addresses  {','.join(cluster.addresses)}")
    say(f"data, logs {cluster.folder}")
    return 0


def make(options: argparse.Namespace, given: dict[str, int]) -> LocalCluster:
    """A new cluster with the settings given."""
    few = {"replication": min(3, given["nodes"])} if "nodes" in given else {}
    return create(
        options.dir, {**few, **given, "fault_switch": options.faults, "client_token": options.client_token or ""}
    )


def act(options: argparse.Namespace) -> int:
    """One command that changes a cluster that is there. What ends nodes reads no settings: they may be wrong by now."""
    folder = open_folder(options.dir)
    match options.command:
        case "kill":
            folder.kill(options.node)
        case "stop":
            folder.stop(options.node)
        case "pause":
            folder.pause(options.node)
        case "resume":
            folder.resume(options.node)
        case "down":
            folder.down()
        case "clean":
            folder.clean()
        case "start":
            cluster = open_cluster(options.dir)
            with cluster.started([options.node], *(["--moved"] if options.moved else [])):
                waiting = uvloop.run(cluster.wait_until_answering(options.node))
            if waiting:
                complain(f"node {options.node} runs, and waits: {waiting}")
        case "replace":
            uvloop.run(replace(open_cluster(options.dir), options.node, say))
        case "partition":
            uvloop.run(partition(open_cluster(options.dir), options.groups))
        case "cut":
            uvloop.run(cut_link(open_cluster(options.dir), options.first, options.second, one_way=options.one_way))
        case "heal":
            uvloop.run(heal(open_cluster(options.dir)))
    return 0


def read(options: argparse.Namespace) -> int:
    """One command that changes nothing."""
    if options.command == "status":
        return status_of(open_cluster(options.dir), options.form)
    if options.events:
        show_events()
        return 0
    folder = open_folder(options.dir)
    nodes = [folder.node(number) for number in dict.fromkeys(options.nodes or folder.numbers)]
    logs = {node.number: node.log for node in nodes if node.log.exists()}
    show_logs(logs, options.lines, Level(options.level), options.form, follows=options.follow)
    return 0


def status_of(cluster: LocalCluster, form: str) -> int:
    """Prints one row a node, and on standard error what is missing."""
    view = uvloop.run(cluster.view())
    leaders = [leader if leader in view.answering else 0 for leader in view.leaders]
    silent = [number for number in cluster.numbers if number not in view.answering]
    rows = [
        {
            "node": node.number,
            "address": address,
            "state": "silent" if node.number in silent and node.state() == "running" else node.state(),
            "pid": node.pid(),
            "leads": leaders[1:].count(node.number),
            "coordinator": leaders[0] == node.number,
            "recovering": len(view.recovering.get(node.number, ())),
        }
        for node, address in zip(cluster.nodes(), cluster.addresses, strict=True)
    ]
    show(rows, form)
    code, text = health(cluster.config.cluster.shards, view.leaderless, silent, view.recovering)
    if all(node.state() == "stopped" for node in cluster.nodes()):
        text = "no node runs; use up"
    if text:
        complain(text)
    for reason in dict.fromkeys(view.waiting.values()):
        complain(reason)
    return code
