"""Consensus of one group: a Raft replica as a pure state machine, shaped on etcd's raft with asynchronous writes.

Events go in by `step`, `tick`, `propose` and the like; effects come out of `ready`; nothing else happens. There is no
clock, no I/O and no randomness but the generator in the configuration, so a simulator runs exactly this code.

The shell's loop::

    ready = raft.ready()
    send(ready.messages)                 # at once
    write(ready.persist)                 # in order; several may be under way
        raft.persisted(persist)          # when durable; then send its responses that go to other nodes
    apply(ready.committed)
        raft.applied(index)              # changes of membership come into force here

Invariants, and where they are held:
- A message that shows a term, a vote or an acknowledgement leaves after the write it speaks of (`Persist.responses`).
  A leader counts itself by the same rule. Appends and heartbeats of the same Ready may leave before it.
- Only entries of the leader's own term are committed by counting (`replication.maybe_commit`).
- The log never changes at or below the commit index; commit, term and, within a term, match never fall.
  The one exception is a peer that says itself that it lost entries.
- A write counts as stable only in the term in which it was handed out (`Raft.persisted`).
- Entries carry a checksum chained over the log; an append that breaks the chain is refused and counted.
- Entries are applied only when they are durable here.
- Linearizable reads are confirmed by a majority that answers a context which was never used before (`reads`).
- One change of membership at a time, after the leader has committed in its term, in force when applied.

A replica that lost the end of a log that it had acknowledged is *recovering* until its log ends no earlier than that one did
(`LogEnd`, the `floor`). Until then it follows, stores and votes, but does not campaign, and its leader does not count it. Its votes are
as safe as if nothing were lost: what a vote protects is decided by comparing the ends of two logs, and the end of the lost one is known;
the term and the vote are promised beside it, and where they are in doubt, nobody gets a vote in that term. A log that ends
at the floor or beyond is that of a later leader, or goes as far in the same leader's, so whatever was committed by the lost entries is in
it (section 5.4 of the Raft paper). So one replica that has everything is elected by any number that have lost their ends; and where
all who had an entry lost it, none is elected, for ever: that is the price of not losing a payment.

The floor is exact where the promise is sound. Where the log alone is left, and is damaged, it is taken too high: the term of the last
write for that of the last entry. Where a whole folder may be old, nothing in it tells the floor: the replica is *in doubt*, and does
not vote either. The shell asks all others: the furthest of their floors and ends is a floor (`Raft.trust`), since each commit that counted
this replica is on one of them. If it was only copied, the doubt is over with that; if it is old for certain, then so may others be,
and it votes for nobody before a leader that was elected without it has brought its log there (`Raft.has_caught_up_since`): by an entry of
a term above all that anybody had seen when all had spoken, or by one of the leader that it follows, committed in its term. Its own log
may end there all the same, where those with more were put back as well. But it may be elected by a majority that it is no part of: their
logs show what they have acknowledged, and so a folder that was put back can be the one that has what all others lost. It says that it is in
doubt, and the shell gives it no vote that may be in doubt itself as soon as somebody speaks (`Doubts.may_take`).

What is *promised* (`promises`): the term, the vote, and where the log ended when it was last made durable, with the term in which
that was written. The shell keeps it a second time, apart from the log, durable before it is told. At a start `restore_log` compares:
- term or vote differ: the later term counts, and nobody gets a vote in it;
- the log has the promised end, or a checkpoint or later leader's entries took its place: the replica is sound, whatever else of
  the log is broken below its checkpoint;
- otherwise the promised end is lost, and is the replica's floor. That is promised in turn, so that no second start forgets it;
- where the log goes on soundly behind the promise, that is promised from then on, and nothing that is damaged there is;
- where the log fell back behind the promise, entries of a later term than the promised end's had been replaced, and do not count;
- the log also knows where it ended behind the first write of its last term (`reach`): what ends before that has lost something;
- where neither tells the term and the vote (`StoredGroup.is_mute`), the shell refuses to start.
A leader may also be told later that its folder is in doubt (`Raft.set_doubted`), by peers that remember more than its whole disk does.

Where this differs from etcd's raft: a change that does not fit is refused (`ProposalDropped`) instead of becoming an
empty entry; a snapshot that is older than the receiver's membership is accepted, as checkpoints are not made to order;
reads asked before the first commit of a term are refused instead of held; a removed leader resigns by default. When a leader's
process is gone, and after a start, the replicas campaign in turn instead of at random (`lost_leader_ticks`, `first_wait_ticks`);
then a refused pre-vote is answered as soon as its receiver loses the leader too, and who refuses a candidate because its log is short
campaigns itself. A message of a term beyond `TERM_MAX` is refused.

Left out on purpose: leader leases and reads by followers (they trust clocks), forwarding of proposals (the gateway does
it), snapshot data (the shell streams it; the core exchanges metas only), witnesses, and priorities.
"""

from node.core.raft.membership import Membership, MembershipChange, SnapshotMeta, Step, Transition
from node.core.raft.message import Message, MessageKind
from node.core.raft.progress import ProgressState
from node.core.raft.promises import LogCut, Promise, StoredGroup, promise_kept, restore_log
from node.core.raft.raft import Raft
from node.core.raft.ready import (
    Cause,
    PeerStatus,
    Persist,
    ProposalDropped,
    RaftConfig,
    ReadState,
    Ready,
    Restored,
    Role,
    Status,
    Turn,
    Why,
)
from node.core.raft.remains import Acknowledged, Remains
from node.core.raft.types import (
    ENTRY_OVERHEAD_BYTES,
    NOBODY,
    Entry,
    EntryKind,
    HardState,
    LogEnd,
    NodeId,
    chain_checksum,
)

__all__ = [
    "ENTRY_OVERHEAD_BYTES",
    "Raft",
    "RaftConfig",
    "Restored",
    "Acknowledged",
    "Remains",
    "LogCut",
    "Promise",
    "StoredGroup",
    "promise_kept",
    "restore_log",
    "Ready",
    "Persist",
    "ReadState",
    "Role",
    "Turn",
    "Cause",
    "Why",
    "ProposalDropped",
    "Message",
    "MessageKind",
    "Entry",
    "EntryKind",
    "HardState",
    "LogEnd",
    "SnapshotMeta",
    "Membership",
    "MembershipChange",
    "Step",
    "Transition",
    "Status",
    "PeerStatus",
    "ProgressState",
    "NodeId",
    "NOBODY",
    "chain_checksum",
]
