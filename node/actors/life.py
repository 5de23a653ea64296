"""What people are told of a node's process as a whole: how it starts, and how and why it ends."""

from __future__ import annotations

import traceback

from node.actors.episodes import Episode
from node.actors.members import NotAdmitted
from node.actors.outside import Adapters
from node.core.machine import UnknownForm
from node.core.raft import Restored, StoredGroup
from node.notices import (
    LogCutShort,
    NodeRestored,
    RefusedToStart,
    ReplicaRestored,
    RunsInTime,
    Serving,
    Starting,
    StoodStill,
    StopCause,
    Stopped,
    StoppedByItself,
    Stopping,
)
from node.ports import Damaged, DiskFull, StorageFailed
from protocol import __version__
from protocol.messages import PROTOCOL_VERSION, full_name
from protocol.placement import NodeAddress

STILL_SECONDS = 0.5  # beside a tick; hardly less than what makes others campaign, and full load makes it 0.1 s


class Life:
    """Tells of one node; has no task."""

    def __init__(self, node: int, cluster: str, adapters: Adapters) -> None:
        self._node = node
        self._cluster = cluster
        self._folder, self._clock, self._operator = adapters.folder, adapters.clock, adapters.operator
        self._began = self._clock.monotonic()
        self._entries = 0  # after checkpoints, of all groups
        self._has_served = False
        self._asked: float | None = None  # when it was asked to stop
        self._ticked: float | None = None
        self._stillness: Episode | None = None
        self._longest_seconds = 0.0  # of it

    def begins(self) -> None:
        """Tells that the node starts, when nothing has been read but what the folder says of itself."""
        folder, self._began = self._folder, self._clock.monotonic()
        cluster = full_name(self._cluster, folder.identity)
        self._operator.tell(Starting(__version__, PROTOCOL_VERSION, cluster, folder.place, folder.is_new))

    def restored(self, group: int, stored: StoredGroup, found: Restored) -> None:
        """Tells what a replica is made of, and whether stored entries were left out because they continue no chain."""
        checkpoint, kept = found.snapshot.index, len(found.entries)
        dropped = sum(entry.index > checkpoint for entry in stored.entries) - kept
        self._entries += kept
        if dropped:
            self._operator.tell(LogCutShort(group, kept, dropped))
        self._operator.tell(ReplicaRestored(group, checkpoint, kept, found.hard_state.term))

    def all_restored(self, groups: int) -> None:
        """Tells that every group's replica is made."""
        self._operator.tell(NodeRestored(groups, self._entries, self._seconds()))

    def serves(self, address: NodeAddress | None) -> None:
        """Tells that the node belongs to its cluster and takes clients."""
        self._has_served = True
        self._operator.tell(Serving(f"{address.host}:{address.port}" if address else "", self._seconds()))

    def tick(self, tick_seconds: float) -> None:
        """Call it every tick, which is so long: how late that happens tells how long the process stood still."""
        now = self._clock.monotonic()
        late_seconds = 0.0 if self._ticked is None else now - self._ticked - tick_seconds
        self._ticked = now
        if late_seconds > STILL_SECONDS:
            if self._stillness is None:
                self._stillness, self._longest_seconds = Episode(now - late_seconds, now), 0.0
                self._operator.tell(StoodStill(late_seconds))
            self._stillness.again(now)
            self._longest_seconds = max(self._longest_seconds, late_seconds)
        elif self._stillness is not None and self._stillness.is_over(now):
            times, seconds, self._stillness = self._stillness.count, self._stillness.seconds, None
            self._operator.tell(RunsInTime(times, self._longest_seconds, seconds))

    def asked_to_stop(self) -> None:
        """Tells once that the node is to stop, however many signals say so."""
        if self._asked is None:
            self._asked = self._clock.monotonic()
            self._operator.tell(Stopping())

    def ends(self) -> None:
        """Tells that the node has stopped as it was asked to."""
        assert self._asked is not None, "whatever else ends a node is an exception"
        self._operator.tell(Stopped(self._clock.monotonic() - self._asked))

    def failed(self, error: Exception) -> None:
        """Tells why the node must not go on, or does not start."""
        first = leaves(error)[0]
        cause, reason = _cause(first, has_served=self._has_served), sentence(first, self._node)
        trace = "".join(traceback.format_exception(error)) if cause is StopCause.broken else None
        kind = StoppedByItself if self._has_served else RefusedToStart
        self._operator.tell(kind(cause, reason, trace))

    def _seconds(self) -> float:
        return self._clock.monotonic() - self._began


def _cause(error: BaseException, *, has_served: bool) -> StopCause:
    match error:
        case NotAdmitted():
            return StopCause.not_admitted
        case UnknownForm():
            return StopCause.version
        case DiskFull():
            return StopCause.disk_full
        case Damaged():
            return StopCause.damaged
        case StorageFailed():
            return StopCause.disk_failed if has_served else StopCause.folder
        case OSError():
            return StopCause.outside
        case _:
            return StopCause.broken


def sentence(error: BaseException, node: int) -> str:
    """What is wrong, and where the folder is beyond repair, what brings the node back."""
    remedy = f"; scripts/cluster replace {node} brings the node back with an empty folder, from what the others have"
    return f"{str(error) or type(error).__name__}{remedy if isinstance(error, Damaged) else ''}"


def leaves(error: BaseException) -> list[BaseException]:
    """The errors of a group, or the error itself."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for one in error.exceptions for leaf in leaves(one)]
