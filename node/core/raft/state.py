"""The state of a replica, its roles, and the outbox. Roles change in `become_*` and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass, field

from node.core.raft.log import Log
from node.core.raft.membership import MembershipChange, SnapshotMeta, apply_change
from node.core.raft.message import Message, MessageKind
from node.core.raft.progress import Inflights, Progress
from node.core.raft.ready import Cause, RaftConfig, ReadState, Restored, Role, Turn, Why
from node.core.raft.types import NOBODY, EntryKind, HardState, LogEnd, NodeId


@dataclass(slots=True)
class Follower:
    """Follows, or waits for somebody to follow."""

    kind: Role = Role.follower


@dataclass(slots=True)
class Candidate:
    """Asks for votes; as a pre-candidate only whether it would get them."""

    kind: Role
    votes: dict[NodeId, bool] = field(default_factory=dict)
    """Answers so far."""


@dataclass(slots=True)
class Leader:
    """Decides the order of the log."""

    progress: dict[NodeId, Progress]
    """All members, in order of their ids."""
    term_start: int
    """Index of the entry that opened this term; nothing is decided in the term before it is committed."""
    change_index: int
    """Highest index at which a change of membership may be unapplied."""
    kind: Role = Role.leader
    transferee: NodeId = NOBODY
    """Who is to take over, while proposals are refused."""
    uncommitted_bytes: int = 0
    """Data of entries that are not applied yet."""
    reads: dict[int, int] = field(default_factory=dict)
    """Unconfirmed read contexts, rising, with the commit index at their arrival."""
    reads_unsent: bool = False
    """Whether reads wait for a heartbeat that carries their context."""


class State:
    """Everything that a replica is. The functions of this package's other modules work on it."""

    __slots__ = (
        "chain_refused", "config", "election_elapsed", "election_timeout", "floor", "gone_leader", "has_heard_all", "heartbeat_elapsed",
        "hurried", "id", "is_doubted", "leader", "lets_others_lead", "log", "membership", "messages", "offered_snapshot", "read_context",
        "reads_confirmed", "reads_lost", "refused", "responses", "role", "term", "turns", "vote",
    )  # fmt: skip

    def __init__(self, config: RaftConfig, restored: Restored) -> None:
        hard = restored.hard_state
        self.config = config
        self.id = config.id
        self.term = hard.term
        self.vote = hard.vote
        self.leader = NOBODY
        self.gone_leader = NOBODY  # whose process ended, until somebody leads
        self.turns: list[Turn] = []  # since the last Ready
        self.log = Log(restored.snapshot, restored.entries, hard.commit, restored.applied)
        self.membership = restored.snapshot.membership if restored.snapshot.index else config.membership
        self.role: Follower | Candidate | Leader = Follower()
        self.messages: list[Message] = []
        self.responses: list[Message] = []
        self.reads_confirmed: list[ReadState] = []
        self.reads_lost: list[int] = []
        self.read_context = 0
        self.offered_snapshot: SnapshotMeta | None = None
        self.chain_refused = 0
        self.election_elapsed = 0
        self.heartbeat_elapsed = 0
        self.election_timeout = 0
        self.hurried = 0
        self.lets_others_lead = False
        self.refused: Message | None = None
        self.floor = restored.lost or LogEnd()  # where a log ended that this replica has, or may have, acknowledged
        self.is_doubted = False  # whether that is not known
        self.has_heard_all = False  # in a doubt, whether all others have said how far they know it
        for entry in self.log.entries[: restored.applied - self.log.base_index]:
            if entry.kind is EntryKind.change:
                self.membership = apply_change(self.membership, MembershipChange.decode(entry.data))
        reset_timers(self)
        if config.first_wait_ticks:
            self.hurried, self.election_timeout = config.lost_leader_campaigns_max, config.first_wait_ticks

    @property
    def hard_state(self) -> HardState:
        """What has to be durable."""
        return HardState(self.term, self.vote, self.log.commit)

    @property
    def lost(self) -> LogEnd | None:
        """Where the log ended that was acknowledged, until this one ends no earlier."""
        log, floor = self.log, self.floor
        is_short = (log.last_term, log.last_index) < (floor.term, floor.index)  # asked with each message
        return floor if is_short else None

    @property
    def promised_end(self) -> LogEnd:
        """Where the log ends, or ended before its end was lost: a log that ends before gets no vote."""
        return max(self.log.end, self.floor)

    @property
    def recovering(self) -> bool:
        """Whether a part of what this replica once acknowledged is lost, or may be."""
        return self.lost is not None or self.is_doubted

    @property
    def is_promotable(self) -> bool:
        """Whether this replica may campaign: in a doubt only for the votes of others, who know what they have acknowledged themselves."""
        is_whole = self.lost is None and (self.has_heard_all or not self.is_doubted)
        return is_whole and self.id in self.membership.all_voters and self.log.pending_snapshot is None


def send(
    state: State, kind: MessageKind, to: NodeId, *, index: int = 0, log_term: int = 0, commit: int = 0, context: int = 0
) -> None:
    """Queues a message of this term that needs no durable write."""
    message = Message(
        kind, to, state.id, state.term, log_term, index, commit, context=context, recovering=state.recovering
    )  # fmt: skip
    state.messages.append(message)


def respond_append(
    state: State, to: NodeId, index: int, *, reject: bool = False, hint: int = 0, log_term: int = 0
) -> None:
    """Queues the reply to an append, to be released once what it speaks of is durable."""
    message = Message(
        MessageKind.append_reply, to, state.id, state.term, log_term, index,
        reject=reject, hint=hint, recovering=state.recovering,
    )  # fmt: skip
    state.responses.append(message)


def become_follower(state: State, term: int, leader: NodeId, cause: Cause) -> None:
    """Follows a leader, or nobody, in a term that is not lower than the current one."""
    _reset(state, term)
    state.leader = leader
    if not isinstance(state.role, Follower):
        _turn(state, Follower(), cause)


def become_pre_candidate(state: State, cause: Cause) -> None:
    """Asks whether it could win; term, vote and timers stay."""
    assert not isinstance(state.role, Leader), "a leader does not campaign"
    state.leader = NOBODY
    _turn(state, Candidate(Role.pre_candidate), cause)


def become_candidate(state: State, cause: Cause) -> None:
    """Opens a new term and votes for itself in it."""
    assert not isinstance(state.role, Leader), "a leader does not campaign"
    _reset(state, state.term + 1)
    state.vote = state.id
    _turn(state, Candidate(Role.candidate), cause)


def _turn(state: State, role: Follower | Candidate | Leader, cause: Cause) -> None:
    was, state.role = state.role.kind, role
    state.turns.append(Turn(was, role.kind, state.term, cause))


def become_leader(state: State) -> Leader:
    """Leads the current term; the caller appends the entry that opens it."""
    assert isinstance(state.role, Candidate) and state.role.kind is Role.candidate, "only a candidate becomes leader"
    config, last_index = state.config, state.log.last_index
    _reset(state, state.term)
    progress = {
        node: Progress(0, last_index + 1, Inflights(config.inflight_messages_max, config.inflight_bytes_max))
        for node in state.membership.everyone
    }
    own = progress[state.id]
    own.match = last_index
    own.become_replicate()
    own.recent_active = True
    role = Leader(progress, term_start=last_index + 1, change_index=last_index)
    state.leader = state.id
    state.gone_leader = NOBODY
    _turn(state, role, Cause(Why.elected))
    state.hurried = 0
    state.is_doubted = False  # a majority of others has nothing that it lacks
    return role


def _reset(state: State, term: int) -> None:
    assert term >= state.term, "terms never fall"
    if term != state.term:
        state.term = term
        state.vote = NOBODY
    if isinstance(state.role, Leader):
        state.reads_lost.extend(state.role.reads)
    state.leader = NOBODY
    reset_timers(state)


def reset_timers(state: State) -> None:
    """Starts the wait for the next election anew, with a new random length."""
    config = state.config
    state.election_elapsed = 0
    state.heartbeat_elapsed = 0
    if state.hurried:
        state.election_timeout = config.random.randint(config.lost_leader_ticks, 4 * config.lost_leader_ticks)
    else:
        state.election_timeout = config.random.randint(config.election_ticks, 2 * config.election_ticks - 1)


def trust(state: State, term: int, floor: LogEnd) -> None:
    """By the words of others: no vote in a term that they have seen, nor for a log that ends before the floor."""
    state.floor = max(state.floor, floor)
    state.has_heard_all = True
    if term > state.term:
        become_follower(state, term, NOBODY, Cause(Why.in_doubt))
    if state.term == term:
        state.vote = state.id
