"""What is done about a disk that has lost something: it is stored, told to people, and healed by the leader."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from node.actors.actor import Spawn
from node.actors.recollection import GroupRecollection
from node.core.raft import LogEnd, Message, MessageKind, Raft, Remains, Restored
from node.notices import (
    FolderInDoubt,
    FolderSound,
    FolderTakenForMoved,
    NobodyHasWhatWasLost,
    ReplicaRecovered,
    ReplicaRecovering,
)
from node.ports import OperatorLog, Start, StartBook, StorageFailed
from protocol.messages import Recollection
from protocol.placement import called

if TYPE_CHECKING:
    from node.actors.replica import Replica
    from node.actors.replica_ports import ReplicaPorts

HELPLESS_SECONDS = 10.0  # without a leader, after which people are told: a group that can elect one has done so by then


class Losses:
    """What a replica lacks of what it acknowledged."""

    def __init__(self, group: int, ports: ReplicaPorts) -> None:
        self.noted: LogEnd | None = None  # as it was last written
        self._group = group
        self._node, self._operator = ports.node, ports.operator
        self._led_at: float | None = None  # when nothing was lost, or somebody led, as was seen last
        self._is_helpless = False  # as people were told

    def note(self, raft: Raft) -> LogEnd | None:
        """What the next write has to store; people are told when the recovery begins and when it ends."""
        lost, before = raft.lost, self.noted
        self.noted = lost
        if lost is not None and before is None:
            self._operator.tell(ReplicaRecovering(self._group, lost.term, lost.index))
        elif lost is None and before is not None:
            self._operator.tell(ReplicaRecovered(self._group, raft.status().last_index))
        return lost

    def look(self, raft: Raft, now: float) -> None:
        """Says what does not heal by itself, once: a loss, and nobody who can lead."""
        if self._led_at is None or raft.lost is None or raft.state.leader:
            self._led_at, self._is_helpless = now, False
        elif now - self._led_at >= HELPLESS_SECONDS and not self._is_helpless:
            self._is_helpless = True
            has, lost = raft.state.log.end, raft.lost
            others = ", ".join(str(node) for node in raft.state.membership.all_voters if node != self._node)
            start = f"start nodes {others}; if they run, " if others else ""
            reason = (
                f"the log ends at {has.index} of term {has.term}, and {lost.index} of term {lost.term} was acknowledged"
            )
            remedy = f"{start}put back the newest data folder of one that had all of it, and of no other"
            self._operator.tell(NobodyHasWhatWasLost(self._group, reason, remedy))


class Doubts:
    """Whether this node's whole disk may be an older one than it had, which its own files cannot tell.

    There are five reasons: its files are other ones than at its last start, so they were copied; its own book of starts is gone or
    damaged; what is left of the log and of its second copy cannot tell where the log ended; a peer remembers a start that the
    folder does not; or an acknowledgement that it does not. The last three are certain. Then no replica here votes or
    counts until every other member of its group has spoken, and it votes in none of the terms that they have seen. Where none of
    them contradicts a folder that was merely copied, its replicas take part again, but vote for nobody whose log ends before the
    furthest of theirs: in that is whatever was committed by an acknowledgement that the folder may have forgotten. Otherwise the
    doubt of each replica lasts until a leader that was elected without it has brought its log as far as anybody remembers: that its
    own log goes so far shows nothing, since others may have forgotten with it what it lacks. Or until all others that it needs elect it.

    A folder that is certainly old, in a group of which no other node has anything, is refused: that is everybody's loss.

    Where somebody who should speak is gone for good, only people can know that a folder that was copied is the last one: they may
    say so (`is_moved`), which ends that doubt. What a peer proves all the same is believed, as ever.

    The reason is stored, and its end when all replicas have caught up: behind everything on the disk that has ended it, logs
    and terms, or after a crash an old folder would vote as a sound one.
    """

    def __init__(
        self,
        node: int,
        book: StartBook,
        replicas: Mapping[int, Replica],
        spawn: Spawn,
        operator: OperatorLog,
        *,
        is_moved: bool,
    ) -> None:
        """`is_moved`: the operator answers for it that a folder that was copied is the last one that this node had."""
        self._node = node
        self._operator = operator
        self._is_moved = is_moved
        self._book = book
        self._replicas = replicas
        self._spawn = spawn
        self._start = Start(0, None, "", False)
        self._reason, self._is_old = "", False
        self._restored: dict[int, Replica] = {}  # whether they take part yet or not
        self._remains: dict[int, Remains] = {}
        self._recollections: dict[int, dict[int, GroupRecollection]] = {}
        """By peer, of its first since the start: by group."""
        self._settled: dict[int, int] = {}
        """The highest term that anybody had seen when all others had spoken, by group."""
        self._is_ending = False

    @property
    def is_clear(self) -> bool:
        """Whether there is no doubt, and everybody who may raise one has spoken."""
        is_open = self._remains and self._remains.keys() <= self._replicas.keys()
        others = {node for replica in self._replicas.values() for node in self._others(replica)}
        return bool(is_open) and not self._reason and others <= self._recollections.keys()

    def has_heard(self, node: int) -> bool:
        """Whether a peer has said what it remembers of this node, in this start; before, nothing that it says of a log counts."""
        return node in self._recollections

    def may_take(self, message: Message) -> bool:
        """Whether a vote may be given where one is asked for by a replica in doubt: only by whom nobody can find in doubt any more."""
        is_vote = message.recovering and message.kind in (MessageKind.vote, MessageKind.pre_vote)
        return not is_vote or self.is_clear

    async def begin(self) -> int:
        """Looks at the folder, before the log is opened; the number of this start. Raises StorageFailed."""
        start = self._start = await self._book.begin()
        if start.is_copy and self._is_moved:
            self._operator.tell(FolderTakenForMoved(start.reason))
        else:
            self._reason, self._is_old = start.reason, start.is_old
        return self._start.number

    async def opened(self) -> None:
        """The log is open, and what was missing is made. Raises StorageFailed."""
        await self._book.record(self._reason, self._is_old)
        if self._reason:
            self._tell()

    def restored(self, replica: Replica, restored: Restored) -> None:
        """What a replica here has found on the disk. Raises StorageFailed where that is old, and nobody else can know more."""
        if self._is_old and not self._others(replica):
            raise self._hopeless(replica)
        self._restored[replica.group] = replica
        self._remains[replica.group] = Remains(restored)
        replica.raft.set_doubted(bool(self._reason))

    def heard(self, node: int, recollection: Recollection) -> None:
        """What a peer remembers; nothing has gone out to it yet."""
        if node in self._recollections:
            return
        rows = [GroupRecollection.unpack(row) for row in recollection.groups]
        self._recollections[node] = {row.group: row for row in rows}
        earlier = self._start.earlier
        if earlier is not None and (forgotten := set(recollection.starts) - earlier - {self._start.number}):
            self._find_old(f"node {node} remembers a start of this node that its folder does not", sorted(forgotten))
        for row in rows:
            remains = self._remains.get(row.group)
            if remains is not None and row.acknowledged is not None and not remains.cover(row.acknowledged):
                self._find_old(f"node {node} remembers more of {called(row.group)} than the folder of this node")

    def _find_old(self, reason: str, forgotten: Sequence[int] = ()) -> None:
        """It is certain now, and what shows it takes the place of the reason for a mere doubt.

        Whoever has said so does it again if the node dies before that is stored.
        """
        was_old, self._is_old = self._is_old, True
        self._reason = self._reason if was_old and self._reason else reason
        self._spawn(self._book.record(self._reason, True, forgotten))
        if not was_old:
            self._settled.clear()
            self._tell()
            for group, replica in self._restored.items():
                replica.raft.set_doubted(True)
                if group in self._replicas:
                    replica.handle([])

    def _tell(self) -> None:
        """What people are told, once a start or when it becomes certain."""
        remedy = (
            "it takes no part until all other nodes have spoken: start them. Replace one that is gone for good first, then this one "
            f"if it stays in doubt: scripts/cluster replace {self._node}. Where fewer than a majority are left without these two, they "
            "block each other until the missing one is back with its last data folder"
        )
        if self._is_moved and self._start.is_copy:
            remedy = f"it is not the last one, whatever --moved says; {remedy}"
        if self._start.is_copy and not self._is_old:
            remedy += (
                "; or if you know that it is the last one that this node had, and was only moved, stop the node, then "
                f"scripts/cluster start {self._node} --moved"
            )
        self._operator.tell(FolderInDoubt(self._reason, self._is_old, remedy))

    def _others(self, replica: Replica) -> list[int]:
        return [int(node) for node in replica.membership.everyone if node != self._node]

    def _settle(self) -> None:
        """Lets each replica whose group's others have all spoken do what can be done."""
        for group, replica in self._replicas.items():
            others = self._others(replica)
            has_heard = self._recollections.keys() >= set(others)
            if has_heard and group in self._remains and group not in self._settled:
                self._settled[group] = self._settle_group(replica, others)
            is_settled = group in self._settled and replica.raft.state.is_doubted
            if is_settled and (not self._is_old or replica.raft.has_caught_up_since(self._settled[group])):
                replica.raft.set_doubted(False)
                replica.handle([])

    def _settle_group(self, replica: Replica, others: Sequence[int]) -> int:
        told = [rows[replica.group] for node in others if replica.group in (rows := self._recollections[node])]
        known = [row.acknowledged for row in told if row.acknowledged and self._is_old]
        acknowledged = [LogEnd(one.term, one.index) for one in known]
        term = max([0, *(row.term for row in told), *(one.term for one in known)])
        floor = max([LogEnd(), *(row.end for row in told), *acknowledged])
        if self._is_old and floor == LogEnd():
            raise self._hopeless(replica)
        replica.raft.trust(term, floor)
        replica.handle([])
        return replica.raft.state.term

    def _hopeless(self, replica: Replica) -> StorageFailed:
        lost = f"{self._reason}, and no other node has anything of {called(replica.group)}"
        return StorageFailed(f"{lost}: put the data folder back as it was last")

    def tick(self) -> None:
        """Ends the doubt once all replicas are sound again. Raises StorageFailed where nobody can help."""
        if not self._reason:
            return
        self._settle()
        if not self._is_ending and self._is_healed():
            self._is_ending = True
            self._spawn(self._end())

    def _is_healed(self) -> bool:
        is_settled = self._settled.keys() >= self._remains.keys()
        return is_settled and all(replica.raft.is_restored for replica in self._replicas.values())

    async def _end(self) -> None:
        await asyncio.gather(*[replica.flushed() for replica in self._replicas.values()])
        if self._is_healed():  # nobody has contradicted meanwhile
            self._reason, self._is_old = "", False
            self._operator.tell(FolderSound())
            await self._book.record("", False)
        self._is_ending = False
