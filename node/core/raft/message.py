"""The one message that replicas exchange, and its packed form."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, unique

from node.core.raft.membership import SnapshotMeta
from node.core.raft.types import Entry, NodeId, check_naturals, known_term
from protocol.errors import ProtocolError

_REJECT, _FORCED, _RECOVERING = 1, 2, 4
_FIELDS = 12


@unique
class MessageKind(IntEnum):
    """What a message says."""

    append = 0
    append_reply = 1
    vote = 2
    vote_reply = 3
    pre_vote = 4
    pre_vote_reply = 5
    heartbeat = 6
    heartbeat_reply = 7
    snapshot = 8
    timeout_now = 9


_KINDS = tuple(MessageKind)


@dataclass(frozen=True, slots=True)
class Message:
    """A message between two replicas of a group; a field that a kind does not use keeps its default."""

    kind: MessageKind
    """What it says."""
    to: NodeId
    """Receiver."""
    sender: NodeId
    """Sender."""
    term: int
    """Term of the sender; of a pre-vote, the term it would campaign in."""
    log_term: int = 0
    """Term of the entry at `index`; in a refused append, of the entry at `hint`."""
    index: int = 0
    """Append: index before the entries. Vote: last index. Append reply: last index that agrees, or was refused."""
    commit: int = 0
    """Commit index that the receiver may take over."""
    entries: tuple[Entry, ...] = ()
    """Entries to append, without gaps from `index` + 1."""
    reject: bool = False
    """Whether a reply refuses."""
    hint: int = 0
    """In a refused append, the highest index at which the logs can agree."""
    context: int = 0
    """Read context that a heartbeat confirms."""
    snapshot: SnapshotMeta | None = None
    """In a snapshot message, which one."""
    forced: bool = False
    """Whether a vote is asked for on behalf of the leader, so that a living leader is no reason to refuse."""
    recovering: bool = False
    """Whether the sender lost a part of what it once acknowledged; of a vote that is asked for, whether it may have."""

    def pack(self) -> list[object]:
        """The message as nested lists of numbers and bytes."""
        return [
            int(self.kind), self.to, self.sender, self.term, self.log_term, self.index, self.commit,
            [entry.pack() for entry in self.entries],
            self.reject * _REJECT | self.forced * _FORCED | self.recovering * _RECOVERING,
            self.hint, self.context, None if self.snapshot is None else self.snapshot.pack(),
        ]  # fmt: skip

    @staticmethod
    def unpack(packed: object) -> Message:
        """The inverse of `pack`; raises ProtocolError on any other shape, and on nothing else."""
        if not isinstance(packed, (list, tuple)) or len(packed) != _FIELDS:
            raise ProtocolError(f"a raft message is a list of {_FIELDS}")
        kind, to, sender, term, log_term, index, commit, entries, flags, hint, context, snapshot = packed
        check_naturals((kind, to, sender, term, log_term, index, commit, flags, hint, context))
        if kind >= len(_KINDS) or flags > 7:
            raise ProtocolError("unknown kind or flag of a raft message")
        if (snapshot is not None) != (kind == MessageKind.snapshot):
            raise ProtocolError("a snapshot's meta belongs into a snapshot message, and into no other")
        if to == 0 or sender == 0 or known_term(term) == 0:
            raise ProtocolError("a raft message has a sender, a receiver and a term")
        return Message(
            _KINDS[kind], to, sender, term, known_term(log_term), index, commit,
            _unpack_entries(entries, index), bool(flags & _REJECT), hint, context,
            None if snapshot is None else SnapshotMeta.unpack(snapshot),
            bool(flags & _FORCED), bool(flags & _RECOVERING),
        )  # fmt: skip


def _unpack_entries(packed: object, index: int) -> tuple[Entry, ...]:
    if not isinstance(packed, (list, tuple)):
        raise ProtocolError("expected a list of entries")
    if not packed:
        return ()
    entries = tuple([Entry.unpack(entry) for entry in packed])
    for entry in entries:
        index += 1
        if entry.index != index or entry.term == 0:
            raise ProtocolError("the entries of an append have consecutive indexes")
    return entries
