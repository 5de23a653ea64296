"""What goes in and out of the core besides messages: configuration, restored state, and the effects of a step."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, unique
from random import Random

from node.core.raft.membership import Membership, SnapshotMeta
from node.core.raft.message import Message
from node.core.raft.progress import ProgressState
from node.core.raft.types import NOBODY, Entry, HardState, LogEnd, NodeId


@unique
class Role(Enum):
    """What a replica is at the moment."""

    follower = "follower"
    pre_candidate = "pre_candidate"
    candidate = "candidate"
    leader = "leader"


@unique
class Why(Enum):
    """Why a replica has taken a role."""

    leader_silent = "leader_silent"  # for an election timeout
    leader_gone = "leader_gone"  # the connection to its process broke
    nobody_leads = "nobody_leads"  # after a start, and after a campaign that came to nothing
    called = "called"  # by a leader, to take its place
    rival_behind = "rival_behind"  # a candidate's log is shorter, so that it cannot win
    told = "told"  # by `Raft.campaign`
    would_win = "would_win"  # a majority said so: the second step of a campaign
    elected = "elected"
    outvoted = "outvoted"
    later_term = "later_term"  # somebody has opened one
    leader_spoke = "leader_spoke"  # somebody else leads the term
    quorum_silent = "quorum_silent"  # no majority has answered a leader for an election timeout
    disk_stalled = "disk_stalled"  # by `Raft.step_down`
    in_doubt = "in_doubt"  # what this replica has acknowledged
    removed = "removed"  # from the voters


@dataclass(frozen=True, slots=True)
class Cause:
    """What has made a replica take a role."""

    why: Why
    """The rule."""
    node: NodeId = NOBODY
    """Whose word or silence it was; nobody where it was no single one's."""
    silent_ticks: int = 0
    """How long that silence had lasted."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A replica has taken another role, or campaigns again."""

    was: Role
    """Role before."""
    role: Role
    """Role since then."""
    term: int
    """Term since then."""
    cause: Cause
    """Why."""


@dataclass(frozen=True, slots=True)
class RaftConfig:
    """Settings of one replica; all limits are per replica."""

    id: NodeId
    """This node."""
    membership: Membership
    """Members of a group that has no snapshot yet; otherwise the snapshot's membership counts."""
    election_ticks: int
    """Silence after which a follower campaigns is drawn from this to twice this."""
    heartbeat_ticks: int
    """Time between two heartbeats of a leader."""
    random: Random
    """Seeded generator for the election timeouts."""
    pre_vote: bool = True
    """Whether a node asks if it could win before it disturbs anybody with a new term."""
    check_quorum: bool = True
    """Whether a leader without a majority resigns, and a follower with a living leader refuses others its vote."""
    step_down_on_removal: bool = True
    """Whether a leader that is no longer a voter resigns when that is applied."""
    announce_commit: bool = True
    """Whether followers are told of each commit at once; else with the next append or heartbeat, which spares a round trip each."""
    apply_unstable: bool = False
    """Whether committed entries may be handed out before they are durable here; for a shell that writes first."""
    lost_leader_ticks: int = 2
    """After the leader's process died, the others campaign one after the other, so many ticks apart."""
    first_wait_ticks: int = 0
    """Until the first campaign after a start, in place of an election timeout (0): the replicas of a group take turns here too."""
    lost_leader_campaigns_max: int = 4
    """Campaigns in a row that are hurried in that way; the full timeout then spreads the rivals again."""
    message_bytes_max: int = 1 << 20
    """Entries in one append: large enough to amortise a message, small enough not to block a heartbeat."""
    inflight_messages_max: int = 256
    """Appends on the way to a peer: covers a long round trip without flooding a slow disk."""
    inflight_bytes_max: int = 16 << 20
    """The same in bytes, since appends differ in size by orders of magnitude."""
    uncommitted_bytes_max: int = 64 << 20
    """Proposals that wait for commit and apply; beyond it they are refused instead of filling the memory."""
    committed_bytes_max: int = 8 << 20
    """Entries handed out for applying at once, so that catching up after a restart stays interruptible."""

    def __post_init__(self) -> None:
        assert 0 < self.heartbeat_ticks < self.election_ticks, "a heartbeat must come before the election timeout"
        assert self.id != NOBODY and self.lost_leader_ticks > 0
        assert self.inflight_messages_max > 0 and self.inflight_bytes_max > 0 and self.message_bytes_max > 0


@dataclass(frozen=True, slots=True)
class Restored:
    """What a replica finds on its disk when it starts."""

    hard_state: HardState
    """Latest durable hard state."""
    entries: tuple[Entry, ...]
    """All durable entries behind the snapshot's index that continue its chain."""
    snapshot: SnapshotMeta
    """Where the log was cut, or a meta of zeros."""
    applied: int
    """Highest index that the machine above has applied durably; at least the snapshot's index."""
    lost: LogEnd | None = None
    """Where the log ended that this replica acknowledged, if it does not have that any more."""

    @property
    def end(self) -> LogEnd:
        """Where the log ends that is there."""
        last = self.entries[-1] if self.entries else self.snapshot
        return LogEnd(last.term, last.index)


@dataclass(frozen=True, slots=True)
class Persist:
    """One write for the shell. Writes become durable in the order in which they were handed out."""

    number: int
    """Consecutive number of the write, from 1."""
    hard_state: HardState | None
    """New hard state, if it changed."""
    entries: tuple[Entry, ...]
    """Entries to write; stored ones at or above the first one's index are dropped in the same write."""
    snapshot: SnapshotMeta | None
    """Snapshot to install before the entries; it replaces the whole stored log."""
    responses: tuple[Message, ...]
    """Messages to release once this is durable; the ones to this node itself are stepped by `Raft.persisted`."""
    mark: tuple[int, int, int] | None
    """Term of the replica, index and term of its last entry, if entries are on their way to the disk."""
    must_sync: bool
    """False if nothing but the commit index moved: then it may join the next write, and counts as durable at once."""


@dataclass(frozen=True, slots=True)
class ReadState:
    """A read point: the machine may answer the read once it has applied `index`."""

    context: int
    """What `Raft.read_index` returned."""
    index: int
    """Commit index when the read came in."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The effects of everything since the last Ready, in this order: send, write and release, apply."""

    messages: tuple[Message, ...]
    """May be sent now, provided that earlier writes were handed to the disk in order."""
    persist: Persist | None
    """What must become durable."""
    committed: tuple[Entry, ...]
    """Entries to apply, in order; report with `Raft.applied`."""
    reads: tuple[ReadState, ...]
    """Reads that are confirmed."""
    reads_lost: tuple[int, ...]
    """Contexts of reads that will never be confirmed, because leadership is lost."""
    role: Role
    """Role of this replica."""
    leader: NodeId
    """Known leader, or nobody."""
    term: int
    """Current term."""
    turns: tuple[Turn, ...]
    """How it came to the role, in order; only for people."""


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """A leader's view of a peer."""

    node: NodeId
    match: int
    next: int
    state: ProgressState
    is_paused: bool
    is_learner: bool
    recent_active: bool
    recovering: bool
    pending_snapshot: int
    inflight_messages: int
    inflight_full: bool


@dataclass(frozen=True, slots=True)
class Status:
    """A replica at a glance."""

    id: NodeId
    role: Role
    term: int
    vote: NodeId
    leader: NodeId
    transferee: NodeId
    commit: int
    applied: int
    stable: int
    first_index: int
    last_index: int
    uncommitted_bytes: int
    reads_pending: int
    recovering: bool
    chain_refused: int
    """Appends refused because the checksum chain did not fit."""
    membership: Membership
    peers: tuple[PeerStatus, ...]
    """Empty unless leader."""


class ProposalDropped(Exception):
    """The proposal, change or read was not taken; nothing happened. `.leader` is where to try, or nobody."""

    def __init__(self, reason: str, leader: NodeId = NOBODY) -> None:
        super().__init__(reason)
        self.reason = reason
        self.leader = leader
