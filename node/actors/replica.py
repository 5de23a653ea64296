"""A group's replica: the replicated log and the state machine side by side.

Everything goes one way: events in, the log's core stepped, then its effects in their fixed order: send what may go at once,
write, apply, answer. What depends on the write goes out when the log writer says it is on disk.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import assert_never

from node.actors.actor import RETRY_AFTER_MS, Actor, Failed, not_done
from node.actors.doubts import Losses
from node.actors.events import (
    ChangeMembership,
    Checkpointed,
    Command,
    Exported,
    Lead,
    LoadedRows,
    MembershipQuery,
    PeerLost,
    Persisted,
    Propose,
    Query,
    Received,
    ReplicaEvent,
    Ticked,
)
from node.actors.group_notices import GroupNotices
from node.actors.pipeline import Draft, Pipeline, drop
from node.actors.questions import Questions
from node.actors.replica_ports import ReplicaPorts, ReplicaStatistics
from node.actors.snapshots import Incoming, Outgoing
from node.core.machine import Machine, Need, check_form
from node.core.raft import (
    Acknowledged,
    Entry,
    EntryKind,
    HardState,
    LogCut,
    Membership,
    Message,
    MessageKind,
    NodeId,
    Persist,
    ProposalDropped,
    Raft,
    Ready,
    Role,
    SnapshotMeta,
)
from node.notices import CheckpointWritten
from node.ports import LogWrite, ShardStore
from protocol.errors import ErrorCode
from protocol.placement import called

EVENTS_MAX = 4_096  # a full inbox answers `busy`: at 20,000 requests a second that is 0.2 s of waiting
DRAIN_MAX = 512  # events before the effects go out; more would only delay the first of them
ENTRY_BYTES = 2_048  # what any entry counts for beside its data: a restart replays it for about as long as so much data
LAG_ENTRIES_MAX = 32  # of full batches that is a third of a second's worth
LOADS_MAX = 4  # stored rows read at once: some tens of megabytes at the most


@dataclass(frozen=True, slots=True)
class Leadership:
    """What a replica has told of who leads its group."""

    role: Role  # its own
    leader: NodeId  # 0 where unknown
    term: int


class Replica(Actor[ReplicaEvent]):
    """One group on this node."""

    def __init__(
        self,
        group: int,
        make_machine: Callable[[], Machine],
        machine: Machine,
        store: ShardStore,
        ports: ReplicaPorts,
        checkpoint_bytes: int,
        preferred_leader: int,
    ) -> None:
        super().__init__(f"replica {group}", EVENTS_MAX, DRAIN_MAX)
        self.group = group
        self.raft: Raft  # set once the stores are read
        self.machine = machine
        self.store = store
        self.incoming = Incoming(store, group, ports)
        self.losses = Losses(group, ports)
        self.notices = GroupNotices(group, ports)
        self.is_serving = False
        self._make_machine = make_machine
        self._ports = ports
        self._pipeline = Pipeline(ports.clock, ports.true_ns)
        self._questions = Questions(self, ports)
        self._checkpoint_bytes = checkpoint_bytes
        self._log_bytes = 0
        self._is_checkpointing = False
        self._checkpoint_ended = asyncio.Event()
        self._checkpoint_ended.set()
        self._exports = Outgoing(
            group, store, ports, lambda message, is_complete: self.inbox.push(Exported(message, is_complete))
        )
        self._loads: deque[tuple[Command | Propose, Need]] = deque()
        self._loading = 0
        self.preferred_leader = preferred_leader
        self._installing: Persist | None = None
        self._unwritten: deque[Persist] = deque()
        self._has_hurried = False
        self._hard_state: HardState | None = None  # the last one written
        self._seen = Leadership(Role.follower, NodeId(0), -1)

    # -- events ---------------------------------------------------------------------------------------------------

    def handle(self, events: list[ReplicaEvent]) -> None:
        """Steps the log with every event, then lets the effects out until there are none."""
        for event in events:
            match event:
                case Received(message):
                    self._on_message(message)
                case Command() | Propose():
                    self._on_request(event)
                case Query() | MembershipQuery():
                    self._questions.add(event)
                case Persisted(persist):
                    self._on_persisted(persist)
                case Ticked():
                    self._on_tick(event)
                case PeerLost(node):
                    self.raft.peer_lost(NodeId(node))
                case LoadedRows(item, loaded):
                    item.loaded = loaded
                    self._on_loaded(item)
                case Checkpointed(machine, meta):
                    self._on_checkpointed(machine, meta)
                case Exported(message, is_complete):
                    self._on_exported(message, is_complete)
                case Lead() | ChangeMembership():
                    self._lead_on(event)
                case _:
                    assert_never(event)
        self._questions.ask_read_point()
        self._let_out()
        if self._propose_waiting():
            self._let_out()
        self._start_loads()

    def _on_request(self, event: Command | Propose) -> None:
        if self.is_serving:
            self._pipeline.add(event)
        else:
            event.reply(self.not_leader())

    def _on_loaded(self, item: Command | Propose) -> None:
        if self.is_serving:
            self._pipeline.add_first(item)
        else:
            drop(item, self.not_leader())

    def _propose_waiting(self) -> bool:
        """Whether anything was proposed."""
        has_proposed = False
        while self.is_serving and self._installing is None and (taken := self._pipeline.take(self.machine)) is not None:
            self._loads += taken.loads
            if taken.drafts and not self._propose(taken.drafts):
                break
            has_proposed |= bool(taken.drafts)
        return has_proposed

    def _propose(self, drafts: list[Draft]) -> bool:
        """Whether the log has taken all of them."""
        are_taken = True
        for draft in drafts:
            try:
                index, _ = self.raft.propose([draft.data])
            except ProposalDropped as dropped:
                failed = not_done(ErrorCode.not_leader, dropped.reason, RETRY_AFTER_MS, int(dropped.leader))
                self._pipeline.dropped(draft, failed)
                are_taken = False
            else:
                self._pipeline.proposed(draft, index, self.term)
        return are_taken

    def _on_message(self, message: Message) -> None:
        if message.kind is MessageKind.snapshot and not self.incoming.holds(message):
            return  # its data is not here: the sender tries again
        for entry in message.entries:
            if entry.kind is EntryKind.normal:
                check_form(entry.data)  # before anything of it is acknowledged
        self.raft.step(message)

    def _on_tick(self, ticked: Ticked) -> None:
        self.notices.tick(self)
        if ticked.is_disk_stalled:
            self.raft.step_down()
            return  # and no campaign either: this replica could not vote for itself
        self.raft.let_others_lead(ticked.is_clock_off)
        self.raft.tick()
        self.losses.look(self.raft, self._ports.clock.monotonic())
        if self.is_serving:
            has_laggard = bool(len(self._pipeline)) and self.has_laggard()
            self._propose(self._pipeline.tick(self.machine, has_laggard=has_laggard))
        self._questions.tick()

    def has_laggard(self) -> bool:
        """Whether a peer that is alive is so far behind that it would be of no use if another one died now."""
        lagging = self.raft.peers_behind(LAG_ENTRIES_MAX)
        return any(self._ports.is_up(int(node)) for node in lagging)

    def may_hand_over(self, node: int) -> bool:
        """Whether a peer has all that is committed and answers: a handover to one that lags or is silent stops the group."""
        return not self._exports and node in self.membership.voters and self.has_caught_up(node, 0)

    def _lead_on(self, event: Lead | ChangeMembership) -> None:
        """Hands over, or changes who belongs to the group, if this replica still leads and nothing is in the way; who asks looks again."""
        try:
            if isinstance(event, Lead):
                if self.is_serving:
                    self._propose(self._pipeline.tell_time(self.machine))
                self.raft.transfer_leadership(NodeId(event.node))
                self.notices.asked(self.raft, event.reason)
            elif self.is_serving and event.before == self.membership:
                self.raft.propose_change(event.change)
        except ProposalDropped:
            pass

    def acknowledged_by(self, node: NodeId) -> Acknowledged | None:
        """What a peer has acknowledged to this replica, if that leads; what lies in the inbox included."""
        told = self.raft.acknowledged_by(node)
        if told is None:
            return None
        for event in self.inbox:
            if isinstance(event, Received) and event.message.sender == node:
                told = self.raft.acknowledged_with(told, event.message)
        return told

    @property
    def membership(self) -> Membership:
        """Who belongs to the group, by all that has been applied here."""
        return self.raft.state.membership

    def has_caught_up(self, node: int, lag_max: int) -> bool:
        """Whether a peer has all that is committed but for so many entries, and answers."""
        status = self.raft.status()
        mine = [peer for peer in status.peers if peer.node == node and peer.recent_active and not peer.recovering]
        return any(peer.match + lag_max >= status.commit for peer in mine)

    @property
    def term(self) -> int:
        """The term that was seen last."""
        return self._seen.term

    @property
    def is_leader(self) -> bool:
        """Whether this replica leads its group."""
        return self._seen.role is Role.leader

    def best_peer(self, is_up: Callable[[int], bool]) -> int:
        """Who has most of the log among the peers that can be reached; 0 if none can."""
        peers = [peer for peer in self.raft.status().peers if is_up(int(peer.node)) and not peer.is_learner]
        peers = [peer for peer in peers if peer.node != NodeId(self._ports.node)]
        return int(max(peers, key=lambda peer: peer.match).node) if peers else 0

    def not_leader(self) -> Failed:
        """What a request is told that has come to the wrong replica."""
        return not_done(ErrorCode.not_leader, called(self.group), 0, int(self._seen.leader))

    # -- effects --------------------------------------------------------------------------------------------------

    def _let_out(self) -> None:
        while self._installing is None and (ready := self.raft.ready()) is not None:
            for message in ready.messages:
                self._send(message)
            if ready.persist is not None:
                self._persist(ready.persist)
            self.notices.note(ready)
            self._note_role(ready)
            self._apply(ready.committed)
            self._questions.settle(ready)
        if self.raft.lost != self.losses.noted and self._installing is None:
            self._ports.write(LogWrite(self.group, lost=self.losses.note(self.raft)), lambda: None)

    def _send(self, message: Message) -> None:
        if message.kind is MessageKind.snapshot:
            self._export(message)
        else:
            self._ports.send(message.to, self.group, message)

    def _persist(self, persist: Persist) -> None:
        if persist.snapshot is not None:
            self._installing = persist
            self.incoming.freeze()
            self._exports.give_up()  # the store is about to hold another checkpoint
            return
        if persist.must_sync:
            write = LogWrite(
                self.group, self._new_hard_state(persist), persist.entries, lost=self.losses.note(self.raft)
            )
            self._unwritten.append(persist)
            self._ports.write(write, lambda: self._written(persist))
        elif self._unwritten:
            self._unwritten.append(persist)
        else:
            self._release(persist)

    def _written(self, persist: Persist) -> None:
        """Steps the log at once, since a turn through the inbox would delay every acknowledgement; but never past others."""
        if self._installing is not None or len(self.inbox):
            self.inbox.push(Persisted(persist))
        else:
            self.handle([Persisted(persist)])

    def _new_hard_state(self, persist: Persist) -> HardState | None:
        """A moved commit index alone is not worth a page on disk: after a restart the leader tells it again."""
        state, stored = persist.hard_state, self._hard_state
        if state is None or (stored is not None and (state.term, state.vote) == (stored.term, stored.vote)):
            return None
        self._hard_state = state
        return state

    def _on_persisted(self, persist: Persist) -> None:
        """Writes end in order; those that only moved the commit index end with the one before them."""
        assert self._unwritten[0] is persist, "writes become durable in the order in which they were handed out"
        self._release(self._unwritten.popleft())
        while self._unwritten and not self._unwritten[0].must_sync:
            self._release(self._unwritten.popleft())

    def _release(self, persist: Persist) -> None:
        self.raft.persisted(persist)
        if persist.snapshot is not None:
            self.raft.offer_snapshot(persist.snapshot)
        for message in persist.responses:
            if message.to != NodeId(self._ports.node):
                self._send(message) if not self.raft.state.is_doubted else self._send_doubted(message)

    def _send_doubted(self, message: Message) -> None:
        """Found out while the write was under way: the vote is not given, and the acknowledgement does not count."""
        if message.kind is MessageKind.append_reply:
            self._send(replace(message, recovering=True))
        elif message.reject:
            self._send(message)

    def _note_role(self, ready: Ready) -> None:
        seen = Leadership(ready.role, ready.leader, ready.term)
        if seen == self._seen:
            return
        was_leading_term = self.term if self.is_leader else -1
        self._seen = seen
        self._exports.give_up(ready.term if ready.role is Role.leader else 0)
        if ready.role is not Role.leader or ready.term != was_leading_term:
            self._stop_serving()
        self._ports.leads(self.group, int(ready.leader), ready.term, self.is_serving)

    def _stop_serving(self) -> None:
        self.is_serving = False
        failed = self.not_leader()
        self._pipeline.fail_all(failed)
        self._questions.fail_all(failed)

    def _apply(self, entries: tuple[Entry, ...]) -> None:
        if not entries:
            return
        for entry in entries:
            answers = self.machine.apply(entry.index, entry.data if entry.kind is EntryKind.normal else b"")
            self._log_bytes += len(entry.data) + ENTRY_BYTES
            if self._pipeline.applied(self.machine, entry.index, entry.term, answers, self.not_leader):
                self.hurry()
            self._ports.applied(self.group)
        self._pipeline.stamped(self.machine)
        self._has_hurried = False
        self.raft.applied(entries[-1].index)
        if self.is_leader and not self.is_serving and entries[-1].term == self.term:
            self.is_serving = True
            self._pipeline.start()
            self._ports.leads(self.group, int(self._seen.leader), self.term, True)
        self._questions.applied()
        if self._log_bytes >= self._checkpoint_bytes and not self._is_checkpointing and not self._exports:
            self.checkpoint()

    def hurry(self) -> None:
        """Asks for outstanding decisions, once until something has been applied."""
        if not self._has_hurried:
            self._has_hurried = True
            self._ports.hurry(self.group)

    def flushed(self) -> asyncio.Future[None]:
        """Done when everything that this replica has handed to the log writer until now is on disk."""
        flushed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def done() -> None:
            if not flushed.done():
                flushed.set_result(None)

        self._ports.write(LogWrite(self.group, lost=self.losses.note(self.raft)), done)
        return flushed

    def _start_loads(self) -> None:
        """What has its rows is to be proposed first: it holds them until then."""
        while self._loads and self._loading + self._pipeline.put_back < LOADS_MAX:
            self._loading += 1
            self._ports.spawn(self._load(*self._loads.popleft()))

    async def _load(self, item: Command | Propose, need: Need) -> None:
        loaded = need.fill(item.loaded, await self.store.read(need.missing(item.loaded)))
        self._loading -= 1
        self.inbox.push(LoadedRows(item, loaded))

    # -- checkpoints and snapshots --------------------------------------------------------------------------------

    def checkpoint(self) -> None:
        """Writes what has changed to the shard's file, beside the running machine."""
        self._is_checkpointing = True
        self._checkpoint_ended.clear()
        self._log_bytes = 0
        meta = self.raft.snapshot_meta(self.machine.applied)
        assert meta is not None, "the applied entry is in the log"
        machine = self.machine
        changes = [*machine.changes(), Incoming.meta_row(meta)]

        async def write() -> None:
            began = self._ports.clock.monotonic()
            await self.store.write(changes)
            seconds = self._ports.clock.monotonic() - began
            self._ports.operator.tell(CheckpointWritten(self.group, meta.index, len(changes), seconds))
            self._checkpoint_ended.set()
            self.inbox.push(Checkpointed(machine, meta))

        self._ports.spawn(write())

    def _on_checkpointed(self, machine: Machine, meta: SnapshotMeta) -> None:
        self._is_checkpointing = False
        if machine is not self.machine:
            return  # a snapshot has been put in its place meanwhile
        machine.saved()
        previous = self.incoming.latest
        self.incoming.latest = meta
        self.raft.offer_snapshot(meta)
        if previous is not None and self.raft.compact(previous.index) == previous.index:
            cut = LogCut(previous.index, previous.term, previous.checksum)
            self._ports.write(LogWrite(self.group, cut=cut, lost=self.losses.note(self.raft)), lambda: None)

    def _export(self, message: Message) -> None:
        latest = self.incoming.latest
        is_stale = latest is None or message.snapshot is None or message.snapshot.index != latest.index
        if message.to in self._exports or self._is_checkpointing or is_stale:
            self.raft.report_snapshot(message.to, False)
            return
        self._exports.start(message)

    def _on_exported(self, message: Message, is_complete: bool) -> None:
        if not self._exports.end(message):
            return  # it was given up when it had just ended
        if is_complete:
            self._ports.send(message.to, self.group, message)
        self.raft.report_snapshot(message.to, is_complete)

    def after(self) -> Awaitable[None] | None:
        """A received snapshot is installed before the next event is looked at."""
        return None if self._installing is None else self._install(self._installing)

    async def _install(self, persist: Persist) -> None:
        assert persist.snapshot is not None
        await self._checkpoint_ended.wait()  # or it would be written into the snapshot
        self.machine = await self.incoming.install(persist.snapshot, self._make_machine())
        meta = persist.snapshot
        cut = LogCut(meta.index, meta.term, meta.checksum)
        hard_state, lost = self._new_hard_state(persist), self.losses.note(self.raft)
        write = LogWrite(self.group, hard_state, persist.entries, cut, restart=True, lost=lost)
        self._installing = None
        self._unwritten.append(persist)
        self._log_bytes = 0
        self._ports.write(write, lambda: self.inbox.push(Persisted(persist)))

    def statistics(self) -> ReplicaStatistics:
        """The replica as it is now."""
        status = self.raft.status()
        return ReplicaStatistics(
            self.group, status.role.value, status.term, int(status.leader), status.commit, self.machine.applied,
            status.first_index, status.last_index, len(self._pipeline), self.inbox.refused, status.recovering,
        )  # fmt: skip
