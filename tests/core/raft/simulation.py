"""A group of replicas in one thread, with a network and disks that fail, and checkers that look after every step."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from random import Random

from node.adapters.promises import promise_after, reach_after
from node.core.raft import (
    Entry,
    HardState,
    LogCut,
    LogEnd,
    Membership,
    Message,
    MessageKind,
    NodeId,
    Persist,
    Promise,
    ProposalDropped,
    Raft,
    RaftConfig,
    Ready,
    Restored,
    Role,
    SnapshotMeta,
    StoredGroup,
    restore_log,
)
from node.ports import LogWrite


@dataclass(slots=True)
class Disk:
    """What survives a crash."""

    hard: HardState = field(default_factory=HardState)
    snapshot: SnapshotMeta = field(default_factory=SnapshotMeta)
    entries: list[Entry] = field(default_factory=list)
    written: int = 0
    reach: int = 0
    promise: Promise = field(default_factory=Promise)

    @property
    def last_index(self) -> int:
        return self.snapshot.index + len(self.entries)

    @property
    def end(self) -> LogEnd:
        return LogEnd(self.entries[-1].term if self.entries else self.snapshot.term, self.last_index)

    @property
    def promised_end(self) -> LogEnd:
        """Where it ended when that was told, though the end may be lost."""
        return max(LogEnd(self.promise.entry_term, self.promise.index), self.promise.lost or LogEnd())

    @property
    def cut(self) -> LogCut:
        return LogCut(self.snapshot.index, self.snapshot.term, self.snapshot.checksum)

    def write(self, persist: Persist, lost: LogEnd | None) -> None:
        if persist.snapshot is not None:
            self.snapshot, self.entries = persist.snapshot, []
        entries = [entry for entry in persist.entries if entry.index > self.snapshot.index]
        if entries:
            assert entries[0].index <= self.last_index + 1, "a write must not leave a gap"
            self.entries[entries[0].index - self.snapshot.index - 1 :] = entries
        if persist.hard_state is not None:
            self.hard = persist.hard_state
        write = LogWrite(1, persist.hard_state, entries, self.cut, persist.snapshot is not None, lost)
        if entries or write.restart:
            self.reach = reach_after(write, self.hard.term, self.written, self.reach)
            self.written = self.hard.term
        self.promise = promise_after(self.promise, write)

    def restored(self, members: Membership, node: NodeId) -> Restored:
        """What a start finds."""
        stored = StoredGroup(self.hard, self.written, self.reach, self.cut, list(self.entries), self.promise)
        return restore_log(stored, self.snapshot if self.snapshot.index else None, members, node)

    def checksum_at(self, index: int) -> int | None:
        """Checksum at an index; None where it is not there or under the snapshot."""
        position = index - self.snapshot.index - 1
        return self.entries[position].checksum if 0 <= position < len(self.entries) else None


class Group:
    """The replicas, the messages under way, and what was ever committed."""

    def __init__(self, count: int, seed: int, **settings: object) -> None:
        self.random = Random(seed)
        self.settings = settings
        self.ids = [NodeId(number + 1) for number in range(count)]
        self.disks = {node: Disk() for node in self.ids}
        self.writes: dict[NodeId, deque[tuple[Persist, LogEnd | None]]] = {node: deque() for node in self.ids}
        self.rafts: dict[NodeId, Raft] = {}
        self.network: list[Message] = []
        self.cut: set[NodeId] = set()
        self.committed: list[tuple[int, int]] = []
        self.leaders: dict[int, NodeId] = {}
        self.floors: dict[NodeId, tuple[int, int]] = {}
        self.matches: dict[tuple[NodeId, int, NodeId], int] = {}
        self.reads: dict[tuple[NodeId, int, int], int] = {}
        self.reads_done = 0
        self.starts = dict.fromkeys(self.ids, 0)
        self.lossy_disks = False
        self.has_changes = False
        for node in self.ids:
            self.start(node)

    def start(self, node: NodeId) -> None:
        """Starts a replica from its disk."""
        options: dict[str, object] = {
            "election_ticks": 10, "heartbeat_ticks": 2, "message_bytes_max": 200, "inflight_messages_max": 4,
            "inflight_bytes_max": 600, "uncommitted_bytes_max": 2_000, "committed_bytes_max": 300, **self.settings,
        }  # fmt: skip
        config = RaftConfig(
            id=node,
            membership=Membership(tuple(self.ids)),
            random=Random(self.random.random()),
            **options,  # type: ignore[arg-type]  # settings of a test, by name
        )
        disk = self.disks[node]
        raft = Raft(config, disk.restored(config.membership, node))
        if disk.snapshot.index:
            raft.offer_snapshot(disk.snapshot)
        self.rafts[node] = raft
        self.writes[node].clear()
        self.floors[node] = (0, 0)
        self.starts[node] += 1

    def crash(self, node: NodeId, lost_entries: int = 0) -> None:
        """Kills a replica; writes that were not durable are gone, and on a bad disk the last entries as well."""
        disk = self.disks[node]
        if lost_entries:
            del disk.entries[-lost_entries:]
            if self.random.random() < 0.5:
                disk.hard, disk.written, disk.reach = HardState(), 0, 0
        self.rafts.pop(node, None)
        self.writes[node].clear()

    def may_lose(self, node: NodeId) -> bool:
        """Whether the disk of another one has all that anybody has promised, by which the group can go on."""
        promised = max(disk.promised_end for disk in self.disks.values())
        return any(disk.end >= promised for other, disk in self.disks.items() if other != node)

    def take(self, node: NodeId) -> None:
        """Obeys one Ready, but for the disk, which takes its time."""
        raft = self.rafts[node]
        ready = raft.ready()
        if ready is None:
            return
        self.network += ready.messages
        if ready.persist is not None:
            self.writes[node].append((ready.persist, raft.lost))
        self._apply(node, ready)
        for read in ready.reads:
            floor = self.reads.pop((node, self.starts[node], read.context))
            assert read.index >= floor, "a read misses what was committed before it"
            self.reads_done += 1
        for context in ready.reads_lost:
            del self.reads[(node, self.starts[node], context)]

    def _apply(self, node: NodeId, ready: Ready) -> None:
        for entry in ready.committed:
            if entry.index <= len(self.committed):
                expected = self.committed[entry.index - 1]
                assert expected == (entry.term, entry.checksum), "two entries committed at one index"
            else:
                assert entry.index == len(self.committed) + 1, "a gap in what is committed"
                self.committed.append((entry.term, entry.checksum))
        if ready.committed:
            self.rafts[node].applied(ready.committed[-1].index)

    def flush(self, node: NodeId) -> None:
        """The oldest write of a node becomes durable."""
        if self.writes[node]:
            persist, lost = self.writes[node].popleft()
            self.disks[node].write(persist, lost)
            self.rafts[node].persisted(persist)
            self.network += [message for message in persist.responses if message.to != node]

    def deliver(self, message: Message, is_lost: bool = False) -> None:
        """A message arrives, if it can; it travels in packed form."""
        sender = self.rafts.get(message.sender)
        is_cut = is_lost or message.to not in self.rafts or message.to in self.cut or message.sender in self.cut
        if not is_cut:
            self.rafts[message.to].step(Message.unpack(message.pack()))
        if message.kind is MessageKind.snapshot and sender is not None:
            sender.report_snapshot(message.to, not is_cut)

    def settle(self, rounds: int = 200) -> None:
        """Runs everything that is under way to its end, in order."""
        for _ in range(rounds):
            for node in list(self.rafts):
                self.take(node)
                while self.writes[node]:
                    self.flush(node)
                    self.take(node)
            due, self.network = self.network, []
            for message in due:
                self.deliver(message)
            self.check()
            if not due:
                return

    def leader(self) -> NodeId | None:
        """The leader of the highest term, if there is one."""
        found = [(raft.status().term, node) for node, raft in self.rafts.items() if raft.status().role is Role.leader]
        return max(found)[1] if found else None

    def elect(self, node: NodeId) -> Raft:
        """Makes a node leader and lets everything settle."""
        self.rafts[node].campaign()
        self.settle()
        assert self.rafts[node].status().role is Role.leader
        return self.rafts[node]

    def checkpoint(self, node: NodeId) -> None:
        """Takes a snapshot at the applied index and cuts the log there."""
        raft, disk = self.rafts[node], self.disks[node]
        meta = raft.snapshot_meta(raft.status().applied)
        if meta is not None and meta.index > disk.snapshot.index:
            disk.entries = [entry for entry in disk.entries if entry.index > meta.index]
            disk.snapshot = meta
            raft.offer_snapshot(meta)
            raft.compact(meta.index)

    def read(self, node: NodeId) -> None:
        """Asks for a read point that must show everything known as committed now."""
        raft = self.rafts[node]
        try:
            context = raft.read_index()
        except ProposalDropped:
            return
        floor = max(raft.status().commit for raft in self.rafts.values())
        key = (node, self.starts[node], context)
        assert key not in self.reads, "a read context is used twice"
        self.reads[key] = floor

    def check(self) -> None:
        """The invariants of the TLA+ specification that can be seen from outside, after every step."""
        for node, raft in self.rafts.items():
            state = raft.state
            log = state.log
            term, commit = self.floors[node]
            assert state.term >= term and log.commit >= commit, "term or commit index fell"
            self.floors[node] = (state.term, log.commit)
            if raft.state.role.kind is Role.leader:
                assert self.leaders.setdefault(state.term, node) == node, "two leaders in one term"
                self._check_leader(node, raft)
        self._check_log_matching()
        if not self.lossy_disks and not self.has_changes:
            self._check_durable()

    def _check_leader(self, node: NodeId, raft: Raft) -> None:
        for peer in raft.status().peers:
            key = (node, raft.state.term, peer.node)
            may_fall = peer.recovering or self.lossy_disks or self.has_changes
            assert may_fall or peer.match >= self.matches.get(key, 0), "match fell"
            self.matches[key] = peer.match
        if raft.state.term == max(self.leaders) and self.committed:
            log, index = raft.state.log, len(self.committed)
            assert log.last_index >= index, "the leader lacks a committed entry"
            if index >= log.base_index:
                assert log.checksum_at(index) == self.committed[-1][1], "the leader lacks a committed entry"

    def _check_log_matching(self) -> None:
        logs = [raft.state.log for raft in self.rafts.values()]
        for position, first in enumerate(logs):
            for second in logs[:position]:
                for index in range(
                    min(first.last_index, second.last_index), max(first.base_index, second.base_index), -1
                ):
                    if first.term_at(index) == second.term_at(index):
                        assert first.checksum_at(index) == second.checksum_at(index), "logs do not match"
                        break

    def _check_durable(self) -> None:
        if not self.committed:
            return
        index, checksum = len(self.committed), self.committed[-1][1]
        copies = [
            disk for disk in self.disks.values()
            if disk.snapshot.index >= index or disk.checksum_at(index) == checksum
        ]  # fmt: skip
        assert len(copies) > len(self.ids) // 2, "a committed entry is not durable on a majority"
