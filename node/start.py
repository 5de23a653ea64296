"""Starting a node's process: arguments, data folder, logging, loop, signals."""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import fcntl
import gc
import random
import secrets
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy.ma  # noqa: F401  # else np.unique's first call loads it, perhaps when no file can be opened any more
import uvloop

from node.actors.life import leaves, sentence
from node.actors.members import NotAdmitted
from node.actors.outside import Adapters
from node.adapters import descriptors
from node.adapters.clock import SystemClock
from node.adapters.faults import FaultSwitch, SlowLog
from node.adapters.folder import DataFolder
from node.adapters.operator_log import JsonLines
from node.adapters.sqlite import make_folder
from node.adapters.sqlite_log import SqliteLog
from node.adapters.sqlite_shard import SqliteShard
from node.adapters.starts import PeerFile, StartFile
from node.adapters.tcp import TcpTransport
from node.config import Config, ConfigError, load
from node.daemon import Node
from node.notices import RefusedToStart, StopCause, Unexpected
from node.ports import OperatorLog, StorageFailed

GC_THRESHOLDS = (50_000, 20, 20)  # little here is cyclic; at 700 objects a young collection came with every request
M_ARENA_MAX = -8  # of glibc's mallopt
SWITCH_SECONDS = 0.0002  # the log's thread takes the interpreter lock several times a write; 5 ms each would show
FILES_PER_SHARD = 3  # its database, with a write-ahead log, and what one that is made anew takes
CONNECTIONS_PER_PEER = 3  # each opens one to the other; one that broke may not be gone yet
CONNECTIONS_MIN = 16  # with room for fewer clients a node is of no use
EXIT_REFUSED = 2  # the node did not start: settings or data folder
EXIT_FAILED = 1  # the node stopped by itself: storage or a broken invariant


class CannotStart(Exception):
    """Why a node does not start, in one sentence with the remedy."""


def main(arguments: list[str]) -> int:
    """Runs a node; the exit code."""
    options = _parse(arguments)
    operator = JsonLines(sys.stderr, options.node)
    try:
        _refuse_optimised()
        config = load(options.config)
        operator.least = config.logging.least
        if not 1 <= options.node <= config.cluster.nodes:
            raise CannotStart(f"node {options.node}: expected 1 to {config.cluster.nodes}")
        with _claim(options.data, config, options.node, operator) as identity:
            return _run(config, options.node, options.data, identity, operator, is_moved=options.moved)
    except (ConfigError, CannotStart, StorageFailed) as error:
        cause = StopCause.folder if isinstance(error, StorageFailed) else StopCause.settings
        operator.tell(RefusedToStart(cause, sentence(error, options.node)))
        return _refuse(sentence(error, options.node))


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m node", description="Runs one ringpay node.")
    parser.add_argument("--config", type=Path, required=True, help="cluster.toml, the same for every node")
    parser.add_argument("--node", type=int, required=True, help="this node's number, from 1")
    parser.add_argument("--data", type=Path, required=True, help="this node's data folder")
    parser.add_argument(
        "--moved",
        action="store_true",
        help="the data folder is the last one that this node had; it was only moved (no)",
    )
    return parser.parse_args(arguments)


def _refuse_optimised() -> None:
    if not __debug__:
        raise CannotStart("python -O removes the checks that keep the books right; start without -O")


@contextmanager
def _claim(folder: Path, config: Config, node: int, operator: OperatorLog) -> Iterator[DataFolder]:
    """Locks the data folder, and checks that it is this node's."""
    try:
        make_folder(folder)
        lock = (folder / "lock").open("a+")
    except OSError as error:
        raise CannotStart(f"{folder}: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise CannotStart(f"{folder}: another process uses it") from error
        cluster = config.cluster
        owner = {
            "cluster": cluster.name, "node": node, "shards": cluster.shards, "replication": cluster.replication,
            "nodes": cluster.nodes,
        }  # fmt: skip
        address = cluster.addresses()[node - 1]
        yield DataFolder(folder, owner, f"{address.host}:{address.port}", operator)


def _run(
    config: Config, number: int, folder: Path, identity: DataFolder, operator: OperatorLog, *, is_moved: bool
) -> int:
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.disable()  # until all is restored: nothing of that is garbage, and it would be looked through again and again
    _share_one_heap()
    stamp = f"{config.cluster.name} node {number}"
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve(config, number, folder, identity, stamp, operator, is_moved=is_moved))
    except BaseExceptionGroup as group:  # which the node has told
        found = [error for error in leaves(group) if isinstance(error, NotAdmitted)]
        return _refuse(str(found[0])) if found else EXIT_FAILED
    except (StorageFailed, OSError) as error:
        return _refuse(sentence(error, number))


def _refuse(reason: str) -> int:
    """For whoever has started the node by hand; the operator's log has it too."""
    print(f"refused to start: {reason}", file=sys.stderr)
    return EXIT_REFUSED


async def _serve(
    config: Config,
    number: int,
    folder: Path,
    identity: DataFolder,
    stamp: str,
    operator: OperatorLog,
    *,
    is_moved: bool,
) -> int:
    transport, stored = TcpTransport(), SqliteLog(folder, stamp, operator)
    is_under_test = config.testing.fault_switch
    slow = SlowLog(stored)
    adapters = Adapters(
        transport, slow if is_under_test else stored, lambda group: SqliteShard(folder / f"shard-{group:04d}.db", stamp),
        SystemClock(), random.Random(secrets.randbits(128)), identity, StartFile(folder, identity),
        PeerFile(folder, operator), operator, is_moved, _connections_max(config),
        FaultSwitch(transport, slow) if is_under_test else None,
    )  # fmt: skip
    node = Node(number, config, adapters)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: on_exception(node, operator, context))
    for number_of_signal in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number_of_signal, node.stop)
    running = asyncio.ensure_future(node.run())
    serving = asyncio.ensure_future(node.is_serving.wait())
    await asyncio.wait([running, serving], return_when=asyncio.FIRST_COMPLETED)
    if not running.done():
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        gc.enable()
    serving.cancel()
    await running
    return 0


def _connections_max(config: Config) -> int:
    cluster = config.cluster
    found = descriptors.room(FILES_PER_SHARD * (cluster.shards + 1) + CONNECTIONS_PER_PEER * cluster.nodes)
    if found < CONNECTIONS_MIN:
        text = f"the system lets this process have {CONNECTIONS_MIN - found} open files less than it needs: raise the limit (ulimit -Hn)"
        raise CannotStart(text)
    return found


def on_exception(node: Node, operator: OperatorLog, context: dict[str, Any]) -> None:
    """An exception outside any task is a broken invariant like every other: the node stops, and a restart recovers."""
    error = context.get("exception")
    if error is not None:
        node.fail(error)
    else:
        operator.tell(Unexpected(str(context.get("message"))))


def _share_one_heap() -> None:
    """Keeps glibc from giving each storage thread a heap of its own, which would hold tens of megabytes for nothing."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(M_ARENA_MAX, 1)
