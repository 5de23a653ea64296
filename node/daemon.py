"""The composition root: the only file that names actors and adapters together."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from node.actors.actor import Reply
from node.actors.admission import Admission
from node.actors.audit import Auditor
from node.actors.clocks import Clocks
from node.actors.coordinator import CoordinatorActor, CoordinatorPorts, Leads
from node.actors.coordinator import Ticked as CoordinatorTicked
from node.actors.directory import Directory
from node.actors.doubts import Doubts
from node.actors.events import PeerLost, Ticked
from node.actors.faults import apply_fault
from node.actors.founding import Founding
from node.actors.handover import Handover
from node.actors.life import Life
from node.actors.locks import LockDesk, LockPorts
from node.actors.log_writer import LogWriter, Write
from node.actors.members import MemberDesk, MembersPorts, make_hello
from node.actors.operations import Operations
from node.actors.outside import Adapters
from node.actors.peers import Link
from node.actors.reading import READERS, ReadingDesk
from node.actors.remembering import Remembering
from node.actors.replacing import Replacing
from node.actors.replica import Replica
from node.actors.replica_ports import ReplicaPorts
from node.actors.restoring import restore_replica, side_by_side
from node.actors.router import Call, Router
from node.actors.routes import Routes
from node.actors.session import Rules, Session, SessionHost
from node.actors.split import SplitAccounts
from node.actors.status import Status
from node.actors.to_coordinator import ToCoordinator
from node.actors.tracing import Tracer
from node.config import Config
from node.core.allowances import Allowances
from node.core.commit import Decisions
from node.core.ledger import Ledger
from node.core.locks import Locks
from node.core.machine import FACTS, FACTS_KEPT, Body, Machine
from node.core.members import Members, MemberTable
from node.core.raft import Membership, NodeId, RaftConfig, StoredGroup
from node.core.splits import Splits
from node.ports import Connection, LogWrite, ShardStore
from protocol.messages import Placed, SnapshotAck, SnapshotPiece
from protocol.operations import Operation, PeerOperation
from protocol.placement import COORDINATOR

FIRST_WAIT_TICKS = 4  # between the turns of a group's replicas after a start: all who start together are linked by then
CALL_DEADLINE_SECONDS = 1.0  # one attempt of a call between nodes; the caller tries again


SHARD_PARTS = (Ledger, Allowances)  # the composition of a shard: add a new part here
CLUSTER_PARTS = (Decisions, Locks, Splits, Members)  # that of group 0


def make_machine(group: int, facts_kept: int = FACTS_KEPT) -> Machine:
    """A fresh machine of the group."""
    return Machine([part() for part in (CLUSTER_PARTS if group == COORDINATOR else SHARD_PARTS)], facts_kept)


def make_operations() -> Operations:
    """All that a node serves."""
    return Operations([FACTS, *(operation for part in SHARD_PARTS for operation in part.operations)])


class Node:
    """One process of the cluster."""

    def __init__(self, number: int, config: Config, adapters: Adapters) -> None:
        self.number = number
        self.config = config
        self.placement = config.cluster.placement()
        self._peers = tuple(node.id for node in self.placement.nodes if node.id != number)
        self.router = Router(number, self.placement, adapters.clock, make_operations())
        self.replicas: dict[int, Replica] = {}
        self._stores: list[ShardStore] = []  # of replicas that did not come to be too: each owns a thread
        self._adapters = adapters
        self._operator = adapters.operator
        self._life = Life(number, config.cluster.name, adapters)
        self._writer = LogWriter(adapters.log, adapters.clock, self._operator)
        self._tick_seconds = config.timing.tick_ms / 1000
        self._admission = Admission(
            number, adapters.clock, self._tick_seconds, lambda: self._writer.is_slow, self._operator
        )
        self._links: dict[int, Link] = {}
        self.doubts = Doubts(
            number, adapters.starts, self.replicas, self._spawn_asking, self._operator, is_moved=adapters.is_moved
        )
        self.members = self._make_members()
        self.router.members = self.members.packed
        self._directory = Directory(self.router, self._links, lambda: self._sessions.sessions)
        self._remembering = Remembering(
            adapters.peers, adapters.clock, self.replicas, self._links, self._spawn, self._operator
        )
        self._sessions = SessionHost(
            self._admission, adapters.clock, self._take_piece, self._on_placed, adapters.connections_max, self._operator
        )
        self._reading = ReadingDesk(adapters.clock, self._sessions.is_here)
        self._coordinator = self._make_coordinator()
        self._clocks = Clocks(number, len(self.placement.nodes), adapters.clock, self._links, self._operator)
        inbox = self._coordinator.inbox
        self._to_coordinator = ToCoordinator(self.router, adapters.clock, inbox.offer, inbox.push)
        self._handover = Handover(
            number, self._peers, self.replicas, self._is_up, self._to_coordinator.finish, self._clocks
        )
        self._desk = self._make_desk()
        self._replacing = Replacing(self.members, self.router, self.replicas, self._is_up, adapters.clock)
        self._routes = Routes(number, self._links, adapters.clock, self._operator)
        self._founding = Founding(self.members, self.replicas, self._activate)
        self._make_links()
        self._tasks: asyncio.TaskGroup | None = None
        self._running: list[asyncio.Task[None]] = []
        self._stop = asyncio.Event()
        self._failure: BaseException | None = None
        self._asking: dict[asyncio.Task[None], None] = {}
        self.is_serving = asyncio.Event()

    # -- making ---------------------------------------------------------------------------------------------------

    def _make_links(self) -> None:
        for address in self.placement.nodes:
            if address.id != self.number:
                self._links[address.id] = Link(
                    self.members, address, self._adapters.transport, self.config.timing.election_ticks, self._lost_peer,
                    lambda: self.router.placed(self.router.split), self._on_placed,
                    self.doubts.heard, self._operator, self._tick_seconds,
                )  # fmt: skip

    def _make_members(self) -> MemberDesk:
        def propose(request: Body, reply: Reply) -> None:
            self.router.call(self._to_machine(COORDINATOR, request, reply))

        adapters, cluster = self._adapters, self.config.cluster
        token = self.config.security.peer_token
        hello = make_hello(cluster.name, self.number, token, cluster.shared)
        ports = MembersPorts(adapters.clock, propose, self._members_changed, self.fail, self._operator)
        return MemberDesk(hello, cluster.nodes, adapters.folder, adapters.random, ports)

    def _to_machine(self, group: int, request: Body, reply: Reply) -> Call:
        deadline = self._adapters.clock.monotonic() + CALL_DEADLINE_SECONDS
        return Call(group, PeerOperation.machine, request, deadline, reply)

    def _make_coordinator(self) -> CoordinatorActor:
        def call(group: int, request: Body, reply: Reply) -> None:
            self.router.call_once(self._to_machine(group, request, reply))

        def later(seconds: float, work: Callable[[], None]) -> None:
            asyncio.get_running_loop().call_later(seconds, work)

        groups = tuple(range(self.placement.shards + 1))
        ports = CoordinatorPorts(self._adapters.clock, call, later, self._operator)
        return CoordinatorActor(groups, self.number, self.config.cluster.commit, ports)

    def _make_desk(self) -> LockDesk:
        def call(request: Body, reply: Reply) -> None:
            self.router.call_once(self._to_machine(COORDINATOR, request, reply), self.number)

        def locks() -> Locks:
            part = self.replicas[COORDINATOR].machine.parts[Locks.name]
            assert isinstance(part, Locks)
            return part

        def soon(work: Callable[[], None]) -> None:
            asyncio.get_running_loop().call_soon(work)

        def hurry() -> None:
            self.replicas[COORDINATOR].hurry()

        guarded, tick_ms = self._coordinator.core.is_guarded, self.config.timing.tick_ms
        return LockDesk(
            LockPorts(self._adapters.clock, call, locks, guarded, soon, hurry, self._sessions.is_here, tick_ms)
        )

    async def _make_replica(self, group: int, stored: StoredGroup) -> Replica:
        store = self._adapters.shard(group)
        self._stores.append(store)
        ports = ReplicaPorts(
            self.number, self._adapters.clock, self._clocks.true_ns, self._send, self._send_piece, self._write,
            self._leads, self._applied, self._spawn, self._is_up, self._to_coordinator.hurry, self._reading.add,
            self._operator, self._tick_seconds,
        )  # fmt: skip
        kept = self.config.storage.facts_kept
        replica = Replica(
            group,
            lambda: make_machine(group, kept),
            make_machine(group, kept),
            store,
            ports,
            self._checkpoint_bytes(),
            self.placement.replicas[group][0],
        )
        restored = await restore_replica(replica, stored, self._raft_config(group), self._adapters.log)
        self._life.restored(group, stored, restored)
        self.doubts.restored(replica, restored)
        return replica

    def _checkpoint_bytes(self) -> int:
        """A log is cut at the checkpoint before the last, so twice this lies in memory and on disk."""
        groups = max(1, len(self.placement.groups_on(self.number)) - 1)  # group 0's log is small
        return max(1 << 20, self.config.storage.log_bytes // (2 * groups))

    def _raft_config(self, group: int) -> RaftConfig:
        timing, replicas = self.config.timing, self.placement.replicas[group]
        turn = replicas.index(self.number) + 1  # after a start of all, leaderships are at home at once
        # A folder that came for another one belongs to nothing until the log says so: see `node.actors.replacing`.
        is_new = self._adapters.folder.is_replacement
        voters = [node for node in sorted(replicas) if node != self.number or not is_new]
        return RaftConfig(
            id=NodeId(self.number), membership=Membership(voters=tuple(map(NodeId, voters))),
            election_ticks=timing.election_ticks, heartbeat_ticks=timing.heartbeat_ticks,
            lost_leader_ticks=timing.lost_leader_ticks, first_wait_ticks=turn * FIRST_WAIT_TICKS,
            random=random.Random(self._adapters.random.getrandbits(64)), announce_commit=False,
        )  # fmt: skip

    # -- running --------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Opens the stores, serves until `stop`, closes. An actor's exception ends it."""
        self._life.begins()
        try:
            await self._run()
        except Exception as error:
            self._life.failed(error)
            raise
        self._life.ends()

    async def _run(self) -> None:
        self._wire()
        try:
            self.members.started(await self.doubts.begin())
            stored = await self._adapters.log.open()
            await self.doubts.opened()
            idle = await side_by_side(
                self.placement.groups_on(self.number),
                lambda group: self._make_replica(group, stored.pop(group, StoredGroup())),
            )
            self._life.all_restored(len(idle))
            self.router.replicas = self.replicas
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                self._founding.begin(idle)
                await self._listen()  # before anybody is spoken with: a copy beside the node itself gets no further
                self._running += [tasks.create_task(work) for work in self._work()]
                self._running.append(tasks.create_task(self._take_part(idle)))
                await self._stop.wait()
                if self._failure is not None:
                    raise self._failure
                await self._hand_over()
                for task in [*self._running, *self._asking]:
                    task.cancel()
        finally:
            await self._close()

    async def _take_part(self, idle: dict[int, Replica]) -> None:
        if not self.members.is_admitted:
            await self._founding.finish(idle)
            self._sessions.admitted()
        self._life.serves(self.placement.address(self.number))
        self.is_serving.set()

    def _activate(self, replicas: Mapping[int, Replica]) -> None:
        """From here on they hear their peers, vote, acknowledge and serve."""
        assert self._tasks is not None
        for group, replica in replicas.items():
            if group not in self.replicas:
                self.replicas[group] = replica
                self._running.append(self._tasks.create_task(replica.run()))

    def _wire(self) -> None:
        router, clock, desk = self.router, self._adapters.clock, self._desk
        to_coordinator = self._to_coordinator
        auditor = Auditor(router, clock, to_coordinator.make_cut, self._spawn_asking)
        split = SplitAccounts(
            router, clock, self._spawn_asking, auditor.shares, to_coordinator.submit, self._adapters.random
        )
        status = Status(router, self.replicas, self._links, self._coordinator, self._admission, self._clocks)
        tracer = Tracer(router, clock, self._clocks.true_ns, self._spawn_asking)
        router.routes = self._routes
        router.mend, router.on_split = split.mend, self._directory.list_splits
        router.services = {
            Operation.cluster: status.cluster,
            Operation.fault: lambda call: call.reply(apply_fault(self._adapters.faults, call.request)),
            Operation.trace: tracer.trace,
            Operation.undecided: tracer.undecided,
            Operation.split_account: split.open,
            PeerOperation.reach: self._routes.reach,
            PeerOperation.relay: self._routes.relay,
            PeerOperation.standing: self._replacing.standing,
        }
        router.coordinated = {
            Operation.transfers: to_coordinator.transfers,
            Operation.audit: auditor.audit,
            Operation.snapshot: auditor.snapshot,
            Operation.lock: lambda call: desk.request(call.request, call.deadline, call.reply, call.source),
            Operation.split_account: split.open,
            Operation.replace_node: self._replacing.replace,
            PeerOperation.hurry: to_coordinator.hurried,
            PeerOperation.gather: split.gather,
            PeerOperation.clock: self._clocks.answer,
        }

    def _work(self) -> list[Coroutine[Any, Any, None]]:
        actors = [self._writer.run(), self._coordinator.run(), self._tick()]
        readers = [self._reading.run() for _ in range(READERS)]
        return [*actors, *readers, *(link.run() for link in self._links.values())]

    async def _listen(self) -> None:
        address = self.placement.address(self.number)
        assert address is not None
        security = self.config.security
        rules = Rules(
            security.client_token, security.peer_token, self._peers, self.members, self._remembering, self.doubts
        )

        def accept(connection: Connection) -> Session:
            return Session(connection, self.router, rules, self._sessions)

        await self._adapters.transport.listen(address.host, address.port, accept)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(self._tick_seconds)
            self._life.tick(self._tick_seconds)
            self._writer.tick()
            self._admission.tick(self._sessions.tick(self._adapters.clock.monotonic()))
            self._clocks.tick()
            ticked = Ticked(self._writer.is_stalled, self._clocks.is_far_off(self.number))
            for replica in self.replicas.values():
                replica.inbox.offer(ticked)
            self._coordinator.inbox.offer(CoordinatorTicked())
            self._desk.tick()
            self._handover.tick()
            self._directory.learn_splits()
            self._learn_members()
            self.doubts.tick()
            self._remembering.tick()
            self._routes.tick()

    def stop(self) -> None:
        """Asks the node to stop gracefully."""
        self._life.asked_to_stop()
        self._stop.set()

    def fail(self, error: BaseException) -> None:
        """Stops the node at once: an exception that no task saw, or a peer that must not let this node take part."""
        self._failure = error
        self._stop.set()

    async def _hand_over(self) -> None:
        """Gives leadership away, so that clients hardly notice."""
        await self._adapters.transport.close()
        await self._handover.leave(self._adapters.clock, self._tick_seconds)
        self.router.is_stopping = True
        await asyncio.sleep(self._tick_seconds)  # what was accepted before is answered meanwhile
        for session in list(self._sessions.sessions):
            session.close()
        for link in self._links.values():
            link.close()

    def _is_up(self, node: int) -> bool:
        return node in self._links and self._links[node].is_up

    async def _close(self) -> None:
        await self._adapters.transport.close()
        for store in self._stores:
            await store.close()
        await self._adapters.log.close()

    # -- members --------------------------------------------------------------------------------------------------

    def _learn_members(self) -> None:
        """What group 0's replica here has applied meanwhile."""
        if (replica := self.replicas.get(COORDINATOR)) is not None:
            part = replica.machine.parts[Members.name]
            assert isinstance(part, Members)
            self.members.hear(part.table)
        self.members.tick(is_alone=not any(link.is_up for link in self._links.values()))
        self._replacing.tick()

    def _on_placed(self, node: int, placed: Placed) -> None:
        self.members.hear(MemberTable.unpack(placed.members))
        self._directory.on_placed(node, placed)

    def _members_changed(self) -> None:
        """Whoever has lost its place is not spoken with any more; the peers hear of it."""
        self._directory.tell_soon()
        for session in list(self._sessions.sessions):
            session.check_member()
        for link in self._links.values():
            link.check_member()

    # -- between the actors ---------------------------------------------------------------------------------------

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        assert self._tasks is not None
        return self._tasks.create_task(work)

    def _spawn_asking(self, work: Coroutine[Any, Any, None]) -> object:
        """For work that waits for answers: nobody may give them any more when the node stops, so it ends with the node."""
        assert self._tasks is not None
        task = self._tasks.create_task(work)
        self._asking[task] = None
        task.add_done_callback(self._asking.pop)
        return task

    def _send(self, node: NodeId, group: int, message: Any) -> None:
        if (link := self._links.get(int(node))) is not None:
            link.collect(group, message)

    async def _send_piece(self, node: NodeId, piece: SnapshotPiece) -> int | None:
        link = self._links.get(int(node))
        return None if link is None else await link.send_piece(piece)

    def _write(self, write: LogWrite, done: Callable[[], None]) -> None:
        self._writer.inbox.push(Write(write, done))

    def _lost_peer(self, node: int) -> None:
        self._directory.lost(node)
        self._remembering.lost(node)
        for replica in self.replicas.values():
            replica.inbox.push(PeerLost(node))

    def _take_piece(self, piece: SnapshotPiece, connection: Connection) -> None:
        replica = self.replicas.get(piece.group)
        if replica is None:
            connection.send(SnapshotAck(piece.group, piece.snapshot_id, piece.number, False, 0))
            return

        async def take() -> None:
            is_stored = await replica.incoming.take(piece)
            archived = await replica.store.archived() if piece.number == 0 else 0
            connection.send(SnapshotAck(piece.group, piece.snapshot_id, piece.number, is_stored, archived))

        self._spawn(take())

    # -- who leads ------------------------------------------------------------------------------------------------

    def _leads(self, group: int, leader: int, term: int, is_serving: bool) -> None:
        """A replica here has another leader, or begins or ends to serve."""
        mine = leader == self.number
        if leader:
            self._directory.learn_leader(group, term, leader if not mine or is_serving else 0, self.number)
        else:
            self._directory.lost_sight(group)
        if group == COORDINATOR:
            self._coordinator.inbox.push(Leads(term if mine and is_serving else 0))
            self._desk.lead(term if mine and is_serving else 0)

    def _applied(self, group: int) -> None:
        """Clients wait for what the lock desk says of group 0's entries."""
        if group == COORDINATOR:
            self._desk.applied()
