"""One connection of the client."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import cast

from protocol.clocks import RemoteClock
from protocol.errors import ErrorCode, ProtocolError, error_code
from protocol.frames import CLIENT_FRAME_BYTES_MAX, FRAME_BYTES_MAX, FrameDecoder, header
from protocol.messages import (
    ANY_GROUP,
    Failure,
    Goodbye,
    Hello,
    Message,
    Placed,
    Reply,
    Request,
    Welcome,
    check_welcome,
    decode,
    encode,
)
from protocol.operations import Body, Operation
from protocol.placement import Placement

Address = tuple[str, int]
"""Host and port."""


class Connection(asyncio.Protocol):
    """One connection to a node; answers go to futures."""

    def __init__(
        self, address: Address, hello: Hello, placed: Callable[[Placement, Sequence[int], Sequence[str]], None]
    ) -> None:
        self.address = address
        self.welcome: asyncio.Future[Welcome] = asyncio.get_running_loop().create_future()
        self._hello = hello
        self._placed = placed
        self._decoder = FrameDecoder(FRAME_BYTES_MAX)
        self._frame_bytes_max = CLIENT_FRAME_BYTES_MAX
        self._transport: asyncio.Transport | None = None
        self._clock = RemoteClock()
        self._waiting: dict[int, tuple[asyncio.Future[Reply | Failure], float]] = {}  # and since when
        self._error = "connection lost"
        self.is_open = False
        self._is_node = False  # until it has said something that a node would
        self.heard_at = 0.0
        self._outgoing: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Says hello."""
        self._transport = cast(asyncio.Transport, transport)
        self.is_open = True
        self._write(self._hello)

    def data_received(self, data: bytes) -> None:
        """Hands answers to whoever waits for them."""
        self.heard_at = asyncio.get_running_loop().time()
        try:
            for body in self._decoder.feed(data):
                message = decode(body)
                self._is_node = True
                self._on_message(message)
        except ProtocolError as error:
            self._end(error if self._is_node else self._no_node(error, data))

    def _no_node(self, error: ProtocolError, data: bytes) -> ProtocolError:
        """What its first words were is no message."""
        what = "it speaks HTTP" if data.startswith(b"HTTP/") else error
        return ProtocolError("{}:{} is no ringpay node: {}".format(*self.address, what), error.code)

    def _on_message(self, message: Message) -> None:
        match message:
            case Reply() | Failure() if message.id:
                waiter, asked_at = self._waiting.pop(message.id, (None, -math.inf))
                self._clock.hear(message.clock_ms, self.heard_at, asked_at)
                if waiter is not None and not waiter.done():
                    waiter.set_result(message)
            case Welcome():
                if (error := check_welcome(message, self._hello)) is not None:
                    raise error
                self._clock.hear(message.clock_ms, self.heard_at)
                self._frame_bytes_max = message.frame_bytes_max
                self._placed(Placement.unpack(message.placement), message.leaders, message.split)
                if not self.welcome.done():
                    self.welcome.set_result(message)
            case Placed():
                self._placed(Placement.unpack(message.placement), message.leaders, message.split)
            case Failure():
                raise ProtocolError(message.message, error_code(message.code))
            case Goodbye():
                self.is_open = False
            case _:
                raise ProtocolError(f"unexpected {type(message).__name__} from a node")

    def _end(self, error: ProtocolError) -> None:
        if not self.welcome.done():
            is_full = error.code is ErrorCode.busy  # as many clients as it takes: another node may have room
            self.welcome.set_exception(ConnectionRefusedError(str(error)) if is_full else error)
        self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Whoever waits is told."""
        self.is_open = False
        if not self.welcome.done():
            self.welcome.set_exception(ConnectionResetError(self._error))
        for waiter, _ in self._waiting.values():
            if not waiter.done():
                waiter.set_exception(ConnectionResetError(self._error))
        self._waiting.clear()

    def _write(self, message: Message) -> None:
        """What one turn of the loop sends is one write. Raises ProtocolError(frame_too_large)."""
        if self._transport is not None:
            body = encode(message)
            head = header(body, self._frame_bytes_max)
            if not self._outgoing:
                asyncio.get_running_loop().call_soon(self._flush)
            self._outgoing += (head, body)

    def _flush(self) -> None:
        outgoing, self._outgoing = self._outgoing, []
        if outgoing and self._transport is not None and not self._transport.is_closing():
            self._transport.writelines(outgoing)

    def expires_ms(self, when: float) -> int:
        """What a request is to say that is void at that time of the loop."""
        return self._clock.at(when, asyncio.get_running_loop().time())

    def send(self, request: Request) -> asyncio.Future[Reply | Failure]:
        """Sends it, or raises and has sent nothing: OSError, or ProtocolError for what fits no frame."""
        if not self.is_open:
            raise ConnectionResetError(self._error)
        self._write(request)
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[Reply | Failure] = loop.create_future()
        self._waiting[request.id] = waiter, loop.time()
        return waiter

    def forget(self, number: int) -> None:
        """Nobody waits for the answer to that request any more. Owed for each one that was sent."""
        self._waiting.pop(number, None)

    async def ask(self, request: Request) -> Reply | Failure:
        """Raises OSError when the connection breaks first."""
        waiter = self.send(request)
        try:
            return await waiter
        finally:
            self.forget(request.id)

    async def connect(self) -> Welcome:
        """Opens it; what the node lets it in with. Raises OSError or ProtocolError, and is to be closed then, too."""
        await asyncio.get_running_loop().create_connection(lambda: self, *self.address)
        return await self.welcome

    async def answer_to(self, number: int, operation: Operation, body: Body, limit: float) -> Body:
        """Asks this node, once, under a number that nobody has here; void at `limit`. Raises OSError or ProtocolError."""
        answer = await self.ask(Request(number, operation, ANY_GROUP, self.expires_ms(limit), 0, body))
        if isinstance(answer, Failure):
            raise ProtocolError(answer.message, error_code(answer.code))
        return answer.body

    def close(self) -> None:
        """Closes it; answers under way are lost."""
        self._flush()
        self.is_open = False
        if self._transport is not None:
            self._transport.close()
