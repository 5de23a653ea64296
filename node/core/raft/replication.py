"""The leader's side of the log: proposing, sending, counting acknowledgements, handing leadership over."""

from __future__ import annotations

from collections.abc import Sequence

from node.core.raft import reads
from node.core.raft.message import Message, MessageKind
from node.core.raft.progress import Progress, ProgressState
from node.core.raft.quorum import VoteResult, joint_index, joint_vote
from node.core.raft.ready import Cause, ProposalDropped, Why
from node.core.raft.state import Leader, State, become_follower, respond_append, send
from node.core.raft.types import NOBODY, Entry, EntryKind, NodeId, chain_checksum


def leading(state: State) -> Leader:
    """The leader's role; raises ProposalDropped elsewhere."""
    role = state.role
    if isinstance(role, Leader):
        return role
    raise ProposalDropped("not the leader", state.leader)


def check_may_propose(state: State, role: Leader) -> None:
    """Raises ProposalDropped while the leader takes no proposals."""
    if state.id not in role.progress:
        raise ProposalDropped("this leader was removed from the shard")
    if role.transferee:
        raise ProposalDropped("leadership is being transferred", role.transferee)


def append(state: State, role: Leader, kind: EntryKind, data: Sequence[bytes]) -> tuple[int, int]:
    """Appends entries to the leader's own log, without sending them; raises ProposalDropped beyond the byte limit."""
    size = sum(map(len, data))
    if role.uncommitted_bytes and size and role.uncommitted_bytes + size > state.config.uncommitted_bytes_max:
        raise ProposalDropped("too many bytes wait to be committed", state.id)
    role.uncommitted_bytes += size
    log, term = state.log, state.term
    index, checksum = log.last_index, log.last_checksum
    first = index + 1
    entries = []
    for item in data:
        index += 1
        checksum = chain_checksum(checksum, term, index, kind, item)
        entries.append(Entry(term, index, kind, item, checksum))
    log.append(entries)
    respond_append(state, state.id, index)
    return first, index


def broadcast_append(state: State, role: Leader) -> None:
    """Sends every peer what it lacks, or the commit index if it lacks nothing."""
    for node, peer in role.progress.items():
        if node != state.id:
            send_append(state, node, peer, even_if_empty=True)


def send_append(state: State, node: NodeId, peer: Progress, *, even_if_empty: bool) -> bool:
    """Sends one append, or a snapshot where the log is cut; returns whether anything was sent."""
    if peer.is_paused:
        return False
    log, config = state.log, state.config
    before = peer.next - 1
    log_term = log.term_at(before)
    if log_term is None:
        return _send_snapshot(state, node, peer)
    entries: tuple[Entry, ...] = ()
    # With a full flight an empty append still goes out: its refusal frees a flight whose messages were all lost.
    if before < log.last_index and not (peer.state is ProgressState.replicate and peer.inflights.is_full):
        entries = log.slice(peer.next, log.last_index, config.message_bytes_max)
    if not entries and not even_if_empty:
        return False
    state.messages.append(
        Message(MessageKind.append, node, state.id, state.term, log_term, before, log.commit, entries)
    )
    peer.sent(len(entries), sum([len(entry.data) for entry in entries]))
    peer.sent_commit = log.commit
    return True


def _send_snapshot(state: State, node: NodeId, peer: Progress) -> bool:
    snapshot = state.offered_snapshot
    if not peer.recent_active or snapshot is None or snapshot.index < state.log.base_index:
        return False
    peer.become_snapshot(snapshot.index)
    state.messages.append(Message(MessageKind.snapshot, node, state.id, state.term, snapshot=snapshot))
    return True


def maybe_commit(state: State, role: Leader) -> bool:
    """Commits what majorities have, if it is of this term (section 5.4.2 of the Raft paper): older entries follow."""
    members, progress = state.membership, role.progress
    index = joint_index(members.voters, members.outgoing, lambda node: progress[node].counted_match)
    if index <= state.log.commit or state.log.term_at(index) != state.term:
        return False
    state.log.commit_to(index)
    return True


def on_append_reply(state: State, role: Leader, message: Message) -> None:
    """A peer, or this node's own disk, acknowledged or refused an append."""
    node = message.sender
    peer = role.progress.get(node)
    if peer is None:
        return
    peer.recent_active = True
    was_recovering = peer.recovering
    if message.recovering:
        _on_recovering_reply(state, peer, message)
    peer.recovering = message.recovering
    if message.reject:
        _on_refused(state, node, peer, message)
        return
    counts_again = was_recovering and not message.recovering
    agrees_again = peer.match == message.index and (peer.state is ProgressState.probe or counts_again)
    if peer.update(message.index) or agrees_again:
        _on_accepted(state, role, node, peer, message.index)


def _on_accepted(state: State, role: Leader, node: NodeId, peer: Progress, index: int) -> None:
    if peer.state is ProgressState.probe:
        peer.become_replicate()
    elif peer.state is ProgressState.replicate:
        peer.inflights.free_to(index)
    elif peer.match + 1 >= state.log.first_index:
        peer.become_probe()
        peer.become_replicate()
    if maybe_commit(state, role) and state.config.announce_commit:
        broadcast_append(state, role)
    elif node != state.id and state.config.announce_commit and peer.can_bump_commit(state.log.commit):
        send_append(state, node, peer, even_if_empty=True)
    if node == state.id:
        return
    while send_append(state, node, peer, even_if_empty=False):
        pass
    if node == role.transferee and peer.match == state.log.last_index:
        send(state, MessageKind.timeout_now, node)


def _on_recovering_reply(state: State, peer: Progress, message: Message) -> None:
    if message.reject:
        peer.restart(min(message.index, state.log.last_index) + 1)
    elif not peer.recovering or message.index < peer.match:
        peer.restart(message.index + 1)


def _on_refused(state: State, node: NodeId, peer: Progress, message: Message) -> None:
    hint = message.hint
    if message.log_term:
        hint, _ = state.log.conflict_by_term(hint, message.log_term)
    if peer.decrease(message.index, hint):
        if peer.state is ProgressState.replicate:
            peer.become_probe()
        send_append(state, node, peer, even_if_empty=True)


def on_heartbeat_reply(state: State, role: Leader, message: Message) -> None:
    """A peer is alive; it may confirm reads, and may need to be woken up."""
    node = message.sender
    peer = role.progress.get(node)
    if peer is None:
        return
    peer.recent_active = True
    peer.is_paused_probe = False
    if message.recovering and not peer.recovering:
        peer.recovering = True
        if peer.state is not ProgressState.snapshot:
            peer.restart(state.log.last_index + 1)
    # A recovering peer takes commit indexes from appends only, and a quiet group would send it none.
    if peer.match < state.log.last_index or peer.state is ProgressState.probe or peer.recovering:
        send_append(state, node, peer, even_if_empty=True)
    if not message.recovering and message.context > peer.read_context:
        peer.read_context = message.context
        reads.confirm(state, role)


def tick_leader(state: State, role: Leader) -> None:
    """One tick of a leader: checks the quorum once an election timeout, sends heartbeats."""
    state.heartbeat_elapsed += 1
    state.election_elapsed += 1
    if state.election_elapsed >= state.config.election_ticks:
        state.election_elapsed = 0
        if state.config.check_quorum and not _quorum_is_active(state, role):
            become_follower(state, state.term, NOBODY, Cause(Why.quorum_silent))
            return
        role.transferee = NOBODY
    if state.heartbeat_elapsed >= state.config.heartbeat_ticks:
        state.heartbeat_elapsed = 0
        reads.broadcast_heartbeat(state, role)


def _quorum_is_active(state: State, role: Leader) -> bool:
    active = {node: peer.recent_active for node, peer in role.progress.items()}
    for node, peer in role.progress.items():
        peer.recent_active = node == state.id
    members = state.membership
    return joint_vote(members.voters, members.outgoing, active) is VoteResult.won


def transfer_leadership(state: State, role: Leader, to: NodeId) -> None:
    """Lets a voter catch up and then campaign at once; proposals are refused meanwhile, an election timeout at most."""
    peer = role.progress.get(to)
    if peer is None or to not in state.membership.all_voters or to in (state.id, role.transferee):
        return
    state.election_elapsed = 0
    role.transferee = to
    if peer.match == state.log.last_index:
        send(state, MessageKind.timeout_now, to)
    else:
        send_append(state, to, peer, even_if_empty=True)


def call_successor(state: State, role: Leader) -> None:
    """Asks the voter with the longest log to campaign. It may be gone or lose: then an election timeout finds another one."""
    others = [node for node in state.membership.voters if node != state.id and role.progress[node].recent_active]
    if others:
        send(state, MessageKind.timeout_now, max(others, key=lambda node: role.progress[node].match))


def report_snapshot(role: Leader, node: NodeId, ok: bool) -> None:
    """The shell finished or gave up streaming a snapshot; the next append waits for the peer's word or a heartbeat."""
    peer = role.progress.get(node)
    if peer is None or peer.state is not ProgressState.snapshot:
        return
    if not ok:
        peer.pending_snapshot = 0
    peer.become_probe()
    peer.is_paused_probe = True


def peer_lost(role: Leader, node: NodeId) -> None:
    """A peer's process is gone: it will not take leadership over, so proposals need not wait for that."""
    report_unreachable(role, node)
    if role.transferee == node:
        role.transferee = NOBODY


def report_unreachable(role: Leader, node: NodeId) -> None:
    """Messages to a peer were lost: stop sending ahead."""
    peer = role.progress.get(node)
    if peer is not None and peer.state is ProgressState.replicate:
        peer.become_probe()
