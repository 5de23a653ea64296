"""The events of a replica: a closed union."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum, unique

from node.actors.actor import Failed, Reply
from node.core.machine import Body, Loaded, Machine, Merging
from node.core.raft import Membership, MembershipChange, Message, Persist, SnapshotMeta


@dataclass(slots=True)
class Command:
    """A part's command from a client. Those with the same `merging` become one command of the log with their neighbours."""

    part: str
    body: Body
    reply: Reply
    deadline: float  # monotonic seconds; after it the client has given up
    size: int = 1  # transfers in it
    source: int = 0  # the connection that it came on, 0 for this node itself
    merging: Merging | None = None
    loaded: Loaded = field(default_factory=dict)
    was_tried: bool = False  # an entry has held it, so that rows of it may have happened

    def fail(self, failed: Failed) -> None:
        """Replies with a failure of the attempt that came last."""
        self.reply(replace(failed, may_have_happened=True) if self.was_tried else failed)


@dataclass(slots=True)
class Propose:
    """A request of the machine itself: round, epoch or mark from the coordinator, or what the time asks for."""

    request: Body
    reply: Reply
    loaded: Loaded = field(default_factory=dict)


@dataclass(slots=True)
class Query:
    """A question. Linearizable unless `stale`; it waits for what is undecided until its deadline."""

    part: str
    body: Body
    reply: Reply
    deadline: float
    stale: bool = False
    source: int = 0  # the connection that it came on, 0 for this node itself
    is_heavy: bool = False  # takes more than a moment even where all is in memory
    is_early: bool = False  # what has been applied here answers it, without a read point, if that has news
    until: float = 0.0  # monotonic seconds: until then it waits for news if there is none
    loaded: Loaded = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MembershipQuery:
    """Who belongs to the group, by all that had been committed when this was asked."""

    answer: Callable[[Membership], None]
    reply: Reply  # of a failure


@dataclass(frozen=True, slots=True)
class Received:
    """A message of this group's log from a peer."""

    message: Message


@dataclass(frozen=True, slots=True)
class Persisted:
    """What the log writer was given is on disk."""

    persist: Persist


@dataclass(frozen=True, slots=True)
class Ticked:
    """The node's clock has ticked."""

    is_disk_stalled: bool = False  # a write to the log takes longer than an election may
    is_clock_off: bool = False  # a majority's clocks say that this node's is wrong


@dataclass(frozen=True, slots=True)
class PeerLost:
    """The connection of a peer's process broke."""

    node: int


@dataclass(frozen=True, slots=True)
class LoadedRows:
    """Rows that a command was waiting for."""

    item: Command | Propose
    loaded: Loaded  # with what it had before


@dataclass(frozen=True, slots=True)
class Checkpointed:
    """The shard's file holds the state of this machine at `meta.index`."""

    machine: Machine
    meta: SnapshotMeta


@dataclass(frozen=True, slots=True)
class Exported:
    """A snapshot has been streamed to a peer, or that failed."""

    message: Message  # the log's snapshot message, to be sent behind the data
    is_complete: bool


@unique
class Move(StrEnum):
    """Why a leadership is to move, as people are told."""

    home = "that node is the group's home"
    clock = "the clock here is far off"
    stop = "this node stops"


@dataclass(frozen=True, slots=True)
class Lead:
    """Ask this node to hand the group's leadership to `node`."""

    node: int
    reason: Move = Move.home


@dataclass(frozen=True, slots=True)
class ChangeMembership:
    """Who belongs to the group shall change; nothing happens unless this replica serves and no other change has been made."""

    change: MembershipChange
    before: Membership  # that it was made for


ReplicaEvent = (
    Command
    | Propose
    | Query
    | MembershipQuery
    | Received
    | Persisted
    | Ticked
    | PeerLost
    | LoadedRows
    | Checkpointed
    | Exported
    | Lead
    | ChangeMembership
)
