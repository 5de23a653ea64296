"""Of what was lost and comes back: data folders in doubt, ends of logs, checkpoints that are streamed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from node.notices.notice import Level, Notice


@dataclass(frozen=True, slots=True)
class FolderInDoubt(Notice):
    """This data folder may be, or is, an older one than this node had: no replica here votes or counts until that is settled."""

    level: ClassVar[Level] = Level.warning
    reason: str
    is_old: bool  # for certain
    remedy: str


@dataclass(frozen=True, slots=True)
class FolderTakenForMoved(Notice):
    """The data folder was copied, and its operator answers for it that this node had no newer one; otherwise payments can be lost."""

    level: ClassVar[Level] = Level.warning
    reason: str


@dataclass(frozen=True, slots=True)
class FolderSound(Notice):
    """The data folder is in doubt no longer: everything that it may have lacked is back."""


@dataclass(frozen=True, slots=True)
class LogCutShort(Notice):
    """Stored entries of a shard continue no chain: they are damaged, or others had taken their place."""

    level: ClassVar[Level] = Level.warning
    group: int
    kept: int  # after the checkpoint
    dropped: int


@dataclass(frozen=True, slots=True)
class ReplicaRecovering(Notice):
    """The disk has lost what this replica acknowledged: it does not count before its leader has brought that back."""

    level: ClassVar[Level] = Level.warning
    group: int
    lost_term: int  # of the last entry that it had
    lost_index: int


@dataclass(frozen=True, slots=True)
class ReplicaRecovered(Notice):
    """A replica whose disk had lost something has everything again."""

    group: int
    last_index: int


@dataclass(frozen=True, slots=True)
class NobodyHasWhatWasLost(Notice):
    """No replica that can lead has what this one had acknowledged; that does not heal by itself."""

    level: ClassVar[Level] = Level.error
    group: int
    reason: str
    remedy: str


@dataclass(frozen=True, slots=True)
class SnapshotBegun(Notice):
    """A peer is too far behind for the log: its replica is sent the shard's checkpoint. Told once until it has one."""

    group: int
    peer: int
    index: int


@dataclass(frozen=True, slots=True)
class SnapshotSent(Notice):
    """A peer that was sent a checkpoint has all of it."""

    group: int
    peer: int
    index: int
    bytes: int
    seconds: float
    failures: int  # attempts before


@dataclass(frozen=True, slots=True)
class SnapshotGivenUp(Notice):
    """A peer did not get all of a checkpoint; it is sent again, and that is told when it has succeeded."""

    level: ClassVar[Level] = Level.warning
    group: int
    peer: int
    index: int
    bytes: int
    reason: str


@dataclass(frozen=True, slots=True)
class SnapshotReceived(Notice):
    """A leader's checkpoint of the shard has come whole."""

    group: int
    peer: int  # who sent it
    index: int
    bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class SnapshotInstalled(Notice):
    """The shard's replica goes on from a leader's checkpoint."""

    group: int
    index: int
    seconds: float


@dataclass(frozen=True, slots=True)
class SnapshotMixed(Notice):
    """A checkpoint's rows are not those of its name: nothing of it is used."""

    level: ClassVar[Level] = Level.error
    group: int
    peer: int
    index: int  # that was named
    applied: int  # that its rows show
