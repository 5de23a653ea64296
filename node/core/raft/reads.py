"""Linearizable reads by ReadIndex (section 6.4 of Ongaro's thesis).

Each read has a context that is unique and rises. A heartbeat carries the newest one; a majority that answers it
confirms all reads up to it, as every one of them came before the heartbeat left.
"""

from __future__ import annotations

from node.core.raft.message import MessageKind
from node.core.raft.quorum import joint_index
from node.core.raft.ready import ProposalDropped, ReadState
from node.core.raft.state import Leader, State, send
from node.core.raft.types import NodeId


def read_index(state: State, role: Leader) -> int:
    """Registers a read; raises ProposalDropped until an entry of the leader's own term is committed."""
    commit = state.log.commit
    if commit < role.term_start:
        raise ProposalDropped("nothing is committed in this term yet", state.id)
    state.read_context += 1
    context = state.read_context
    role.reads[context] = commit
    if not confirm(state, role):
        role.reads_unsent = True
    return context


def confirm(state: State, role: Leader) -> bool:
    """Moves the reads that majorities confirmed to the next Ready; returns whether none is left."""
    if not role.reads:
        return True
    members, newest = state.membership, state.read_context
    own, progress = state.id, role.progress

    def context_of(node: NodeId) -> int:
        return newest if node == own else progress[node].read_context

    confirmed = joint_index(members.voters, members.outgoing, context_of)
    done = [context for context in role.reads if context <= confirmed]
    for context in done:
        state.reads_confirmed.append(ReadState(context, role.reads.pop(context)))
    return not role.reads


def broadcast_heartbeat(state: State, role: Leader) -> None:
    """Tells every peer that the leader lives, what is committed of what it has, and the newest read context."""
    context = next(reversed(role.reads), 0)
    role.reads_unsent = False
    commit = state.log.commit
    for node, peer in role.progress.items():
        if node != state.id:
            told = min(peer.match, commit)
            send(state, MessageKind.heartbeat, node, commit=told, context=context)
            peer.sent_commit = told
