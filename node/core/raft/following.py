"""A follower's side: taking over entries, commit indexes and snapshots from the leader."""

from __future__ import annotations

from node.core.raft.log import count_chained
from node.core.raft.message import Message, MessageKind
from node.core.raft.ready import Cause, Why
from node.core.raft.reconfigure import switch_membership
from node.core.raft.state import Follower, State, become_follower, reset_timers, respond_append, send
from node.core.raft.types import NOBODY


def follow(state: State, message: Message) -> None:
    """A leader of the current term spoke: follow it, and start waiting anew."""
    if not isinstance(state.role, Follower):
        become_follower(state, message.term, message.sender, Cause(Why.leader_spoke, message.sender))
    state.election_elapsed = 0
    state.leader, state.gone_leader = message.sender, NOBODY
    if state.hurried:
        state.hurried = 0
        reset_timers(state)


def on_append(state: State, message: Message) -> None:
    """Takes over the entries if they fit, else says where the logs may agree."""
    follow(state, message)
    log = state.log
    if message.index < log.commit:
        respond_append(state, message.sender, log.commit)
        return
    if log.term_at(message.index) != message.log_term:
        _refuse(state, message, min(message.index, log.last_index))
        return
    entries = message.entries
    chained = count_chained(message.index, message.log_term, log.checksum_at(message.index), entries)
    if chained < len(entries):
        state.chain_refused += 1
        _refuse(state, message, message.index)
        return
    position = log.first_conflict(entries)
    if position < len(entries):
        log.append(entries[position:] if position else entries)
    last = message.index + len(entries)
    log.commit_to(min(message.commit, last))
    respond_append(state, message.sender, last)


def _refuse(state: State, message: Message, hint: int) -> None:
    index, term = state.log.conflict_by_term(hint, message.log_term)
    respond_append(state, message.sender, message.index, reject=True, hint=index, log_term=term)


def on_heartbeat(state: State, message: Message) -> None:
    """Takes over the commit index and confirms the context."""
    follow(state, message)
    # A leader that does not know of the loss yet may name an index whose entry is gone.
    if not state.recovering:
        state.log.commit_to(message.commit)
    send(state, MessageKind.heartbeat_reply, message.sender, context=message.context)


def on_snapshot(state: State, message: Message) -> None:
    """Replaces the log by a snapshot if that leads further than what is committed here.

    The snapshot may be older than this node's membership: the entries behind it bring the change, as for any follower.
    """
    follow(state, message)
    snapshot = message.snapshot
    assert snapshot is not None, "a snapshot message carries its meta"
    log = state.log
    if snapshot.index > log.commit:
        if log.term_at(snapshot.index) == snapshot.term and not state.recovering:
            log.commit_to(snapshot.index)
        else:
            log.restore(snapshot)
            switch_membership(state, snapshot.membership)
            respond_append(state, message.sender, log.last_index)
            return
    respond_append(state, message.sender, log.commit)
