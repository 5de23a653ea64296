"""What a replica has promised to others, and what a start makes of a disk that knows less.

A replica promises its term, its vote, and the end of its log: with the acknowledgement that goes to a leader others count on every
entry up to there. The shell keeps each `Promise` a second time, apart from the log, durable behind the log's own write and before
anything is told; `restore_log` compares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from node.core.raft.log import intact_prefix
from node.core.raft.membership import Membership, SnapshotMeta
from node.core.raft.ready import Restored
from node.core.raft.types import NOBODY, Entry, HardState, LogEnd, NodeId


@dataclass(frozen=True, slots=True)
class LogCut:
    """Where a group's log begins: everything up to `index` is in the shard's checkpoint."""

    index: int
    term: int
    checksum: int


@dataclass(frozen=True, slots=True)
class Promise:
    """What a replica has told others, or is about to."""

    term: int = 0
    vote: NodeId = NOBODY
    written: int = 0
    """Term in which the end of the log was last written: who led then has been told of all up to `index`."""
    index: int = 0
    """Where the log ended."""
    entry_term: int = 0
    """Term of the entry there; by it and the index the whole log is known."""
    lost: LogEnd | None = None
    """Where it had ended, while the replica does not have all of that back."""

    @property
    def end(self) -> LogEnd:
        """Where the log ended, as ends are compared."""
        return LogEnd(self.entry_term, self.index)


@dataclass(slots=True)
class StoredGroup:
    """What a group finds on disk when the node starts."""

    hard_state: HardState = field(default_factory=lambda: HardState(0, NOBODY, 0))
    written: int = 0  # term in which the entries were last written
    reach: int = 0  # where the log ended behind the first write of that term, and went on from; what ends before it has lost something
    cut: LogCut = LogCut(0, 0, 0)
    entries: list[Entry] = field(default_factory=list)  # as they were read, in order; `restore_log` looks at the chain
    promise: Promise | None = None  # None where its place is lost: then the log's word counts

    @property
    def is_mute(self) -> bool:
        """Whether there is a log, and neither it nor a promise tells term and vote."""
        return self.hard_state.term == 0 and self.promise is None and (self.end != LogEnd() or bool(self.entries))

    @property
    def end(self) -> LogEnd:
        """Where the log ends."""
        last = self.entries[-1] if self.entries else self.cut
        return LogEnd(last.term, last.index)


def promise_kept(stored: StoredGroup, restored: Restored) -> Promise:
    """What is promised from here on: where the log goes on behind the promise, or there is none, the end of what is sound counts.

    It is written again at a start if it is another one. With a promise that is too old, or of an older term than the log's, a second
    loss would not be noticed; with one of an entry that nobody was told of, and that is damaged, the next start would miss what was
    never owed.
    """
    hard, promise, base = restored.hard_state, stored.promise, restored.snapshot
    end = restored.end
    if promise is None:
        return Promise(hard.term, hard.vote, stored.written, end.index, end.term)
    is_there = any(entry.index == promise.index and entry.term == promise.entry_term for entry in restored.entries)
    if stored.written > promise.written or is_there or promise.index <= base.index:
        written = max(stored.written, promise.written)
        return replace(promise, term=hard.term, vote=hard.vote, written=written, index=end.index, entry_term=end.term)
    return replace(promise, term=hard.term, vote=hard.vote)


def restore_log(stored: StoredGroup, checkpoint: SnapshotMeta | None, membership: Membership, own: NodeId) -> Restored:
    """What a replica may start with: the checkpoint, and of the log what continues its chain and had not been replaced.

    A sound disk never counts as damaged: a promise that the log lacks is void where a checkpoint or a later leader's entries have
    taken its place. Anything else is lost, and the replica recovers.
    """
    base, promise = checkpoint or SnapshotMeta(0, 0, 0, membership), stored.promise
    entries = intact_prefix(base, [entry for entry in stored.entries if entry.index > base.index])
    if promise is not None and promise.written > stored.written > 0:
        # The log fell back. Entries of a later term than the promised end had been replaced by older ones when that was promised.
        entries = [entry for entry in entries if entry.term <= promise.entry_term]
    sound = Restored(_hard_state(stored, own, entries), tuple(entries), base, base.index)
    lost = _lost(stored, sound.end)
    is_owed = lost is not None and lost.index > base.index  # else whatever of it was committed is in the checkpoint
    return replace(sound, lost=lost if is_owed else None)


def _hard_state(stored: StoredGroup, own: NodeId, entries: Sequence[Entry]) -> HardState:
    """Where the log and the promise differ, one of them lost something: no vote in any term that either knows, or its entries."""
    log, promise = stored.hard_state, stored.promise
    if promise is None or (promise.term, promise.vote) == (log.term, log.vote):
        return log
    term = max(log.term, promise.term, *(entry.term for entry in entries[-1:]))
    return HardState(term, own, log.commit)  # who has voted for itself votes for nobody else


def _lost(stored: StoredGroup, end: LogEnd) -> LogEnd | None:
    """Where the log ended that was promised, if the sound one, which ends at `end`, ends before.

    What was written in a later term than the promise nobody was told of. Where all of it is sound it has taken the place of what was
    promised; where some of it is not, nobody knows how much, and the promise counts. Without a promise the log itself may say too much.
    """
    promise, promised = stored.promise, end
    index = max(stored.end.index, stored.hard_state.commit, stored.reach)
    if promise is None and index > end.index:
        promised = LogEnd(stored.written, index)  # behind a hole or a damaged entry
    elif promise is not None and (promise.written >= stored.written or index > end.index):
        promised = promise.end
    if promise is not None and promise.lost is not None:
        promised = max(promised, promise.lost)
    return promised if promised > end else None
