"""Who may vote when, by what its folder holds, what the others remember, and what a leader has sent since."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest

from node.actors.doubts import Doubts
from node.actors.events import Received
from node.actors.recollection import GroupRecollection
from node.actors.remembering import Remembering
from node.actors.replica import Replica
from node.actors.replica_ports import ReplicaPorts
from node.adapters.memory import Disk, MemoryFolder, MemoryPeers, MemoryShard, MemoryStarts
from node.core.raft import (
    NOBODY,
    Acknowledged,
    Entry,
    HardState,
    LogEnd,
    Membership,
    Message,
    MessageKind,
    NodeId,
    Raft,
    RaftConfig,
    Restored,
    SnapshotMeta,
)
from node.daemon import make_machine
from node.ports import UNHEARD
from protocol.messages import PROTOCOL_VERSION, Hello, Recollection
from tests.actors.desk_world import Time
from tests.core.raft.entries import chain

GROUP = 1
ONE, TWO, THREE = NodeId(1), NodeId(2), NodeId(3)
START, FORGOTTEN_START = 20, 19
OWN = (2, 4)  # where the log of every folder here ends


def entries(*terms: int) -> list[Entry]:
    """A log of such entries, which say nothing."""
    log: list[Entry] = []
    for index, term in enumerate(terms, 1):
        log += chain(index, 1, term, log[-1].checksum if log else 0, b"")
    return log


class Folder:
    """Node 1 with a replica of a group of three that has such a log; its writes are durable soon."""

    def __init__(self, term: int, commit: int, lost: LogEnd | None = None) -> None:
        self.sent: list[Message] = []
        self._writes: list[Callable[[], None]] = []
        self._tasks: list[asyncio.Task[None]] = []
        disk, time = Disk(), Time()
        ports = ReplicaPorts(
            1, time, time.wall_ns, lambda to, group, message: self.sent.append(message), self._send_piece,
            lambda write, done: self._writes.append(done), lambda *_: None, lambda _: None, self._spawn,
            lambda node: True, lambda group: None, lambda *_: None, UNHEARD, 0.05,
        )  # fmt: skip
        store = MemoryShard(disk, GROUP)
        self.replica = Replica(GROUP, lambda: make_machine(GROUP), make_machine(GROUP), store, ports, 1 << 20, 2)
        config = RaftConfig(ONE, Membership((ONE, TWO, THREE)), 10, 2, Random(7), check_quorum=False)
        self._restored = Restored(HardState(term, NOBODY, commit), tuple(entries(1, 1, 2, 2)), SnapshotMeta(), 0, lost)
        self.replica.raft = Raft(config, self._restored)
        self._disk = disk
        self.replicas = {GROUP: self.replica}
        folder = MemoryFolder(77)
        folder.is_new = False
        self._doubts = Doubts(1, MemoryStarts(disk, folder, START), self.replicas, self._spawn, UNHEARD, is_moved=False)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        self._tasks.append(asyncio.ensure_future(work))
        return self._tasks[-1]

    async def _send_piece(self, *_: object) -> int | None:
        return None

    async def start(self, *, is_copied: bool) -> None:
        """Looks at its files, and opens its log."""
        disk = self._disk
        disk.recorded, disk.files = 1, 1 + is_copied
        disk.has_log = disk.has_tail = disk.has_promises = disk.has_starts = True
        await self._doubts.begin()
        await self._doubts.opened()
        self._doubts.restored(self.replica, self._restored)

    async def hear(self, node: int, row: GroupRecollection, *, is_old: bool) -> None:
        """What a peer remembers."""
        self._doubts.heard(node, Recollection([FORGOTTEN_START] if is_old else [], [row.pack()]))
        await self.tick()

    async def tick(self) -> None:
        """Some time passes, and what is under way ends."""
        self._write()
        self._doubts.tick()
        while self._tasks or self._writes:
            self._write()
            await asyncio.sleep(0)
            self._tasks = [task for task in self._tasks if not task.done()]

    def _write(self) -> None:
        while self._writes:
            self._writes.pop(0)()

    async def take(self, message: Message) -> None:
        """What a leader sends."""
        self.replica.handle([Received(message)])
        await self.tick()

    def votes(self, term: int, end: LogEnd) -> bool:
        """Whether a candidate gets its vote."""
        self.sent.clear()
        self.replica.handle([Received(Message(MessageKind.vote, ONE, THREE, term, end.term, end.index))])
        self._write()
        return any(one.kind is MessageKind.vote_reply and one.to == THREE and not one.reject for one in self.sent)


def told(term: int, end: tuple[int, int] = OWN, acknowledged: tuple[int, int, int] | None = None) -> GroupRecollection:
    """What a peer says."""
    return GroupRecollection(GROUP, term, LogEnd(*end), Acknowledged(*acknowledged) if acknowledged else None)


def append(term: int, *terms: int, commit: int = 0) -> Message:
    """A leader of the term sends the entries behind the log of node 1."""
    first = len(entries(1, 1, 2, 2))
    log = entries(1, 1, 2, 2, *terms)
    return Message(MessageKind.append, ONE, TWO, term, 2, first, commit, tuple(log[first:]))


def beat(term: int) -> Message:
    """A leader of the term speaks."""
    return Message(MessageKind.heartbeat, ONE, TWO, term)


@dataclass(frozen=True, slots=True)
class Case:
    """A folder, what is said of it and sent to it, and whether a candidate then gets its vote."""

    is_old: bool  # or merely copied
    told: Sequence[GroupRecollection]  # by nodes 2 and 3
    vote: tuple[int, tuple[int, int]]  # the candidate's term, and where its log ends
    is_granted: bool
    sent: Sequence[Message] = ()
    term: int = 2  # its own
    commit: int = 2  # of an entry of term 1


COPIED, OLD = False, True
SAME = [told(2), told(2)]
AHEAD = [told(5, (5, 6), (5, 7, 5)), told(5, (5, 6))]
"""The leader counted on entry 7 before it had that on its own disk."""
CASES = {
    "not all have spoken": Case(COPIED, SAME[:1], (3, (9, 9)), False),
    "copied, and nobody knows more": Case(COPIED, SAME, (3, OWN), True),
    "copied, and the candidate lacks what another has": Case(COPIED, [told(2, (2, 6)), told(2)], (3, (2, 5)), False),
    "copied, and the candidate has what others have": Case(COPIED, [told(2, (2, 6)), told(2)], (3, (2, 6)), True),
    "copied, in the own term, which others have seen": Case(COPIED, SAME, (2, OWN), False),
    "copied, in a term that another has seen": Case(COPIED, [told(2), told(5)], (5, (4, 9)), False),
    "copied, in a term behind that": Case(COPIED, [told(2), told(5)], (6, (4, 9)), True),
    "old, and its own log goes as far as all others": Case(OLD, SAME, (3, OWN), False),
    "old, and its own log goes further": Case(OLD, [told(2, (1, 2)), told(2, (1, 2))], (3, (9, 9)), False),
    "old, and has followed nobody but known a commit": Case(OLD, SAME, (3, OWN), False, commit=4),
    "old, and follows, and knows no commit of the term": Case(OLD, SAME, (3, OWN), False, [beat(2)]),
    "old, and the leader that it follows has committed what it has": Case(OLD, SAME, (3, OWN), True, [beat(2)], commit=4),
    "old, and the leader shows that": Case(OLD, SAME, (3, OWN), True, [append(2, commit=4)]),
    "old, and follows a leader that has committed in earlier terms alone": Case(OLD, SAME, (4, OWN), False, [beat(3)], commit=4),
    "old, and an entry of a later term came": Case(OLD, SAME, (4, (3, 5)), True, [append(3, 3)]),
    "the same, and the candidate lacks that": Case(OLD, SAME, (4, OWN), False, [append(3, 3)]),
    "old, and an entry of a term that a peer had seen came": Case(
        OLD, [told(5), told(2)], (7, (5, 5)), False, [append(6, 5)]
    ),
    "old, and an entry of a term that it had seen itself came": Case(
        OLD, SAME, (7, (5, 5)), False, [append(6, 5)], term=5
    ),
    "old, and one of a term in which it had acknowledged came": Case(
        OLD, [told(2), told(2, acknowledged=(5, 4, 2))], (7, (5, 5)), False, [append(6, 5)]
    ),
    "old, and one above all those came": Case(OLD, [told(5), told(2)], (7, (6, 6)), True, [append(6, 5, 6)]),
    "old, in a term in which it had acknowledged": Case(
        OLD, [told(2), told(2, acknowledged=(5, 4, 2))], (5, (5, 9)), False, [append(3, 3)]
    ),
    "old, and the leader has not sent yet what it had acknowledged": Case(
        OLD, AHEAD, (6, (9, 9)), False, [append(5, 5, 5, commit=6)]
    ),
    "old, and the leader has sent that": Case(OLD, AHEAD, (6, (9, 9)), True, [append(5, 5, 5, 5, commit=7)]),
    "old, and a candidate without that": Case(OLD, AHEAD, (6, (5, 6)), False, [append(5, 5, 5, 5, commit=7)]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
async def test_who_may_vote_when(name: str) -> None:
    """A folder that was copied, once all have spoken; one that is old, once a leader has brought it as far as anybody remembers."""
    case = CASES[name]
    folder = Folder(case.term, case.commit)
    await folder.start(is_copied=not case.is_old)
    for node, row in zip((2, 3), case.told, strict=False):
        await folder.hear(node, row, is_old=case.is_old)
    for message in case.sent:
        await folder.take(message)
    assert folder.votes(case.vote[0], LogEnd(*case.vote[1])) == case.is_granted


async def test_who_lost_its_end_tells_where_that_was() -> None:
    """What it acknowledged may be what another one has forgotten; where its log ends now is nothing to go by."""
    folder, heard = Folder(2, 2, lost=LogEnd(2, 9)), list[Recollection]()
    await folder.start(is_copied=False)
    remembering = Remembering(MemoryPeers(Disk()), Time(), folder.replicas, {}, folder._spawn, UNHEARD)
    remembering.greet(Hello(PROTOCOL_VERSION, "", "peer", 2, "", 77), heard.append)
    await folder.tick()
    (row,) = heard[0].groups
    assert GroupRecollection.unpack(row).end == LogEnd(2, 9)


async def test_a_forgotten_start_is_stored_by_who_hears_of_it() -> None:
    """Or each later start, too, would be taken for an old folder's."""
    folder = Folder(2, 2)
    await folder.start(is_copied=False)
    await folder.hear(2, told(2), is_old=True)
    assert FORGOTTEN_START in folder._disk.starts


async def test_an_acknowledgement_that_was_under_way_does_not_count() -> None:
    """The folder is found to be old while the write is under way."""
    folder = Folder(2, 2)
    await folder.start(is_copied=False)
    folder.replica.handle([Received(append(2, 2))])
    assert folder._writes and not folder.sent
    await folder.hear(2, told(2), is_old=True)
    replies = [one for one in folder.sent if one.kind is MessageKind.append_reply and not one.reject]
    assert replies and all(one.recovering for one in replies)


async def test_what_lies_in_the_inbox_is_acknowledged() -> None:
    """A peer that starts again is told of it: it will count."""
    folder = Folder(2, 2)
    raft = folder.replica.raft
    raft.campaign()
    for _ in range(9):  # enough for both votes and their writes
        folder.replica.handle([])
        folder._write()
        raft.step(Message(MessageKind.pre_vote_reply, ONE, TWO, raft.state.term + 1))
        raft.step(Message(MessageKind.vote_reply, ONE, TWO, raft.state.term))
    raft.step(Message(MessageKind.append_reply, ONE, TWO, raft.state.term, index=3))
    folder.replica.inbox.push(Received(Message(MessageKind.append_reply, ONE, TWO, raft.state.term, index=5)))
    acknowledged = folder.replica.acknowledged_by(TWO)
    assert acknowledged is not None and acknowledged.index == 5
