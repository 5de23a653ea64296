"""`cluster replace N`: brings a node back whose data folder is lost or damaged, with an empty one.

Each step is asked of the cluster, which knows how far it is, and none is taken twice: whoever was interrupted runs the command again.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path

from node.core.members import MemberState
from protocol.answers import Replacement
from protocol.errors import ProtocolError
from protocol.operations import Operation
from protocol.placement import called
from protocol.requests import ReplaceRequest
from scripts.local.cluster import LocalCluster
from scripts.local.folder import DATA_SECONDS, ClusterError
from scripts.local.processes import NodeProcess

ASK_SECONDS = 3.0  # one node, which finds the coordinator
ANSWER_SECONDS = 20.0  # for any node to answer: the cluster may just be electing
STUCK_SECONDS = 60.0  # without a step forward: a busy machine, and a node that has to be sent everything
POLL_SECONDS = 0.2


async def replace(cluster: LocalCluster, number: int, say: Callable[[str], None]) -> None:
    """Returns when the node has its place again in all of its shards. Raises ClusterError."""
    node = cluster.node(number)
    if node.state() != "stopped":
        raise ClusterError(f"node {number} runs; stop it first (stop {number}, or kill {number})")
    if not node.wait_until_data_is_free(DATA_SECONDS):
        raise ClusterError(f"a process holds {node.data}; end it first: pgrep -f {node.data} finds it")
    told = await _told(cluster, number, 0)
    state, is_other = told.state, identity_of(node.data)[0] != told.data_id
    if state == MemberState.member or (state == MemberState.joining and is_other):
        state = (await _told(cluster, number, told.data_id)).state
    if state == MemberState.leaving:
        await _watch(cluster, node, MemberState.vacant, "out", "let go", say)
        state = MemberState.vacant
    belongs = identity_of(node.data)[1]  # a new folder belongs to no cluster yet
    if state == MemberState.vacant and belongs and node.data.exists():
        say(f"node {number}: the old data folder is kept as {_set_aside(node)}")
    with cluster.started([number]):
        await _watch(cluster, node, MemberState.member, "voter", "taken in", say)
    say(f"node {number} has its place again")


async def _watch(
    cluster: LocalCluster, node: NodeProcess, wanted: int, standing: str, done: str, say: Callable[[str], None]
) -> None:
    """Shows how many of the node's replicas are `done`, until the cluster says that all are."""
    shown, deadline = -1, time.monotonic() + STUCK_SECONDS
    while True:
        told = await _told(cluster, node.number, 0)
        state, standings = told.state, told.standings
        if wanted == MemberState.member and node.pid() is None:
            raise ClusterError(f"node {node.number} stopped; see {node.log}, then run the command again")
        ready = sum(found == standing for found in standings.values())
        if state == wanted:
            ready = len(standings)
        if ready != shown:
            say(f"node {node.number}: {ready} of {len(standings)} replicas {done}")
            shown, deadline = ready, time.monotonic() + STUCK_SECONDS
        if state == wanted:
            return
        if time.monotonic() > deadline:
            left = {group: found for group, found in standings.items() if found != standing}
            rest = ", ".join(f"{called(group)}: {found or 'no answer'}" for group, found in left.items())
            raise ClusterError(f"node {node.number} does not get on ({rest}); {_remedy(cluster, node.number)}")
        await asyncio.sleep(POLL_SECONDS)


async def _told(cluster: LocalCluster, number: int, data_id: int) -> Replacement:
    """How the node stands; with a data id, the replacement of that folder begins. Raises ClusterError."""
    asked = ReplaceRequest(number, data_id)
    deadline, reason = time.monotonic() + ANSWER_SECONDS, "none of them runs"
    while time.monotonic() < deadline:
        for other in cluster.numbers:
            if other == number or cluster.node(other).state() != "running":
                continue
            try:
                answer = await cluster.ask(other, Operation.replace_node, asked.pack(), ASK_SECONDS)
                return Replacement.unpack(answer)
            except ProtocolError as error:
                if not error.code.is_transient:
                    raise ClusterError(str(error)) from error
                reason = str(error)
            except (OSError, TimeoutError) as error:
                reason = str(error) or "no answer in time"
        await asyncio.sleep(POLL_SECONDS)
    raise ClusterError(f"no other node says how node {number} stands ({reason}); {_remedy(cluster, number)}")


def _remedy(cluster: LocalCluster, number: int) -> str:
    """What to do where groups have no leader without the node."""
    down = [str(node.number) for node in cluster.nodes() if node.number != number and node.state() != "running"]
    if down:
        return f"start nodes {', '.join(down)} first, then run the command again"
    return (
        "all others run, but a majority of a shard has to agree, and some cannot: scripts/cluster status says what they wait for; "
        "where too many have lost the end of their log, only the newest data folder of one that had all of it, and of no other, helps"
    )


def identity_of(folder: Path) -> tuple[int, int]:
    """The folder's data id, and the identity of the cluster that it belongs to; -1 each where it cannot be told."""
    try:
        found = json.loads((folder / "node.json").read_bytes())
        data_id, identity = found["data_id"], found["identity"]
    except (OSError, ValueError, RecursionError, TypeError, KeyError):
        return -1, -1
    return (data_id, identity) if type(data_id) is int and type(identity) is int else (-1, -1)


def _set_aside(node: NodeProcess) -> Path:
    """Keeps the old folder under another name."""
    for count in range(1, 1_000):
        kept = node.data.with_name(f"{node.data.name}.lost-{count}")
        if not kept.exists():
            return node.data.rename(kept)
    raise ClusterError(f"{node.data}.lost-1 to 999 are there; delete them")
