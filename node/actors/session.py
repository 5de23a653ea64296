"""The other end of an accepted connection. It has no task: a frame is handled where it arrives, since a hop costs more than the work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from node.actors.actor import Failed, Outcome
from node.actors.events import Received
from node.actors.router import Router
from node.core.raft import Message as LogMessage
from node.ports import Connection
from protocol.errors import ErrorCode, ProtocolError
from protocol.frames import CLIENT_FRAME_BYTES_MAX, FRAME_BYTES_MAX
from protocol.messages import (
    PROTOCOL_VERSION,
    Failure,
    Goodbye,
    Hello,
    Message,
    Placed,
    Raft,
    Reply,
    Request,
    Role,
    SnapshotPiece,
    Welcome,
    check_hello,
)

CLIENT_REQUESTS_MAX = 1_024  # unanswered requests of one client: ten times what keeps a shard busy
PEER_REQUESTS_MAX = 8_192  # of one peer, which speaks for all its clients


@dataclass(frozen=True, slots=True)
class Rules:
    """Who may connect."""

    cluster: str
    client_token: str
    peer_token: str
    peers: tuple[int, ...]
    is_known: Callable[[int, int], bool]  # whether a peer has come with the data folder that it had before


class Session:
    """One accepted connection; implements `Handler`."""

    def __init__(self, connection: Connection, router: Router, rules: Rules, host: SessionHost) -> None:
        self._connection = connection
        self._router = router
        self._rules = rules
        self._host = host
        self._in_flight: dict[int, None] = {}
        self.hello: Hello | None = None

    @property
    def is_peer(self) -> bool:
        """Whether the other side is a node of the cluster."""
        return self.hello is not None and self.hello.role == Role.peer

    def received(self, message: Message) -> None:
        """Handles a message; a ProtocolError ends the connection."""
        if self.hello is None:
            self._on_hello(message)
            return
        match message:
            case Request():
                self._on_request(message)
            case Raft(messages) if self.is_peer:
                self._on_raft(messages)
            case SnapshotPiece() if self.is_peer:
                self._host.take_piece(message, self._connection)
            case Placed(_, leaders) if self.is_peer:
                self._host.leaders_of(self.hello.node, leaders)
            case Goodbye():
                self._connection.close()
            case _:
                raise ProtocolError(f"unexpected {type(message).__name__} from a {self.hello.role}")

    def _on_hello(self, message: Message) -> None:
        if not isinstance(message, Hello):
            raise ProtocolError("expected Hello first")
        rules = self._rules
        error = check_hello(message, rules.cluster, rules.client_token, rules.peer_token, rules.peers)
        if error is not None:
            raise error
        if message.role == Role.peer and not rules.is_known(message.node, message.data_id):
            text = f"node {message.node} came back with another data folder: it has lost what it acknowledged"
            raise ProtocolError(text, ErrorCode.unknown_peer)
        self.hello = message
        limit = FRAME_BYTES_MAX if self.is_peer else CLIENT_FRAME_BYTES_MAX
        self._connection.allow(limit)
        router = self._router
        self._connection.send(
            Welcome(
                PROTOCOL_VERSION, rules.cluster, router.node, router.placement.shards, router.placement.pack(),
                list(router.leaders), limit, CLIENT_REQUESTS_MAX,
            )
        )  # fmt: skip
        self._host.opened(self)

    def _on_raft(self, messages: list[list[object]]) -> None:
        for group, packed in messages:
            message = LogMessage.unpack(packed)
            assert self.hello is not None
            if int(message.sender) != self.hello.node or int(message.to) != self._router.node:
                raise ProtocolError("a message of the log with another sender or receiver", ErrorCode.unknown_peer)
            replica = self._router.replicas.get(group)  # type: ignore[call-overload]  # checked by decode
            if replica is not None:
                replica.inbox.offer(Received(message))

    def _on_request(self, request: Request) -> None:
        if len(self._in_flight) >= (PEER_REQUESTS_MAX if self.is_peer else CLIENT_REQUESTS_MAX):
            self._send_failure(request.id, Failed(ErrorCode.busy, "too many unanswered requests", 20))
            return
        if request.id in self._in_flight:
            raise ProtocolError(f"request {request.id} is not answered yet")
        self._in_flight[request.id] = None

        def reply(outcome: Outcome) -> None:
            self._in_flight.pop(request.id, None)
            if isinstance(outcome, Failed):
                self._send_failure(request.id, outcome)
            else:
                self._connection.send(Reply(request.id, outcome))

        try:
            self._router.request(
                request.operation, request.group, request.deadline_ms, request.body, reply, peer=self.is_peer
            )
        except ProtocolError as error:
            code = error.code if not error.code.closes else ErrorCode.bad_request
            reply(Failed(code, str(error)))

    def _send_failure(self, number: int, failed: Failed) -> None:
        text = failed.message[:1_000]
        self._connection.send(Failure(number, failed.code.value, text, failed.retry_after_ms, failed.hint))

    def push(self, message: Message) -> None:
        """Sends what nobody asked for."""
        self._connection.send(message)

    def close(self) -> None:
        """Ends the connection politely."""
        self._connection.send(Goodbye("the node stops"))
        self._connection.close()

    def lost(self) -> None:
        """The connection is gone; answers under way go nowhere."""
        self._host.closed(self)


@dataclass(frozen=True, slots=True)
class SessionHost:
    """What a session tells its node."""

    opened: Callable[[Session], None]
    closed: Callable[[Session], None]
    take_piece: Callable[[SnapshotPiece, Connection], None]
    leaders_of: Callable[[int, list[int]], None]  # a peer, and the groups it leads
