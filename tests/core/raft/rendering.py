"""Writes messages, entries and effects in the notation of the published scenario files."""

from __future__ import annotations

from collections.abc import Sequence

from node.core.raft import Entry, EntryKind, Membership, Message, MessageKind, Role, SnapshotMeta
from node.core.raft.membership import MembershipChange, Step
from node.core.raft.progress import ProgressState

NAMES = {
    MessageKind.append: "MsgApp", MessageKind.append_reply: "MsgAppResp", MessageKind.vote: "MsgVote",
    MessageKind.vote_reply: "MsgVoteResp", MessageKind.pre_vote: "MsgPreVote",
    MessageKind.pre_vote_reply: "MsgPreVoteResp", MessageKind.heartbeat: "MsgHeartbeat",
    MessageKind.heartbeat_reply: "MsgHeartbeatResp", MessageKind.snapshot: "MsgSnap",
    MessageKind.timeout_now: "MsgTimeoutNow",
}  # fmt: skip
ROLES = {
    Role.follower: "StateFollower", Role.pre_candidate: "StatePreCandidate", Role.candidate: "StateCandidate",
    Role.leader: "StateLeader",
}  # fmt: skip
STATES = {
    ProgressState.probe: "StateProbe", ProgressState.replicate: "StateReplicate",
    ProgressState.snapshot: "StateSnapshot",
}  # fmt: skip
LETTERS = {Step.add_voter: "v", Step.add_learner: "l", Step.remove: "r", Step.update: "u"}


def show_steps(change: MembershipChange) -> str:
    return " ".join(f"{LETTERS[step]}{node}" for step, node in change.steps)


def show_entry(entry: Entry) -> str:
    """`term/index kind "data"`."""
    if entry.kind is EntryKind.change:
        text = f"EntryConfChange {show_steps(MembershipChange.decode(entry.data))}".rstrip()
    else:
        data = entry.data.decode().replace('"', '\\"')
        text = f'EntryNormal "{data}"'
    return f"{entry.term}/{entry.index} {text}"


def show_entries(entries: Sequence[Entry]) -> str:
    if len(entries) == 1:
        return f" Entries:[{show_entry(entries[0])}]"
    return " Entries:[\n" + "".join(f"  {show_entry(entry)}\n" for entry in entries) + "]" if entries else ""


def show_snapshot(snapshot: SnapshotMeta) -> str:
    def nodes(half: tuple[int, ...]) -> str:
        return f"[{' '.join(map(str, half))}]"

    members: Membership = snapshot.membership
    return (
        f"Index:{snapshot.index} Term:{snapshot.term} ConfState:Voters:{nodes(members.voters)} "
        f"VotersOutgoing:{nodes(members.outgoing)} Learners:{nodes(members.learners)} "
        f"LearnersNext:{nodes(members.learners_next)} AutoLeave:{str(members.auto_leave).lower()}"
    )


def show_message(message: Message) -> str:
    """One message, on several lines if it carries several entries or a snapshot."""
    text = f"{message.sender}->{message.to} {NAMES[message.kind]} Term:{message.term} "
    text += f"Log:{message.log_term}/{message.index}"
    if message.reject:
        text += f" Rejected (Hint: {message.hint})"
    if message.commit:
        text += f" Commit:{message.commit}"
    text += show_entries(message.entries)
    if message.snapshot is not None:
        text += f"\n  Snapshot: {show_snapshot(message.snapshot)}"
    return text


def indent(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.split("\n"))
