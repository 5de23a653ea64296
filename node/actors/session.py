"""The other end of an accepted connection. It has no task: a frame is handled where it arrives, since a hop costs more than the work."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass

from node.actors.actor import Failed, Outcome, malformed, not_done
from node.actors.admission import FULL_RETRY_MS, Admission, Load
from node.actors.doubts import Doubts
from node.actors.episodes import Door
from node.actors.events import Received
from node.actors.members import MemberDesk
from node.actors.remembering import Remembering
from node.actors.router import Router
from node.core.raft import Message as LogMessage
from node.notices import Shed
from node.ports import Clock, Connection, OperatorLog
from protocol import clocks
from protocol.errors import ErrorCode, ProtocolError
from protocol.frames import CLIENT_FRAME_BYTES_MAX, FRAME_BYTES_MAX
from protocol.messages import (
    PROTOCOL_VERSION,
    Acknowledgements,
    Failure,
    Goodbye,
    Hello,
    Message,
    Placed,
    Raft,
    Recollection,
    Reply,
    Request,
    Role,
    SnapshotPiece,
    Welcome,
    check_hello,
)
from protocol.operations import PEER_OPERATIONS

NEWCOMER_SECONDS = 0.5  # a client waits for a node that does not belong to its cluster yet; then it is told why
HELLO_SECONDS = 5.0  # who connects speaks at once; a slow link and a paused program are forgiven, a squatter is not
CLIENT_REQUESTS_MAX = 1_024  # unanswered requests of one client: ten times what keeps a shard busy
CLIENT_BYTES_MAX = 8 << 20  # of their frames: some 20 full batches, twice what keeps a shard busy
CLIENT_ANSWERS_MAX = 12 << 20  # bytes of answers to its reads: one of 8,192 accounts at one cut, or 30 pages
CLIENT_UNSENT_MAX = 16 << 20  # who leaves so much unread is cut off: more than its reads may be answered with
PEER_REQUESTS_MAX = 8_192  # of one peer, which speaks for all its clients
PEER_BYTES_MAX = 16 << 20  # half of what a node takes: a peer with many clients shares it with this node's own
PEER_ANSWERS_MAX = 24 << 20  # likewise, of answers
PEER_UNSENT_MAX = 64 << 20  # a peer that stands still for seconds must not lose its connection for it
REFUSALS_PER_PAUSE = 8  # of a connection that is full; then what it sends waits in the network, still packed
CLIENTS_MAX = 1_000  # connected at once; each may hold some megabytes, and a descriptor
STRANGERS_MAX = 200  # that have not said hello yet; the oldest makes room, so that a peer is always let in
STRANGERS_FRACTION = 4  # one connection in so many is for them, where the system allows fewer than that
LOOK_SECONDS = 0.25  # between two looks at what the clients take
SILENT_SECONDS = 10.0  # in which a client takes nothing of what it was answered: it has stopped, and will come back
HELD_BYTES_MAX = 256 << 20  # of all clients' connections together; beyond it those that hold most are cut off


@dataclass(frozen=True, slots=True)
class Rules:
    """Who may connect."""

    client_token: str
    peer_token: str
    peers: tuple[int, ...]
    members: MemberDesk
    remembering: Remembering
    doubts: Doubts


class Session:
    """One accepted connection; implements `Handler`."""

    def __init__(self, connection: Connection, router: Router, rules: Rules, host: SessionHost) -> None:
        self._connection = connection
        self._router = router
        self._rules = rules
        self._host = host
        self.number = next(host.numbers)
        self._load = Load(0, 0, 0)
        self._taken_bytes = 0  # of answers
        self._taken_at = 0.0  # when that was last seen to grow
        self._in_flight: dict[int, None] = {}
        self._refused = 0  # because this connection had as much under way as it may
        self.hello: Hello | None = None
        self._has_answered = False  # said more than its hello
        self._patience = asyncio.get_running_loop().call_later(HELLO_SECONDS, self._no_hello)
        host.connected(self)

    @property
    def is_peer(self) -> bool:
        """Whether the other side is a node of the cluster."""
        return self.hello is not None and self.hello.role == Role.peer

    def received(self, message: Message) -> None:
        """Handles a message; a ProtocolError ends the connection."""
        if self.hello is None:
            self._on_hello(message)
            return
        if not self._has_answered:
            self._answered(self.hello)
        match message:
            case Request():
                self._on_request(message)
            case Raft(messages) if self.is_peer:
                self._on_raft(messages)
            case SnapshotPiece() if self.is_peer:
                self._host.take_piece(message, self._connection)
            case Acknowledgements() if self.is_peer:
                self._rules.remembering.hear(message)
            case Placed() if self.is_peer:
                self._host.placed(self.hello.node, message)
            case Goodbye():
                self._connection.close()
            case _:
                raise self._told(ProtocolError(f"unexpected {type(message).__name__} from a {self.hello.role}"))

    def garbled(self, error: ProtocolError) -> None:
        """What has come is no message."""
        self._told(error)

    def _answered(self, hello: Hello) -> None:
        self._has_answered = True
        if self.is_peer:
            self._rules.remembering.answered(hello)

    def _no_hello(self) -> None:
        self.end(f"expected Hello within {HELLO_SECONDS:g} s of connecting")

    def end(self, reason: str) -> None:
        """Whoever it is has not said hello, and nobody waits for it any longer."""
        self._connection.refuse(self._told(ProtocolError(reason, ErrorCode.busy)))

    def _told(self, error: ProtocolError) -> ProtocolError:
        """Why somebody is refused, as people are told too; of a peer's end its link tells."""
        if not self.is_peer:
            self._host.door.refused(self._connection.peer_name, error.code.value, str(error))
        return error

    def _on_hello(self, message: Message) -> None:
        if not isinstance(message, Hello):
            raise self._told(ProtocolError("expected Hello first"))
        rules, is_peer = self._rules, message.role == Role.peer
        welcome = self._welcome(is_peer=is_peer)
        error = check_hello(message, welcome, rules.client_token, rules.peer_token, rules.peers)
        if is_peer:
            error = error or rules.members.check_hello(message) or rules.remembering.check_hello(message)
        if error is not None:
            if is_peer:
                rules.members.turned_away(message.node, error)
            raise error if is_peer else self._told(error)
        if not is_peer and (limit := self._host.clients_max) <= self._host.clients:
            self._host.door.crowded(limit)
            text = f"{limit} clients connected to node {self._router.node}: expected at most as many with the new one"
            raise ProtocolError(text, ErrorCode.busy)
        self._patience.cancel()
        if is_peer or rules.members.is_admitted:
            self._open(message, welcome)
        else:
            self._host.wait(self, message)
            self._patience = asyncio.get_running_loop().call_later(NEWCOMER_SECONDS, self._not_yet)

    def _not_yet(self) -> None:
        del self._host.waiting[self]
        self._connection.refuse(ProtocolError(self._rules.members.waits_for, ErrorCode.busy))

    def admitted(self, hello: Hello) -> None:
        """The node belongs to its cluster now: what a client has said before is looked at."""
        try:
            self._on_hello(hello)
        except ProtocolError as error:
            self._connection.refuse(error)

    def check_member(self) -> None:
        """Ends a peer's connection if its data folder is no longer the one that its number has."""
        if self.hello is None or not self.is_peer:
            return
        if not self._rules.members.may_speak(self.hello.node, self.hello.data_id, self.hello.identity):
            self._connection.abort()

    def _open(self, hello: Hello, welcome: Welcome) -> None:
        self.hello = hello
        if self.is_peer:
            self._load = Load(PEER_REQUESTS_MAX, PEER_BYTES_MAX, PEER_ANSWERS_MAX)
        else:
            self._load = Load(CLIENT_REQUESTS_MAX, CLIENT_BYTES_MAX, CLIENT_ANSWERS_MAX)
        self._connection.allow(welcome.frame_bytes_max, PEER_UNSENT_MAX if self.is_peer else CLIENT_UNSENT_MAX)
        self._connection.send(welcome)
        if self.is_peer:
            self._rules.members.accepted(hello.node)
            self._host.replace(self)
            self._rules.remembering.greet(hello, self._recollect)
        self._host.opened(self)

    def _recollect(self, recollection: Recollection) -> None:
        self._connection.send(recollection)
        self._connection.send(self._router.placed(()))  # what it forgot with its last connection, with the terms

    def _welcome(self, *, is_peer: bool) -> Welcome:
        router, limit = self._router, FRAME_BYTES_MAX if is_peer else CLIENT_FRAME_BYTES_MAX
        mine = self._rules.members.hello()
        return Welcome(
            PROTOCOL_VERSION, mine.cluster, router.node, router.placement.shards, router.placement.pack(),
            list(router.leaders), limit, CLIENT_REQUESTS_MAX, list(router.split), mine.identity,
            mine.data_id if is_peer else 0, mine.settings if is_peer else "", self._clock_ms(),
        )  # fmt: skip

    def _on_raft(self, messages: list[list[object]]) -> None:
        """What comes before the peer's recollection, on the other link, is dropped: it may speak of what this disk has forgotten."""
        assert self.hello is not None
        doubts = self._rules.doubts
        if not doubts.has_heard(self.hello.node):
            return
        for group, packed in messages:
            message = LogMessage.unpack(packed)
            if int(message.sender) != self.hello.node or int(message.to) != self._router.node:
                raise ProtocolError("a message of the log with another sender or receiver", ErrorCode.unknown_peer)
            replica = self._router.replicas.get(group)  # type: ignore[call-overload]  # checked by decode
            if replica is not None and doubts.may_take(message):
                replica.inbox.offer(Received(message))

    def _on_request(self, request: Request) -> None:
        if request.id in self._in_flight:
            raise self._told(ProtocolError(f"request {request.id} is not answered yet"))
        admission, demand = self._host.admission, None  # not counted: bounded by the limits of a peer's link
        if not (self.is_peer and request.operation in PEER_OPERATIONS):
            demand = self._router.operations.demand(request.operation, request.body, self._connection.frame_bytes)
            self._load.unsent_bytes = self._connection.unsent_bytes
            refusal = admission.admit(self._load, demand)
            if refusal is not None:
                self._send_failure(request.id, refusal)
                if not self.is_peer and self._load.excess(demand) is not None:
                    self._hold_back()
                return
        self._in_flight[request.id] = None

        def reply(outcome: Outcome) -> None:
            del self._in_flight[request.id]
            if demand is not None:
                admission.release(self._load, demand)
            if isinstance(outcome, Failed):
                if outcome.code is ErrorCode.busy and self._connection.is_open:
                    admission.shedding.refused(Shed.queue, outcome.message)
                self._send_failure(request.id, outcome)
            else:
                self._send_reply(request.id, outcome)

        try:
            self._router.request(request, reply, peer=self.is_peer, source=self.number)
        except ProtocolError as error:
            reply(malformed(error))

    def _hold_back(self) -> None:
        """Reads no more for a moment, now and then: who asks on and on for more than it may have costs more than a refusal."""
        self._refused += 1
        if self._refused % REFUSALS_PER_PAUSE == 0:
            self._connection.pause_reading(FULL_RETRY_MS / 1000)

    def _send_reply(self, number: int, body: list[object]) -> None:
        try:
            self._connection.send(Reply(number, body, self._clock_ms()))
        except ProtocolError as error:  # only answers to reads are so long, or have sums
            is_long = error.code is ErrorCode.frame_too_large
            text = f"the answer is a {error}: ask for less at once" if is_long else f"the answer has {error}"
            self._send_failure(number, not_done(error.code, text))

    def _send_failure(self, number: int, failed: Failed) -> None:
        code, text, wait_ms, hint = failed.code.value, failed.message[:1_000], failed.retry_after_ms, failed.hint
        self._connection.send(Failure(number, code, text, wait_ms, hint, failed.may_have_happened, self._clock_ms()))

    def _clock_ms(self) -> int:
        return clocks.show(self._host.clock.monotonic())

    @property
    def held_bytes(self) -> int:
        """What the connection holds in memory."""
        return self._connection.held_bytes

    def is_silent(self, now: float) -> bool:
        """Whether the other side has taken nothing of what it was answered for too long."""
        taken = self._connection.taken_bytes
        if taken > self._taken_bytes or not self._connection.unsent_bytes:
            self._taken_bytes, self._taken_at = taken, now
        return now - self._taken_at > SILENT_SECONDS

    def is_earlier_than(self, other: Session) -> bool:
        """Whether it is a peer's, and the other one is that of a later process of the same peer."""
        mine, its = self.hello, other.hello
        assert its is not None
        return self.is_peer and mine is not None and mine.node == its.node and mine.start != its.start

    def abort(self) -> None:
        """Ends the connection without a word; what the other side has asked for is dropped."""
        self._connection.abort()

    def cut_off(self, reason: str) -> None:
        """The same with a client that takes no answers, as people are told."""
        self._host.door.cut_off(self._connection.peer_name, reason, self._connection.unsent_bytes)
        self.abort()

    def push(self, message: Message) -> None:
        """Sends what nobody asked for."""
        self._connection.send(message)

    def close(self) -> None:
        """Ends the connection politely."""
        self._connection.send(Goodbye("the node stops"))
        self._connection.close()

    def lost(self) -> None:
        """The connection is gone; answers under way go nowhere."""
        self._patience.cancel()
        if self._connection.is_overrun and not self.is_peer:
            self._host.door.cut_off(self._connection.peer_name, "it left more unread than it may", 0)
        self._host.closed(self)


@dataclass(frozen=True, slots=True)
class SessionsStatistics:
    """The connections that others have opened."""

    strangers: int  # have not said hello
    clients: int
    peers: int
    cut_off: int  # clients that took no answers, since the start


class SessionHost:
    """A node's sessions, and what they tell it."""

    def __init__(
        self,
        admission: Admission,
        clock: Clock,
        take_piece: Callable[[SnapshotPiece, Connection], None],
        placed: Callable[[int, Placed], None],
        connections_max: int,
        operator: OperatorLog,
    ) -> None:
        """`placed` is given a peer and what it knows of leaders and split accounts.

        Peers' connections come beside `connections_max`.
        """
        self.admission = admission
        self.door = Door(clock, operator)
        self.clock = clock
        self.numbers = itertools.count(1)
        self.sessions: dict[Session, None] = {}  # that have said hello
        self.take_piece = take_piece
        self.placed = placed
        self._strangers_max = min(STRANGERS_MAX, connections_max // STRANGERS_FRACTION)
        self.clients_max = min(CLIENTS_MAX, connections_max - self._strangers_max)
        self._strangers: dict[Session, None] = {}  # the oldest first
        self._clients: dict[Session, None] = {}
        self.waiting: dict[Session, Hello] = {}  # clients that came before this node belongs to its cluster
        self._numbers: dict[int, None] = {}  # of all that stand
        self._look_at = 0.0
        self._looked = 0.0
        self._awake = 0.0  # seconds: while a node stands still it sends nothing, so its clients are not silent
        self._unsent_bytes = 0
        self._cut_off = 0

    @property
    def clients(self) -> int:
        """How many are connected and have said hello."""
        return len(self._clients) + len(self.waiting)

    def is_here(self, source: int) -> bool:
        """Whether somebody waits for an answer on the connection of that number; 0 is this node."""
        return not source or source in self._numbers

    def connected(self, session: Session) -> None:
        """Somebody has connected."""
        self._strangers[session] = None
        if len(self._strangers) > self._strangers_max:
            oldest = next(iter(self._strangers))
            del self._strangers[oldest]
            oldest.end(f"expected Hello before {self._strangers_max} others connected")

    def wait(self, session: Session, hello: Hello) -> None:
        """A client's hello is looked at as soon as this node belongs to its cluster."""
        self._strangers.pop(session, None)
        self.waiting[session] = hello

    def replace(self, session: Session) -> None:
        """A peer's process has come: what one before it has said and was not read yet comes too late."""
        for other in list(self.sessions):
            if other.is_earlier_than(session):
                other.abort()

    def opened(self, session: Session) -> None:
        """The session's hello was accepted."""
        self._strangers.pop(session, None)
        self.sessions[session] = None
        self._numbers[session.number] = None
        if not session.is_peer:
            self._clients[session] = None

    def admitted(self) -> None:
        """This node belongs to its cluster now: clients that wait are let in."""
        waiting, self.waiting = self.waiting, {}
        for session, hello in waiting.items():
            session.admitted(hello)

    def closed(self, session: Session) -> None:
        """The connection is gone."""
        for known in (self._strangers, self.sessions, self._clients, self.waiting):
            known.pop(session, None)
        self._numbers.pop(session.number, None)

    def tick(self, now: float) -> int:
        """Now and then cuts off clients that take no answers, or together hold too much. How many bytes they all leave unread."""
        self.door.tick()
        if now >= self._look_at:
            self._awake += min(now - self._looked, 2 * LOOK_SECONDS)
            self._looked, self._look_at = now, now + LOOK_SECONDS
            self._look(self._awake)
        return self._unsent_bytes

    def _look(self, now: float) -> None:
        silent = f"it has taken nothing of its answers for {SILENT_SECONDS:g} s"
        cut = {session: silent for session in self._clients if session.is_silent(now)}
        held = {session: session.held_bytes for session in self._clients if session not in cut}
        total = sum(held.values())
        while total > HELD_BYTES_MAX:
            most = max(held, key=held.__getitem__)
            total -= held.pop(most)
            cut[most] = f"all clients together held more than {HELD_BYTES_MAX} bytes, and it most of them"
        for session, reason in cut.items():
            session.cut_off(reason)
        self._cut_off += len(cut)
        self._unsent_bytes = total

    def statistics(self) -> SessionsStatistics:
        """Who is connected now."""
        peers = len(self.sessions) - len(self._clients)
        return SessionsStatistics(len(self._strangers), len(self._clients), peers, self._cut_off)
