"""The face of a replica: events go in as method calls, effects come out of `ready`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from node.core.raft import election, following, reads, reconfigure, replication
from node.core.raft.membership import Membership, MembershipChange, SnapshotMeta
from node.core.raft.message import Message, MessageKind
from node.core.raft.ready import Cause, PeerStatus, Persist, RaftConfig, Ready, Restored, Role, Status, Why
from node.core.raft.remains import Acknowledged
from node.core.raft.state import (
    Candidate,
    Follower,
    Leader,
    State,
    become_follower,
    reset_timers,
    respond_append,
    trust,
)
from node.core.raft.types import NOBODY, EntryKind, HardState, LogEnd, NodeId

_FROM_LEADER = (MessageKind.append, MessageKind.heartbeat, MessageKind.snapshot)


class Raft:
    """One replica of one group. Every method returns at once; nothing happens outside until `ready` is obeyed."""

    __slots__ = ("_durable", "_handed", "_handed_snapshot", "_hard", "_leader", "_role", "state")

    def __init__(self, config: RaftConfig, restored: Restored) -> None:
        self.state = State(config, restored)
        hard = self.state.hard_state
        self._hard = (hard.term, hard.vote, hard.commit)
        self._role = Role.follower
        self._leader = NOBODY
        self._handed = 0
        self._durable = 0
        self._handed_snapshot: SnapshotMeta | None = None

    def step(self, message: Message) -> None:
        """Takes a message from a peer."""
        state = self.state
        if message.term > state.term:
            if not self._enter_term(message):
                return
        elif message.term < state.term:
            self._answer_stale(message)
            return
        role = state.role
        if isinstance(role, Leader):
            self._step_leader(role, message)
        else:
            self._step_other(role, message)

    def _step_leader(self, role: Leader, message: Message) -> None:
        state = self.state
        match message.kind:
            case MessageKind.append_reply:
                replication.on_append_reply(state, role, message)
            case MessageKind.heartbeat_reply:
                replication.on_heartbeat_reply(state, role, message)
            case MessageKind.vote | MessageKind.pre_vote:
                election.on_vote_request(state, message)
            case MessageKind.append | MessageKind.heartbeat | MessageKind.snapshot:
                assert message.sender == state.id, "two leaders in one term"
            case MessageKind.vote_reply | MessageKind.pre_vote_reply | MessageKind.timeout_now:
                pass
            case _:
                assert_never(message.kind)

    def _step_other(self, role: Follower | Candidate, message: Message) -> None:
        state = self.state
        match message.kind:
            case MessageKind.append:
                following.on_append(state, message)
            case MessageKind.heartbeat:
                following.on_heartbeat(state, message)
            case MessageKind.snapshot:
                following.on_snapshot(state, message)
            case MessageKind.vote | MessageKind.pre_vote:
                election.on_vote_request(state, message)
            case MessageKind.vote_reply | MessageKind.pre_vote_reply:
                if isinstance(role, Candidate):
                    election.on_vote_reply(state, role, message)
            case MessageKind.timeout_now:
                if isinstance(role, Follower):
                    election.campaign(state, Cause(Why.called, message.sender), transfer=True)
            case MessageKind.append_reply | MessageKind.heartbeat_reply:
                pass
            case _:
                assert_never(message.kind)

    def _enter_term(self, message: Message) -> bool:
        state, kind = self.state, message.kind
        if kind in (MessageKind.vote, MessageKind.pre_vote) and election.refuses_candidate(state, message):
            if kind is MessageKind.pre_vote:
                state.refused = message  # its sender may know before this replica that the leader's process is gone
            return False
        if kind is MessageKind.pre_vote or (kind is MessageKind.pre_vote_reply and not message.reject):
            return True  # speaks of a term that nobody has opened yet
        leader = message.sender if kind in _FROM_LEADER else NOBODY
        become_follower(state, message.term, leader, Cause(Why.later_term, message.sender))
        return True

    def _answer_stale(self, message: Message) -> None:
        state = self.state
        if message.kind in _FROM_LEADER:
            # Shows a leader that was away the newer term; without it, a node in a higher term could be locked out.
            if state.config.check_quorum or state.config.pre_vote:
                respond_append(state, message.sender, 0)
        elif message.kind is MessageKind.pre_vote:
            reply = Message(MessageKind.pre_vote_reply, message.sender, state.id, state.term, reject=True)
            state.responses.append(reply)

    def tick(self) -> None:
        """One unit of time has passed."""
        state = self.state
        if isinstance(state.role, Leader):
            replication.tick_leader(state, state.role)
        else:
            election.tick_election(state)

    def propose(self, data: Sequence[bytes]) -> tuple[int, int]:
        """Appends one entry for each item and sends them; returns the first and last index.

        Raises ProposalDropped with the leader to try; then nothing was appended. An index alone is no promise: the
        entry is committed when it comes back in `Ready.committed` with the term of the proposal.
        """
        assert data, "a proposal has entries"
        state = self.state
        role = replication.leading(state)
        replication.check_may_propose(state, role)
        span = replication.append(state, role, EntryKind.normal, data)
        replication.broadcast_append(state, role)
        return span

    def propose_change(self, change: MembershipChange) -> tuple[int, int]:
        """Proposes a change of membership, in force once applied; raises ProposalDropped, also if it does not fit."""
        state = self.state
        return reconfigure.propose_change(state, replication.leading(state), change)

    def read_index(self) -> int:
        """Registers a linearizable read; its context comes back in `Ready.reads` or `Ready.reads_lost`.

        Raises ProposalDropped where another node leads, and on a leader that has not committed in its term yet.
        """
        return reads.read_index(self.state, replication.leading(self.state))

    def begin_outside(self) -> None:
        """This replica's log is empty and its node was removed before: it belongs to the group when the log says so."""
        state = self.state
        assert state.log.last_index == 0, "whoever has a log has a membership by it"
        voters = tuple(node for node in state.membership.voters if node != state.id)
        state.membership = Membership(voters=voters)

    def campaign(self) -> None:
        """Starts an election now, if this replica may."""
        election.campaign(self.state, Cause(Why.told))

    def transfer_leadership(self, to: NodeId) -> None:
        """Hands leadership to a voter; raises ProposalDropped where another node leads."""
        replication.transfer_leadership(self.state, replication.leading(self.state), to)

    def step_down(self) -> None:
        """Makes a leader resign, as one must whose disk has stalled, and lets the peer with the longest log campaign at once."""
        if isinstance(self.state.role, Leader):
            replication.call_successor(self.state, self.state.role)
            become_follower(self.state, self.state.term, NOBODY, Cause(Why.disk_stalled))

    @property
    def transferee(self) -> NodeId:
        """Who is to take this leader's place, while that is under way."""
        return self.state.role.transferee if isinstance(self.state.role, Leader) else NOBODY

    def let_others_lead(self, lets: bool) -> None:
        """Whether this replica, from now on, campaigns only after the others have had several timeouts to do so."""
        state = self.state
        if lets and state.hurried:
            state.hurried = 0
            reset_timers(state)
        state.lets_others_lead = lets

    def forget_leader(self) -> None:
        """A follower no longer defends its leader against other candidates; its election timeout goes on."""
        if isinstance(self.state.role, Follower):
            self.state.leader = NOBODY

    @property
    def lost(self) -> LogEnd | None:
        """Where the log ended that this replica acknowledged and does not have any more; to be stored with every write."""
        return self.state.lost

    def set_doubted(self, is_doubted: bool) -> None:
        """Whether it is not known what this replica has acknowledged: while so, it follows and stores, and neither votes nor counts."""
        self.state.is_doubted, self.state.has_heard_all = is_doubted, False
        if is_doubted and not isinstance(self.state.role, Follower):
            become_follower(self.state, self.state.term, NOBODY, Cause(Why.in_doubt))

    def trust(self, term: int, floor: LogEnd) -> None:
        """The disk may be old, and does not know it: others have told the highest term and log end that they know.

        Whatever this replica can have acknowledged for a commit is in the furthest of their logs. So it votes for nobody whose log ends
        before that, nor in a term that others have seen.
        """
        trust(self.state, term, floor)

    def has_caught_up_since(self, term: int) -> bool:
        """Whether a leader has brought the log on disk to the floor since nobody had seen a term above `term`.

        By an entry of a later term, whose leader was elected without this replica; or by one of the leader that is followed now, which
        it has committed. What this replica had by itself shows nothing: more that was committed may be forgotten here and elsewhere.
        """
        state, log = self.state, self.state.log
        is_led = state.leader != NOBODY and log.term_at(min(log.commit, log.stable)) == state.term
        return log.durable_end >= state.floor and (log.durable_end.term > term or is_led)

    @property
    def is_restored(self) -> bool:
        """Whether nothing is missing any more; of what is not on disk yet, no message has spoken."""
        state = self.state
        return not state.recovering and state.log.pending_snapshot is None

    @property
    def durable_end(self) -> LogEnd:
        """Of what is on disk."""
        return self.state.log.durable_end

    @property
    def promised_end(self) -> LogEnd:
        """Of what is on disk, or was when it was acknowledged."""
        return max(self.durable_end, self.state.floor)

    def acknowledged_by(self, node: NodeId) -> Acknowledged | None:
        """What a sound peer has acknowledged to this leader; None elsewhere, or where it has acknowledged nothing."""
        role = self.state.role
        peer = role.progress.get(node) if isinstance(role, Leader) else None
        return None if peer is None or peer.recovering or not peer.match else self._acknowledged(peer.match)

    def acknowledged_with(self, told: Acknowledged, message: Message) -> Acknowledged:
        """The same, once this message of the peer will have arrived."""
        is_ack = message.kind is MessageKind.append_reply and not message.reject and message.term == told.term
        return self._acknowledged(message.index) if is_ack and message.index > told.index else told

    def _acknowledged(self, index: int) -> Acknowledged:
        return Acknowledged(self.state.term, index, self.state.log.term_at(index) or 0)

    def peer_lost(self, node: NodeId) -> None:
        """The connection to a node's process broke."""
        state = self.state
        if isinstance(state.role, Leader):
            replication.peer_lost(state.role, node)
        else:
            election.leader_lost(state, node)

    def report_unreachable(self, node: NodeId) -> None:
        """A message to a node was dropped on the way out."""
        if isinstance(self.state.role, Leader):
            replication.report_unreachable(self.state.role, node)

    def report_snapshot(self, node: NodeId, ok: bool) -> None:
        """Streaming a snapshot to a node ended, well or not."""
        if isinstance(self.state.role, Leader):
            replication.report_snapshot(self.state.role, node, ok)

    def offer_snapshot(self, snapshot: SnapshotMeta) -> None:
        """Names the latest snapshot that the shell can stream from here."""
        state = self.state
        assert snapshot.index <= state.log.applied, "a snapshot covers applied entries only"
        if state.offered_snapshot is None or snapshot.index >= state.offered_snapshot.index:
            state.offered_snapshot = snapshot

    def snapshot_meta(self, index: int) -> SnapshotMeta | None:
        """The meta of a checkpoint taken at the applied index, to be stored with its data in one transaction.

        None while a snapshot from the leader is being installed: it overtakes any checkpoint.
        """
        log = self.state.log
        term = log.term_at(index)
        if log.pending_snapshot is not None or term is None:
            return None
        assert index == log.applied, "the membership is known for the applied index only"
        return SnapshotMeta(index, term, log.checksum_at(index), self.state.membership)

    def ready(self) -> Ready | None:
        """Takes all effects since the last call; None if there are none."""
        state, log = self.state, self.state.log
        role = state.role
        if isinstance(role, Leader) and role.reads_unsent:
            reads.broadcast_heartbeat(state, role)
        committed = log.next_committed(state.config.committed_bytes_max, state.config.apply_unstable)
        persist = self._take_persist()
        if not (
            persist is not None or state.messages or committed or state.reads_confirmed or state.reads_lost
            or role.kind is not self._role or state.leader != self._leader
        ):  # fmt: skip
            return None
        if committed:
            log.applying = committed[-1].index
        result = Ready(
            tuple(state.messages), persist, committed, tuple(state.reads_confirmed), tuple(state.reads_lost),
            role.kind, state.leader, state.term, tuple(state.turns),
        )  # fmt: skip
        state.turns = []
        state.messages = []
        state.reads_confirmed = []
        state.reads_lost = []
        self._role = role.kind
        self._leader = state.leader
        return result

    def _take_persist(self) -> Persist | None:
        state, log = self.state, self.state.log
        last, hard = log.last_index, (state.term, state.vote, log.commit)
        snapshot = log.pending_snapshot if log.pending_snapshot is not self._handed_snapshot else None
        if hard == self._hard and log.handed >= last and snapshot is None and not state.responses:
            return None
        moved = hard[:2] != self._hard[:2]
        hard_state = HardState(*hard) if hard != self._hard else None
        entries = tuple(log.entries[log.handed - log.base_index :]) if log.handed < last else ()
        self._handed += 1
        mark = (state.term, last, log.last_term) if log.stable < last else None
        must_sync = moved or bool(entries) or snapshot is not None
        persist = Persist(self._handed, hard_state, entries, snapshot, tuple(state.responses), mark, must_sync)
        state.responses = []
        log.handed = last
        self._hard = hard
        if snapshot is not None:
            self._handed_snapshot = snapshot
        return persist

    def persisted(self, persist: Persist) -> None:
        """A write, and all before it, is durable. The caller then sends the responses that go to other nodes."""
        self._durable += 1
        assert persist.number == self._durable, "writes become durable in the order in which they were handed out"
        state = self.state
        for message in persist.responses:
            if message.to == state.id:
                self.step(message)
        # After a change of term a later write, still under way, may replace these very entries on the disk, even by
        # ones that look the same by now; that write carries a mark of its own.
        if persist.mark is not None and persist.mark[0] == state.term:
            state.log.stable_to(persist.mark[1], persist.mark[2])
        if persist.snapshot is not None:
            state.log.installed(persist.snapshot)
        if state.log.durable_end >= state.floor:
            state.floor = LogEnd()

    def applied(self, index: int) -> None:
        """The machine above has applied everything up to `index`; changes of membership come into force by it."""
        reconfigure.apply_changes(self.state, index)
        reconfigure.applied_to(self.state, index)

    def compact(self, index: int) -> int:
        """Cuts the log at an applied index, or below it while a snapshot is under way; returns where it is cut now.

        The shell may delete stored entries up to the returned index, once a snapshot at or above it is durable.
        """
        role = self.state.role
        if isinstance(role, Leader):
            pending = [peer.pending_snapshot for peer in role.progress.values() if peer.pending_snapshot]
            index = min([index, *pending])
        self.state.log.compact(index)
        return self.state.log.base_index

    def peers_behind(self, entries: int) -> list[NodeId]:
        """Which peers of this leader miss more than so many committed entries; none where it leads nothing."""
        role, state = self.state.role, self.state
        if not isinstance(role, Leader):
            return []
        least = state.log.commit - entries
        return [node for node, peer in role.progress.items() if peer.match < least and node != state.id]

    def status(self) -> Status:
        """The replica at a glance."""
        state, log, role = self.state, self.state.log, self.state.role
        leader = role if isinstance(role, Leader) else None
        return Status(
            id=state.id, role=role.kind, term=state.term, vote=state.vote, leader=state.leader,
            transferee=leader.transferee if leader else NOBODY,
            commit=log.commit, applied=log.applied, stable=log.stable,
            first_index=log.first_index, last_index=log.last_index,
            uncommitted_bytes=leader.uncommitted_bytes if leader else 0,
            reads_pending=len(leader.reads) if leader else 0,
            recovering=state.recovering, chain_refused=state.chain_refused, membership=state.membership,
            peers=_peers(state, leader) if leader else (),
        )  # fmt: skip


def _peers(state: State, leader: Leader) -> tuple[PeerStatus, ...]:
    return tuple(
        PeerStatus(
            node, peer.match, peer.next, peer.state, peer.is_paused, node in state.membership.learners,
            peer.recent_active, peer.recovering, peer.pending_snapshot, peer.inflights.count, peer.inflights.is_full,
        )
        for node, peer in leader.progress.items()
    )  # fmt: skip
