"""What a replica is connected to, and how it looks from outside."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from node.actors.events import Query
from node.actors.reading import Shelf
from node.core.raft import Message, NodeId
from node.ports import Clock, LogWrite, OperatorLog
from protocol.messages import SnapshotPiece


@dataclass(frozen=True, slots=True)
class ReplicaPorts:
    """What a replica is connected to."""

    node: int
    clock: Clock
    true_ns: Callable[[], int]  # nanoseconds since 1970, as far as the nodes agree on it
    send: Callable[[NodeId, int, Message], None]  # to a peer's replica of the group
    send_piece: Callable[[NodeId, SnapshotPiece], Coroutine[Any, Any, int | None]]  # None unless the peer has stored it
    write: Callable[[LogWrite, Callable[[], None]], None]  # to the log writer
    leads: Callable[[int, int, int, bool], None]  # group, leader, term, whether this node serves it now
    applied: Callable[[int], None]  # an entry of the group, behind its answers
    spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]
    is_up: Callable[[int], bool]  # whether a node is connected
    hurry: Callable[[int], None]  # tells the coordinator that somebody waits for a decision in this group
    read: Callable[[Shelf, Query], None]  # answers a question that takes its time
    operator: OperatorLog
    tick_seconds: float


@dataclass(frozen=True, slots=True)
class ReplicaStatistics:
    """A replica at a glance."""

    group: int
    role: str
    term: int
    leader: int
    commit: int
    applied: int
    first_index: int
    last_index: int
    waiting: int
    refused: int
    is_recovering: bool
