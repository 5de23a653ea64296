"""All that a node is given of the outside."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from node.actors.session import CLIENTS_MAX, STRANGERS_MAX
from node.ports import Clock, Faults, LogStore, NodeFolder, OperatorLog, PeerMemory, ShardStore, StartBook, Transport


@dataclass(frozen=True, slots=True)
class Adapters:
    """The outside of a node."""

    transport: Transport
    log: LogStore
    shard: Callable[[int], ShardStore]
    clock: Clock
    random: random.Random
    folder: NodeFolder
    starts: StartBook
    peers: PeerMemory
    operator: OperatorLog
    is_moved: bool = False  # the operator answers for it that the data folder is the last one that this node had
    connections_max: int = CLIENTS_MAX + STRANGERS_MAX  # that the system lets this process have
    faults: Faults | None = None  # in a cluster under test
