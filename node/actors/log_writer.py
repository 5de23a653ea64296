"""The log writer: one a node, the only one that touches the log file. A drain of its inbox is one durable transaction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from node.actors.actor import Actor
from node.actors.episodes import Episode
from node.notices import DiskSlow, DiskWell
from node.ports import Clock, LogStore, LogWrite, OperatorLog

WRITES_MAX = 10_000  # every group can have several under way; the groups' own limits bound the bytes
DRAIN_MAX = 1_000  # one transaction; larger ones only make everybody wait longer
SLOW_SECONDS = 0.5  # a healthy disk takes milliseconds, a busy one tenths; new work would only wait behind such a write
# A leader whose disk stands still for longer serves worse than a new one, which is there in tenths of one.
STALL_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Write:
    """A group's write and what to call when it is on disk."""

    write: LogWrite
    done: Callable[[], None]


@dataclass(frozen=True, slots=True)
class LogWriterStatistics:
    """Counts since the start."""

    transactions: int
    writes: int


class LogWriter(Actor[Write]):
    """Writes in order of arrival; `done` is called in that order too. A storage failure stops the node."""

    def __init__(self, store: LogStore, clock: Clock, operator: OperatorLog) -> None:
        super().__init__("log writer", WRITES_MAX, DRAIN_MAX)
        self._store = store
        self._clock = clock
        self._operator = operator
        self._writing_since: float | None = None
        self._ticked: float | None = None
        self._slow_since: float | None = None  # when the write began that is under way, or the node ran again since
        self._slowness: Episode | None = None  # of writes, as people were told
        self._longest_seconds = 0.0  # of them
        self._transactions = 0
        self._writes = 0

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            batch = await self.inbox.drain(self._drain_max)
            self._writing_since = self._slow_since = self._clock.monotonic()
            await self._store.write([item.write for item in batch])
            self._note(ended=1)
            self._writing_since = self._slow_since = None
            self._transactions += 1
            self._writes += len(batch)
            for item in batch:
                item.done()

    @property
    def is_slow(self) -> bool:
        """Whether a write has been under way for so long that this node should take no new work."""
        return self._writing_for() > SLOW_SECONDS

    @property
    def is_stalled(self) -> bool:
        """Whether a write has been under way for so long that this node should lead nothing."""
        return self._writing_for() > STALL_SECONDS

    def _writing_for(self) -> float:
        return 0.0 if self._writing_since is None else self._clock.monotonic() - self._writing_since

    def tick(self) -> None:
        """Call it every tick: says when writes begin to take long, and when none has for a while."""
        now, slowness = self._clock.monotonic(), self._slowness
        if self._has_stood_still(now) and self._slow_since is not None:
            self._slow_since = now
        self._ticked = now
        self._note(ended=0)
        if slowness is not None and slowness.is_over(now):
            self._slowness = None
            self._operator.tell(DiskWell(slowness.count, self._longest_seconds, slowness.seconds))

    def _has_stood_still(self, now: float) -> bool:
        """The node itself, which says nothing of its disk; nor does the time before the first tick."""
        return self._ticked is None or now - self._ticked > SLOW_SECONDS

    def _note(self, ended: int) -> None:
        now = self._clock.monotonic()
        seconds = 0.0 if self._slow_since is None else now - self._slow_since
        if seconds <= SLOW_SECONDS or self._has_stood_still(now):
            return
        if self._slowness is None:
            self._slowness, self._longest_seconds = Episode(now - seconds, now), 0.0
            self._operator.tell(DiskSlow(seconds))
        self._slowness.again(now, ended)
        self._longest_seconds = max(self._longest_seconds, seconds)

    def statistics(self) -> LogWriterStatistics:
        """What it has done so far."""
        return LogWriterStatistics(self._transactions, self._writes)
