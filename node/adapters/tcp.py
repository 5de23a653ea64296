"""TCP as frames: a listening socket and outgoing connections, on `asyncio.Protocol` because streams cost ten times as much.

For tests of a cluster, the transport can be cut off from peers: their frames are dropped in silence, both ways or only those
to them, while the connections stay open and new ones are never answered, as when a network fails. A connection knows its peer
by the hello that it was sent, or by the welcome that it got. What was dropped is a gap in a stream, so healing closes the
connections.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import cast

from node.ports import Connection, Handler, MakeHandler
from protocol.errors import ProtocolError
from protocol.frames import FRAME_BYTES_MAX, HELLO_FRAME_BYTES_MAX, FrameDecoder, header
from protocol.messages import Hello, Message, Welcome, decode, encode, failure

UNSENT_BYTES_MAX = 64 << 20  # a peer that reads this slowly is cut off; it will come back
# A peer that can be reached answers in milliseconds; one behind a cut that has healed is found soon.
CONNECT_TIMEOUT_SECONDS = 0.5
LINGER_SECONDS = 1.0  # for a refused side to read why; it closes by itself as soon as it has
BACKLOG = 1_024  # connections that wait to be accepted after a node's restart
UNKNOWN, CLIENT = -1, 0  # who is at the other side, before its first message, and where it is no node


class Wire(asyncio.Protocol):
    """One connection: frames in to its handler, messages out."""

    def __init__(self, make_handler: MakeHandler, frame_bytes_max: int, transport: TcpTransport) -> None:
        self._decoder = FrameDecoder(frame_bytes_max)
        self.is_open = self.is_overrun = False
        self.frame_bytes = 0
        self.peer = UNKNOWN  # its node id
        self._wires = transport.wires
        self._unheard, self._muted = transport.unheard, transport.muted
        self._make_handler = make_handler
        self._handler: Handler | None = None
        self._transport: asyncio.Transport | None = None
        self._outgoing: list[bytes] = []
        self._outgoing_bytes = 0
        self._unhandled: deque[memoryview] = deque()  # bodies of frames; not empty in a pause only
        self._is_paused = False  # whether nothing is read for a moment
        self._sent_bytes = 0  # handed over since the beginning

    # -- from asyncio ---------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(UNSENT_BYTES_MAX)
        self._wires[self] = None
        self.is_open = True
        self._handler = self._make_handler(self)

    def data_received(self, data: bytes) -> None:
        """Cuts frames and hands on their messages; whatever is wrong ends the connection with an error."""
        if self._handler is None or not self.is_open:
            return
        try:
            self._unhandled += self._decoder.feed(data)
        except ProtocolError as error:
            self._garbled(error)
        else:
            self._handle()

    def _handle(self) -> None:
        """Hands on what has come whole, until the handler wants a pause."""
        try:
            while self._unhandled and self.is_open and not self._is_paused:
                self._decode(self._unhandled.popleft())
        except ProtocolError as error:
            self.refuse(error)

    def _decode(self, body: memoryview) -> None:
        self.frame_bytes = len(body)
        try:
            message = decode(body)
        except ProtocolError as error:
            self._garbled(error)
        else:
            self._hand_on(message)

    def _garbled(self, error: ProtocolError) -> None:
        if self._handler is not None and self.peer not in self._unheard:
            self._handler.garbled(error)
        self.refuse(error)

    def _hand_on(self, message: Message) -> None:
        if self.peer == UNKNOWN:
            self.peer = message.node if isinstance(message, (Hello, Welcome)) else CLIENT
        if self.peer not in self._unheard and self._handler is not None:
            self._handler.received(message)

    def pause_writing(self) -> None:
        """The other side does not read."""
        self.is_overrun = True
        self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The end, from either side."""
        self.is_open = False
        self._wires.pop(self, None)
        handler, self._handler = self._handler, None
        if handler is not None:
            handler.lost()

    # -- for the handler ------------------------------------------------------------------------------------------

    @property
    def peer_name(self) -> str:
        """The other side's address, for logs."""
        if self._transport is None:
            return "?"
        name = self._transport.get_extra_info("peername")
        return f"{name[0]}:{name[1]}" if isinstance(name, tuple) else str(name)

    @property
    def unsent_bytes(self) -> int:
        """Of messages that the other side has not taken yet."""
        return self._outgoing_bytes + (0 if self._transport is None else self._transport.get_write_buffer_size())

    @property
    def taken_bytes(self) -> int:
        """Of messages that it has taken."""
        return self._sent_bytes - self.unsent_bytes

    @property
    def held_bytes(self) -> int:
        """What this connection holds in memory: the unsent, and the beginning of a frame."""
        return self.unsent_bytes + self._decoder.held_bytes

    def allow(self, frame_bytes_max: int, unsent_bytes_max: int) -> None:
        """Sets what the other side may send in one frame, and leave unread before it is cut off, after its handshake."""
        self._decoder.limit_bytes = frame_bytes_max
        if self._transport is not None:
            self._transport.set_write_buffer_limits(unsent_bytes_max)

    def pause_reading(self, seconds: float) -> None:
        """Takes nothing from the other side for so long; what it sends waits in the network."""
        if self._transport is not None and self.is_open and not self._is_paused:
            self._is_paused = True
            if self._transport.is_reading():
                self._transport.pause_reading()
            asyncio.get_running_loop().call_later(seconds, self._read_on)

    def _read_on(self) -> None:
        self._is_paused = False
        self._handle()
        if self._transport is not None and not self._transport.is_closing() and not self._is_paused:
            self._transport.resume_reading()

    def send(self, message: Message, *, at_once: bool = False) -> None:
        """Sends, in order; what one turn of the loop sends is one write, but for `at_once`. Does nothing on a closed connection.

        Raises ProtocolError(frame_too_large), having sent nothing.
        """
        if self._transport is not None and self.is_open and self.peer not in self._muted:
            body = encode(message)
            head = header(body)
            if not self._outgoing and not at_once:
                asyncio.get_running_loop().call_soon(self._flush)
            self._outgoing += (head, body)
            self._outgoing_bytes += len(head) + len(body)
            self._sent_bytes += len(head) + len(body)
            if at_once:
                self._flush()

    def _flush(self) -> None:
        outgoing, self._outgoing, self._outgoing_bytes = self._outgoing, [], 0
        if outgoing and self._transport is not None and not self._transport.is_closing():
            self._transport.writelines(outgoing)

    def refuse(self, error: ProtocolError) -> None:
        """Tells the other side why, then closes.

        What is still coming in is read and dropped for a moment: closing over unread bytes resets the connection, and the
        reason would be lost on its way.
        """
        self.send(failure(error))
        if self._transport is not None and self.is_open:
            self._flush()
            self.is_open = False
            self._transport.write_eof()
            asyncio.get_running_loop().call_later(LINGER_SECONDS, self._transport.abort)

    def close(self) -> None:
        """Sends what is collected, then closes."""
        if self._transport is not None and self.is_open:
            self._flush()
            self.is_open = False
            self._transport.close()

    def abort(self) -> None:
        """Closes without sending."""
        if self._transport is not None:
            self.is_open = False
            self._outgoing, self._outgoing_bytes = [], 0  # or the loop's next turn would write to what is gone
            self._transport.abort()


class TcpTransport:
    """Implements `Transport`."""

    def __init__(self) -> None:
        self.wires: dict[Wire, None] = {}
        self.unheard: dict[int, None] = {}  # nodes whose frames are dropped
        self.muted: dict[int, None] = {}  # nodes that frames are not sent to
        self._server: asyncio.AbstractServer | None = None

    async def listen(self, host: str, port: int, make_handler: MakeHandler) -> None:
        """Accepts connections. Raises OSError where the address cannot be had."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Wire(make_handler, HELLO_FRAME_BYTES_MAX, self), host, port, backlog=BACKLOG
        )

    async def connect(self, host: str, port: int, make_handler: MakeHandler) -> Connection:
        """Opens a connection. Raises OSError or TimeoutError."""
        loop, wire = asyncio.get_running_loop(), Wire(make_handler, FRAME_BYTES_MAX, self)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
                await loop.create_connection(lambda: wire, host, port)
        except BaseException:
            wire.abort()  # uvloop closes it without a word, and what it was to say first would be written all the same
            raise
        return wire

    async def close(self) -> None:
        """Stops listening; open connections stay."""
        if self._server is not None:
            self._server.close()

    def cut(self, nodes: Sequence[int]) -> None:
        """From now on nothing is heard from these nodes and nothing reaches them, whoever was cut off before too."""
        self.unheard.update(dict.fromkeys(nodes))
        self.mute(nodes)

    def mute(self, nodes: Sequence[int]) -> None:
        """From now on nothing reaches these nodes, though they are heard."""
        self.muted.update(dict.fromkeys(nodes))

    def heal(self) -> None:
        """Ends all cuts; connections with a gap are closed, to be made again."""
        gapped = [wire for wire in self.wires if wire.peer in self.unheard or wire.peer in self.muted]
        self.unheard.clear()
        self.muted.clear()
        for wire in gapped:
            wire.abort()
