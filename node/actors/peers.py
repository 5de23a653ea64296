"""Links to the other nodes: one outgoing connection each, opened again for ever, on which this node talks and asks.

Messages of the replicated log are collected until the loop turns, so that all groups share one frame and one write a peer.

An open connection proves nothing: a network drops packets without a word, and a paused process keeps its sockets. So a link pings,
and one on which nothing is heard counts as down long before TCP gives it up; it is renewed after a while, since TCP itself would
only try again after as long a time as the silence has lasted. Time is counted in ticks, so that a node that stood still itself
does not take its peers for silent.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from node.actors.actor import RETRY_AFTER_MS, Failed, Outcome, Reply, not_done
from node.actors.members import MemberDesk
from node.core.raft import ENTRY_OVERHEAD_BYTES
from node.core.raft import Message as LogMessage
from node.notices import LinkLost, LinkRenewed, LinkUp, PeerNotReached
from node.ports import UNHEARD, Connection, OperatorLog, Transport
from protocol.clocks import RemoteClock
from protocol.errors import ErrorCode, ProtocolError, error_code
from protocol.messages import (
    ANY_GROUP,
    Failure,
    Goodbye,
    Message,
    Placed,
    Raft,
    Recollection,
    Request,
    SnapshotAck,
    SnapshotPiece,
    Welcome,
    check_welcome,
)
from protocol.messages import (
    Reply as ReplyMessage,
)
from protocol.operations import PEER_OPERATIONS, PeerOperation
from protocol.placement import NodeAddress

PING_TICKS = 2  # a tenth of a second; an answer is some microseconds' work
RENEWAL_SILENCES = 3  # times what makes a link silent: a peer that stood still for a moment keeps its connection
PATIENCE_DOUBLINGS_MAX = 3  # where a link is so slow that a frame holds up all pings, renewals would never end
RECONNECT_SECONDS = 0.1  # a local node is back within a second; a dead one costs ten refused connections a second
PING_MS = 1_000  # a link with slower answers never counts as up; what comes later still breaks the silence
PIECE_TIMEOUT_SECONDS = 30.0  # a peer that has not stored a megabyte by then is as good as gone
CALLS_MAX = 4_096  # unanswered calls on one link; beyond it callers are told `busy`
OWN_CALLS_MAX = 2_048  # more of them, for what finishes requests that were taken: rounds and cuts over all shards
FLUSH_BYTES = 4 << 20  # of one frame, unless one message alone is longer: others wait behind it
UNREACHED_SECONDS = 5.0  # since the start, after which people are told: whoever starts together has met by then
RAFT_MESSAGES_MAX = 8_192  # for one peer in one turn of the loop; beyond it they are dropped, as by a network


@dataclass(frozen=True, slots=True)
class LinkStatistics:
    """A link at a glance."""

    node: int  # the peer
    is_up: bool
    calls: int  # unanswered
    dropped: int  # messages of the log, since the start


class Asked(NamedTuple):
    """A call without an answer yet."""

    at: float
    deadline: float
    reply: Reply


class Link:
    """The connection to one peer; implements `Handler`."""

    def __init__(
        self,
        members: MemberDesk,
        address: NodeAddress,
        transport: Transport,
        silence_ticks: int,
        lost: Callable[[int], None],
        greet: Callable[[], Message],
        placed: Callable[[int, Placed], None],
        heard: Callable[[int, Recollection], None],
        operator: OperatorLog,
        tick_seconds: float,
    ) -> None:
        """`silence_ticks`: without a word for so long, the peer does not count as up. `placed` hears what the peer knows of leaders,
        `heard` what it remembers of this node, before anything else goes out to it.

        `lost` is told of a connection that breaks while the peer is up: then its process has ended. After a silence that is no news.
        """
        self.address = address
        self.reach: dict[int, int] = {}  # links from the peer to other nodes, as it said last
        self._dropped = 0
        self._members = members
        self._hello = members.hello()  # as it was said last
        self._transport = transport
        self._on_lost = lost
        self._greet = greet
        self._placed = placed
        self._heard = heard
        self._silence_ticks = silence_ticks
        self._ticks = 0
        self._unheard_ticks = 0
        self._renewals = 0  # since the last answer to a ping
        self._connection: Connection | None = None
        self._is_welcome = False
        self._has_answered = False  # a ping: what is said on the connection arrives
        self._operator = operator
        self._tick_seconds = tick_seconds
        self._is_told_up: bool | None = None  # to people; None before the first word about this peer
        self._away_ticks = 0  # since it was missed, or since the start
        self._obstacle = ""  # to the last attempt to connect
        self._end = ""  # of the last connection, as far as its reason is known
        self._named = 0, 0  # data id and identity that the peer has named on this connection
        self._closed = asyncio.Event()
        self._clock = RemoteClock()
        self._numbers = itertools.count(1)
        self._calls: dict[int, Asked] = {}
        self._pieces: dict[tuple[int, int], asyncio.Future[int | None]] = {}
        self._collected: list[Any] = []
        self._collected_bytes = 0

    @property
    def is_up(self) -> bool:
        """Whether the peer has answered on an open connection, and spoken a moment ago."""
        return self._has_answered and self._unheard_ticks < self._silence_ticks

    async def run(self) -> None:
        """Connects again and again, until cancelled."""
        while True:
            self._closed.clear()
            try:
                await self._transport.connect(self.address.host, self.address.port, self._connected)
                await self._closed.wait()
            except (OSError, TimeoutError) as error:
                self._obstacle = str(error) or "no answer to the attempt to connect"
            await asyncio.sleep(RECONNECT_SECONDS)

    def _connected(self, connection: Connection) -> Link:
        self._connection, self._clock = connection, RemoteClock()
        self._obstacle = self._end = ""
        self._unheard_ticks = 0
        self._hello = self._members.hello()
        connection.send(self._hello)
        return self

    def received(self, message: Message) -> None:
        """Answers to our calls, and the peer's words on the connection."""
        self._unheard_ticks = 0
        match message:
            case Welcome():
                error = check_welcome(message, self._hello, self.address.id) or self._members.check_welcome(message)
                if error is not None:
                    self._is_told_up = False
                    self._members.turned_away(self.address.id, error)
                    raise error
                self._clock.hear(message.clock_ms, asyncio.get_running_loop().time())
                self._named = message.data_id, message.identity
            case ReplyMessage(number, body, clock_ms):
                self._answered(number, clock_ms, body)
            case Failure(0, code, text) if not self._is_welcome and not error_code(code).is_transient:
                self._is_told_up = False
                self._members.refused(self.address.id, ProtocolError(text, error_code(code)))
            case Failure(number, code, text, retry_after_ms, hint, may_have_happened, clock_ms) if number:
                failed = Failed(error_code(code), text, retry_after_ms, hint, may_have_happened)
                self._answered(number, clock_ms, failed)
            case SnapshotAck(_, snapshot_id, number, ok, archived):
                if (waiter := self._pieces.pop((snapshot_id, number), None)) is not None and not waiter.done():
                    waiter.set_result(archived if ok else None)
            case Recollection():
                self._members.let_in(self.address.id)
                self._heard(self.address.id, message)  # before anything goes out
                self._is_welcome = True
                self.send(self._greet())
                self._ping()
            case Placed():
                self._placed(self.address.id, message)
            case Goodbye(text):
                self._end = f"it said: {text}"
            case Failure(_, _, text):
                self._obstacle = text
            case _:
                raise ProtocolError(f"unexpected {type(message).__name__} from node {self.address.id}")

    def _answered(self, number: int, clock_ms: int, outcome: Outcome) -> None:
        asked = self._calls.pop(number, None)
        self._clock.hear(clock_ms, asyncio.get_running_loop().time(), -math.inf if asked is None else asked.at)
        if asked is not None:
            asked.reply(outcome)

    def garbled(self, error: ProtocolError) -> None:
        """What has come is no message."""
        self._end = f"it sent what is no message: {error}"

    def lost(self) -> None:
        """The connection broke: whoever waits is told, and the groups may campaign."""
        was_up = self.is_up
        self._is_welcome = self._has_answered = False
        self._connection = None
        self.reach = {}
        self._collected, self._collected_bytes = [], 0
        self._closed.set()
        self._end_calls(f"connection to node {self.address.id} lost")
        for waiter in self._pieces.values():
            if not waiter.done():
                waiter.set_result(None)
        self._pieces.clear()
        if was_up:
            self._on_lost(self.address.id)
        self._miss(self._end or "the connection broke")

    def _miss(self, reason: str) -> None:
        """People are told once until the peer answers again."""
        if self._is_told_up:
            self._is_told_up, self._away_ticks = False, 0
            self._operator.tell(LinkLost(self.address.id, reason))

    def send(self, message: Message, *, at_once: bool = False) -> None:
        """Sends if the link is up, as its connection does; else the message is lost, as on any network."""
        if self._is_welcome and self._connection is not None:
            self._connection.send(message, at_once=at_once)

    def collect(self, group: int, message: LogMessage) -> None:
        """Sends with all other messages of the log of this turn of the loop."""
        if not self._is_welcome or len(self._collected) >= RAFT_MESSAGES_MAX:
            self._dropped += 1
            return
        size = sum([len(entry.data) + ENTRY_OVERHEAD_BYTES for entry in message.entries])
        if self._collected_bytes + size > FLUSH_BYTES:
            self._flush()
        if not self._collected:
            asyncio.get_running_loop().call_soon(self._flush)
        self._collected.append([group, message.pack()])
        self._collected_bytes += size

    def _flush(self) -> None:
        if self._collected:
            collected, self._collected, self._collected_bytes = self._collected, [], 0
            self.send(Raft(collected), at_once=True)

    def call(self, operation: str, group: int, left_ms: int, version: int, body: list[Any], reply: Reply) -> None:
        """Asks the peer; `reply` is called once, at the latest when the connection breaks."""
        if not self._is_welcome or self._connection is None:
            reply(not_done(ErrorCode.not_leader, f"node {self.address.id} is not connected"))
        elif len(self._calls) >= (limit := CALLS_MAX + (OWN_CALLS_MAX if operation in PEER_OPERATIONS else 0)):
            text = f"{len(self._calls)} calls to node {self.address.id} under way: expected at most {limit} with the new one"
            reply(not_done(ErrorCode.busy, text, RETRY_AFTER_MS))
        else:
            number, now = next(self._numbers), asyncio.get_running_loop().time()
            deadline = now + left_ms / 1000
            try:
                self._connection.send(Request(number, operation, group, self._clock.at(deadline, now), version, body))
            except ProtocolError as error:
                reply(not_done(error.code, str(error)))
                return
            self._calls[number] = Asked(now, deadline, reply)

    def tick(self) -> None:
        """Call it every tick: pings, ends calls whose time is over, and renews a connection on which nothing is heard."""
        self._expire_calls()
        self._away_ticks += 1
        if self._is_told_up is None and self._away_ticks * self._tick_seconds > UNREACHED_SECONDS:
            self._is_told_up = False
            reason = self._obstacle or "it does not answer"
            self._operator.tell(PeerNotReached(self.address.id, self._away_ticks * self._tick_seconds, reason))
        if self._connection is None:
            return
        self._ticks += 1
        self._unheard_ticks += 1
        if self._has_answered and self._unheard_ticks == self._silence_ticks:
            self._miss(f"nothing was heard for {self._silence_ticks * self._tick_seconds:.1f} s")
        if self._unheard_ticks >= (RENEWAL_SILENCES * self._silence_ticks) << min(
            self._renewals, PATIENCE_DOUBLINGS_MAX
        ):
            self._renewals += 1
            if self._renewals == 1:
                self._operator.tell(LinkRenewed(self.address.id))
            self._unheard_ticks = self._silence_ticks  # which is what `lost` looks at
            self._connection.abort()
        elif self._is_welcome and self._ticks % PING_TICKS == 0:
            self._ping()

    def _ping(self) -> None:
        self.call(PeerOperation.reach, ANY_GROUP, PING_MS, 0, [self._hello.node], self._pinged)

    def _pinged(self, outcome: Outcome) -> None:
        if not isinstance(outcome, Failed):
            self._has_answered, self._renewals, self.reach = True, 0, dict(outcome)
            if not self._is_told_up:
                self._is_told_up = True
                self._operator.tell(LinkUp(self.address.id, self._away_ticks * self._tick_seconds))

    def _expire_calls(self) -> None:
        """Gives up calls whose time is over: a machine that lost its power resets no connection."""
        now = asyncio.get_running_loop().time()
        for number in [number for number, asked in self._calls.items() if asked.deadline < now]:
            self._calls.pop(number).reply(Failed(ErrorCode.not_leader, f"node {self.address.id} does not answer"))

    def give_up_calls(self) -> None:
        """Ends all calls under way but pings, which alone can tell that the link is up; an answer that still comes is dropped."""
        pings = {number: asked for number, asked in self._calls.items() if asked.reply == self._pinged}
        for number in pings:
            del self._calls[number]
        self._end_calls(f"node {self.address.id} is silent")
        self._calls |= pings

    def _end_calls(self, reason: str) -> None:
        calls, self._calls = self._calls, {}
        for asked in calls.values():
            asked.reply(Failed(ErrorCode.not_leader, reason))

    async def send_piece(self, piece: SnapshotPiece) -> int | None:
        """Sends a piece of a snapshot; None unless the peer has stored it, else how many rows of its archives it had before."""
        if not self._is_welcome:
            return None
        waiter: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._pieces[piece.snapshot_id, piece.number] = waiter
        self.send(piece)
        try:
            return await asyncio.wait_for(waiter, PIECE_TIMEOUT_SECONDS)
        except TimeoutError:
            self._pieces.pop((piece.snapshot_id, piece.number), None)
            return None

    def statistics(self) -> LinkStatistics:
        """The link as it is now."""
        return LinkStatistics(self.address.id, self.is_up, len(self._calls), self._dropped)

    def check_member(self) -> None:
        """Ends the connection if the peer's data folder is no longer the one that its number has."""
        is_refused = self._is_welcome and not self._members.may_speak(self.address.id, *self._named)
        if is_refused and self._connection is not None:
            self._connection.abort()

    def close(self) -> None:
        """Says goodbye."""
        self._operator = UNHEARD  # what comes of it is no news
        if self._connection is not None:
            self.send(Goodbye("the node stops"))
            self._connection.close()
