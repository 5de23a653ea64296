"""Campaigns and votes."""

from __future__ import annotations

from node.core.raft.message import Message, MessageKind
from node.core.raft.quorum import VoteResult, joint_vote
from node.core.raft.ready import Cause, Role, Why
from node.core.raft.reconfigure import has_unapplied_change
from node.core.raft.replication import append, broadcast_append
from node.core.raft.state import (
    Candidate,
    Follower,
    Leader,
    State,
    become_candidate,
    become_follower,
    become_leader,
    become_pre_candidate,
    reset_timers,
)
from node.core.raft.types import NOBODY, EntryKind, LogEnd, NodeId

LAST_TIMEOUTS = 5  # that a replica waits which lets others lead: a cluster that can elect another has done so by then


def campaign(state: State, cause: Cause, *, transfer: bool = False) -> None:
    """Starts an election unless this replica leads, may not, or does not know all voters yet.

    A transfer skips the pre-vote: the leader itself asked for it.
    """
    if isinstance(state.role, Leader) or not state.is_promotable or has_unapplied_change(state):
        return
    _ask_for_votes(state, cause, pre=state.config.pre_vote and not transfer, forced=transfer)


def _ask_for_votes(state: State, cause: Cause, *, pre: bool, forced: bool) -> None:
    if pre:
        become_pre_candidate(state, cause)
        kind, reply, term = MessageKind.pre_vote, MessageKind.pre_vote_reply, state.term + 1
    else:
        become_candidate(state, cause)
        kind, reply, term = MessageKind.vote, MessageKind.vote_reply, state.term
    log = state.log
    for node in state.membership.all_voters:
        if node != state.id:
            message = Message(
                kind, node, state.id, term, log.last_term, log.last_index, forced=forced, recovering=state.is_doubted
            )
            state.messages.append(message)
        elif not state.is_doubted:
            # Its own vote counts once it is durable, like everybody else's.
            state.responses.append(Message(reply, node, node, term))


def refuses_candidate(state: State, message: Message) -> bool:
    """Whether a vote of a higher term is ignored, because a leader was heard from less than a timeout ago."""
    return (
        state.config.check_quorum
        and not message.forced
        and state.leader != NOBODY
        and state.election_elapsed < state.config.election_ticks
    )


def on_vote_request(state: State, message: Message) -> None:
    """Grants a vote or pre-vote to a log that is up to date. Learners vote too: they may not know that they do."""
    is_pre = message.kind is MessageKind.pre_vote
    reply = MessageKind.pre_vote_reply if is_pre else MessageKind.vote_reply
    is_free = (
        state.vote == message.sender
        or (state.vote == NOBODY and state.leader == NOBODY)
        or (is_pre and message.term > state.term)
    )
    is_up_to_date = LogEnd(message.log_term, message.index) >= state.promised_end
    granted = is_free and not state.is_doubted and is_up_to_date
    if granted and not is_pre:
        state.election_elapsed = 0
        state.vote = message.sender
    term = message.term if granted else state.term
    state.responses.append(Message(reply, message.sender, state.id, term, reject=not granted))
    if not is_up_to_date and state.hurried and state.leader == NOBODY and isinstance(state.role, Follower):
        cause = Cause(Why.rival_behind, message.sender)
        campaign(state, cause)  # nobody waits for the turn of a candidate that cannot win


def on_vote_reply(state: State, role: Candidate, message: Message) -> None:
    """Counts an answer, and moves on once majorities have decided."""
    awaited = MessageKind.pre_vote_reply if role.kind is Role.pre_candidate else MessageKind.vote_reply
    if message.kind is not awaited:
        return
    role.votes.setdefault(message.sender, not message.reject)
    members = state.membership
    result = joint_vote(members.voters, members.outgoing, role.votes)
    if result is VoteResult.won and role.kind is Role.pre_candidate:
        _ask_for_votes(state, Cause(Why.would_win), pre=False, forced=False)
    elif result is VoteResult.won:
        leader = become_leader(state)
        append(state, leader, EntryKind.normal, (b"",))
        broadcast_append(state, leader)
    elif result is VoteResult.lost:
        become_follower(state, state.term, NOBODY, Cause(Why.outvoted))


def tick_election(state: State) -> None:
    """One tick without being leader: campaigns when the wait is over."""
    state.election_elapsed += 1
    timeouts = LAST_TIMEOUTS if state.lets_others_lead else 1
    if state.election_elapsed < state.election_timeout * timeouts or not state.is_promotable:
        return
    cause = _why_now(state)
    state.election_elapsed = 0
    if state.hurried:
        state.hurried -= 1
        reset_timers(state)
    campaign(state, cause)


def _why_now(state: State) -> Cause:
    if state.leader != NOBODY:
        return Cause(Why.leader_silent, state.leader, state.election_elapsed)
    if state.gone_leader != NOBODY:
        return Cause(Why.leader_gone, state.gone_leader)
    return Cause(Why.nobody_leads)


def leader_lost(state: State, node: NodeId) -> None:
    """The process of a node is gone. If it led, the others campaign in turn, so that they do not split the votes.

    The order turns with the term: otherwise one node would inherit all groups of the dead one. The first asks at once. Who has
    not noticed the death yet answers when it does; should that answer get lost, the first asks again after a tick.
    """
    if state.leader != node or not isinstance(state.role, Follower):
        return
    state.leader, state.gone_leader = NOBODY, node
    refused, state.refused = state.refused, None
    if not state.lets_others_lead and not _wait_for_turn(state, node):
        campaign(state, Cause(Why.leader_gone, node))
    elif refused is not None and refused.term > state.term:
        on_vote_request(state, refused)


def _wait_for_turn(state: State, lost: NodeId) -> int:
    """Shortens the wait for a campaign; how many campaign before."""
    config = state.config
    state.hurried = config.lost_leader_campaigns_max
    state.election_elapsed = 0
    others = [voter for voter in state.membership.all_voters if voter != lost]
    turn = (others.index(state.id) + state.term) % len(others) if state.id in others else len(others)
    state.election_timeout = 1 + turn * config.lost_leader_ticks
    return turn
