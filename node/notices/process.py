"""Of the node's own process: its start and end, its disk, what it sheds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum, unique
from typing import ClassVar

from node.notices.notice import Level, Notice


@unique
class StopCause(StrEnum):
    """Why a node has stopped."""

    asked = "asked"  # by a signal
    disk_full = "disk full"
    disk_failed = "disk failed"  # a write or an fsync: nobody knows what is on disk, a restart finds out
    damaged = "damaged"  # a file of its folder cannot be believed any more
    folder = "folder"  # before it has served: the folder is another one's, of another version, or cannot be read
    version = "version"  # a peer has sent what another version of this program writes
    not_admitted = "not admitted"  # its peers do not let it take part
    settings = "settings"  # of the node, or of the system for it
    outside = "outside"  # the system refused something else: an address, a file
    broken = "broken"  # an invariant: a fault of the program, with a trace


@unique
class Shed(StrEnum):
    """What was full, or slow, when requests were refused."""

    connection = "connection"  # one connection has as much under way as it may; the others do not notice
    node = "node"  # all of them together
    slow = "slow"  # the node's disk or loop stands still: it takes no new work
    queue = "queue"  # after admission: a shard's, the coordinator's, the lock desk's; or it gave up waiting in one


@dataclass(frozen=True, slots=True)
class Starting(Notice):
    """The process begins to read its data folder."""

    version: str  # of the program
    protocol: int  # the version that it speaks
    cluster: str  # `name/identity`; the name alone while the folder belongs to none
    folder: str
    is_new: bool  # whether this start has made the folder


@dataclass(frozen=True, slots=True)
class NodeRestored(Notice):
    """All the node's replicas are read. What the logs have after the checkpoints is applied as soon as leaders say that it is committed."""

    replicas: int
    entries: int  # after their checkpoints
    seconds: float


@dataclass(frozen=True, slots=True)
class ReplicaRestored(Notice):
    """One shard's replica is read."""

    group: int
    checkpoint: int  # index that the checkpoint stands for
    entries: int  # after it
    term: int


@dataclass(frozen=True, slots=True)
class Serving(Notice):
    """The node belongs to its cluster, listens and takes clients."""

    address: str
    seconds: float  # since it began


@dataclass(frozen=True, slots=True)
class Stopping(Notice):
    """The node was asked to stop, and gives away what it leads first."""


@dataclass(frozen=True, slots=True)
class Stopped(Notice):
    """The process ends after a graceful stop."""

    seconds: float  # since it was asked


@dataclass(frozen=True, slots=True)
class StoppedByItself(Notice):
    """The process ends since it must not go on."""

    level: ClassVar[Level] = Level.error
    cause: StopCause
    reason: str  # with the remedy, where there is one
    trace: str | None  # of a broken invariant


@dataclass(frozen=True, slots=True)
class RefusedToStart(Notice):
    """The process ends before it has served anybody."""

    level: ClassVar[Level] = Level.error
    cause: StopCause
    reason: str
    trace: str | None = None


@dataclass(frozen=True, slots=True)
class Unexpected(Notice):
    """The event loop complains, and names no exception."""

    level: ClassVar[Level] = Level.error
    reason: str


@dataclass(frozen=True, slots=True)
class ShedBegun(Notice):
    """Requests are refused with `busy`, or payments left undone; nothing more is said until that has ended."""

    level: ClassVar[Level] = Level.warning
    what: Shed
    reason: str  # of the first one


@dataclass(frozen=True, slots=True)
class ShedEnded(Notice):
    """No request was refused for a while."""

    what: Shed
    requests: int  # that were refused
    seconds: float  # from the first to the last of them


@dataclass(frozen=True, slots=True)
class DiskSlow(Notice):
    """A write of the log stands still; a node whose disk does so for longer gives up what it leads."""

    level: ClassVar[Level] = Level.warning
    seconds: float  # that it has taken until now


@dataclass(frozen=True, slots=True)
class DiskWell(Notice):
    """No write has taken long for a while."""

    writes: int  # that had
    longest_seconds: float
    seconds: float  # from the first to the last of them


@dataclass(frozen=True, slots=True)
class StoodStill(Notice):
    """The process did nothing: it was paused, or the machine had no time for it; peers may have taken it for gone."""

    level: ClassVar[Level] = Level.warning
    seconds: float


@dataclass(frozen=True, slots=True)
class RunsInTime(Notice):
    """The process has not stood still for a while."""

    times: int  # that it had
    longest_seconds: float
    seconds: float  # from the first to the last of them


@dataclass(frozen=True, slots=True)
class LogFileMissing(Notice):
    """One of the two files of the log is gone; what the other one tells counts."""

    level: ClassVar[Level] = Level.warning
    file: str


@dataclass(frozen=True, slots=True)
class LogRowsDamaged(Notice):
    """Rows of the log's own tables count as none; what they said, the other file may tell."""

    level: ClassVar[Level] = Level.warning
    table: str
    rows: int
    first: str


@dataclass(frozen=True, slots=True)
class AddressChanged(Notice):
    """The settings name another address than at the last start: all nodes must have the same ones, or they do not meet."""

    level: ClassVar[Level] = Level.warning
    before: str
    now: str


@dataclass(frozen=True, slots=True)
class MemoryDamaged(Notice):
    """What this node remembered of its peers' acknowledgements is forgotten: it is a poorer witness of old folders."""

    level: ClassVar[Level] = Level.warning
    file: str


@dataclass(frozen=True, slots=True)
class MemoryUnsaved(Notice):
    """The disk does not take what is remembered of peers; it is tried again and again."""

    level: ClassVar[Level] = Level.error
    reason: str


@dataclass(frozen=True, slots=True)
class MemorySaved(Notice):
    """The disk has taken again what is remembered of peers."""
