"""Changes of membership in the life of a replica: proposed one at a time, in force once applied."""

from __future__ import annotations

from node.core.raft.membership import InvalidChange, Membership, MembershipChange, apply_change
from node.core.raft.progress import reconcile
from node.core.raft.ready import Cause, ProposalDropped, Why
from node.core.raft.replication import append, broadcast_append, check_may_propose, maybe_commit, send_append
from node.core.raft.state import Leader, State, become_follower
from node.core.raft.types import NOBODY, Entry, EntryKind


def propose_change(state: State, role: Leader, change: MembershipChange) -> tuple[int, int]:
    """Appends and sends a change; raises ProposalDropped if one is unapplied, or if it does not fit the membership."""
    check_may_propose(state, role)
    if role.change_index > state.log.applied:
        raise ProposalDropped("change refused: an earlier one may be unapplied", state.id)
    try:
        apply_change(state.membership, change)
    except InvalidChange as error:
        raise ProposalDropped(f"change refused: {error}", state.id) from error
    span = append(state, role, EntryKind.change, (change.encode(),))
    role.change_index = span[1]
    broadcast_append(state, role)
    return span


def has_unapplied_change(state: State) -> bool:
    """Whether a committed change is not in force here yet, so that this replica may not know who votes."""
    log = state.log
    entries = log.entries[log.applied - log.base_index : log.commit - log.base_index]
    return any(entry.kind is EntryKind.change for entry in entries)


def apply_changes(state: State, index: int) -> None:
    """Puts the changes among the newly applied entries up to `index` in force."""
    for entry in _newly_applied(state, index):
        if entry.kind is EntryKind.change:
            switch_membership(state, apply_change(state.membership, MembershipChange.decode(entry.data)))


def applied_to(state: State, index: int) -> None:
    """Moves the applied index; a leader then gives room to new proposals and leaves a joint membership if due."""
    log, role = state.log, state.role
    assert index <= log.applying, "only entries that were handed out can have been applied"
    if index <= log.applied:
        return
    if isinstance(role, Leader):
        size = sum([len(entry.data) for entry in _newly_applied(state, index)])
        role.uncommitted_bytes = max(0, role.uncommitted_bytes - size)
    log.applied = index
    if state.membership.auto_leave and isinstance(role, Leader) and index >= role.change_index:
        try:
            propose_change(state, role, MembershipChange())
        except ProposalDropped:
            return  # refused during a transfer; the next leader, or the next applied entry, tries again


def _newly_applied(state: State, index: int) -> list[Entry]:
    log = state.log
    if index <= log.base_index:
        return []  # a snapshot has overtaken them
    return log.entries[log.applied - log.base_index : index - log.base_index]


def switch_membership(state: State, membership: Membership) -> None:
    """Takes over a membership. A leader starts with new peers at once, and resigns if it no longer votes."""
    state.membership = membership
    role, config = state.role, state.config
    if not isinstance(role, Leader):
        return
    role.progress = reconcile(
        role.progress, membership, state.log.last_index, config.inflight_messages_max, config.inflight_bytes_max
    )
    if state.id not in membership.all_voters:
        if config.step_down_on_removal:
            become_follower(state, state.term, NOBODY, Cause(Why.removed))
        return
    if maybe_commit(state, role):
        broadcast_append(state, role)
    else:
        for node, peer in role.progress.items():
            if node != state.id:
                send_append(state, node, peer, even_if_empty=False)
    if role.transferee not in membership.all_voters:
        role.transferee = NOBODY
