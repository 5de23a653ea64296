"""What a leader knows of one peer's log, and how much it may have on the way to it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum, unique

from node.core.raft.membership import Membership
from node.core.raft.types import NodeId


@unique
class ProgressState(Enum):
    """How a leader sends to a peer."""

    probe = "probe"
    """One append at a time, looking for the point where the logs agree."""
    replicate = "replicate"
    """Appends are sent ahead, up to the limits of the flight."""
    snapshot = "snapshot"
    """Nothing is sent until the peer has a snapshot."""


@dataclass(slots=True)
class Inflights:
    """Appends on the way to a peer, bounded by count and by bytes."""

    count_max: int
    bytes_max: int
    bytes: int = 0
    _sent: deque[tuple[int, int]] = field(default_factory=deque)

    @property
    def count(self) -> int:
        """Appends on the way."""
        return len(self._sent)

    @property
    def is_full(self) -> bool:
        """Whether another append has to wait. One append may overshoot the bytes, so that a large one can leave."""
        return len(self._sent) >= self.count_max or self.bytes >= self.bytes_max

    def add(self, index: int, size_bytes: int) -> None:
        """An append whose last entry is `index` was sent."""
        self._sent.append((index, size_bytes))
        self.bytes += size_bytes

    def free_to(self, index: int) -> None:
        """Everything at or below `index` has arrived."""
        while self._sent and self._sent[0][0] <= index:
            self.bytes -= self._sent.popleft()[1]

    def clear(self) -> None:
        """Forgets the flight."""
        self._sent.clear()
        self.bytes = 0


@dataclass(slots=True)
class Progress:
    """One peer as its leader sees it."""

    match: int
    """Highest index known to be durable there; falls only when the peer says that it lost a part of its log."""
    next: int
    """Index of the next entry to send."""
    inflights: Inflights
    """Appends on the way."""
    state: ProgressState = ProgressState.probe
    """How appends are sent."""
    is_paused_probe: bool = False
    """Whether an append is awaited before the next one is sent."""
    pending_snapshot: int = 0
    """Index of the snapshot on the way."""
    sent_commit: int = 0
    """Highest commit index that the peer was told."""
    recent_active: bool = False
    """Whether the peer spoke since the quorum was checked last."""
    recovering: bool = False
    """Whether the peer lost a part of what it once acknowledged; it does not count until it has caught up."""
    read_context: int = 0
    """Highest read context that the peer confirmed."""

    @property
    def is_paused(self) -> bool:
        """Whether nothing is to be sent now."""
        return self.is_paused_probe or self.state is ProgressState.snapshot

    @property
    def counted_match(self) -> int:
        """What the peer contributes to a majority."""
        return 0 if self.recovering else self.match

    def become_probe(self) -> None:
        """Looks for the point of agreement again, behind a snapshot if one was sent."""
        behind = max(self.match, self.pending_snapshot) if self.state is ProgressState.snapshot else self.match
        self._enter(ProgressState.probe, behind + 1)
        self.sent_commit = min(self.sent_commit, behind)

    def become_replicate(self) -> None:
        """The logs agree at `match`: send ahead from there."""
        self._enter(ProgressState.replicate, self.match + 1)

    def become_snapshot(self, index: int) -> None:
        """A snapshot at `index` is on the way."""
        self._enter(ProgressState.snapshot, index + 1)
        self.pending_snapshot = index
        self.sent_commit = index

    def restart(self, next_index: int) -> None:
        """The peer lost entries: everything believed of its log is void."""
        self.match = 0
        self._enter(ProgressState.probe, max(next_index, 1))
        self.sent_commit = 0

    def sent(self, count: int, size_bytes: int) -> None:
        """An append with `count` entries was sent from `next` on."""
        if self.state is ProgressState.replicate:
            if count:
                self.next += count
                self.inflights.add(self.next - 1, size_bytes)
            self.is_paused_probe = self.inflights.is_full
        elif count:
            self.is_paused_probe = True

    def can_bump_commit(self, commit: int) -> bool:
        """Whether telling `commit` now could move the peer's commit index."""
        return commit > self.sent_commit and self.sent_commit < self.next - 1

    def update(self, index: int) -> bool:
        """The peer acknowledged up to `index`; False if that is old news."""
        if index <= self.match:
            return False
        self.match = index
        self.next = max(self.next, index + 1)
        self.is_paused_probe = False
        return True

    def decrease(self, rejected: int, hint: int) -> bool:
        """The peer refused an append behind `rejected` and suggests `hint`; False if that is old news."""
        if self.state is ProgressState.replicate:
            if rejected <= self.match:
                return False
            self.next = self.match + 1
        else:
            if self.next - 1 != rejected:
                return False
            self.next = max(min(rejected, hint + 1), self.match + 1)
            self.is_paused_probe = False
        self.sent_commit = min(self.sent_commit, self.next - 1)
        return True

    def _enter(self, state: ProgressState, next_index: int) -> None:
        self.state = state
        self.next = next_index
        self.is_paused_probe = False
        self.pending_snapshot = 0
        self.inflights.clear()


def reconcile(
    progress: dict[NodeId, Progress], membership: Membership, last_index: int, count_max: int, bytes_max: int
) -> dict[NodeId, Progress]:
    """The progress of exactly the members, in order of their ids; a new one starts at the end of the log.

    A new peer counts as active, else the next check of the quorum would blame it for its past.
    """
    return {
        node: progress.get(node) or Progress(0, max(last_index, 1), Inflights(count_max, bytes_max), recent_active=True)
        for node in membership.everyone
    }
