"""A program that speaks to a node byte by byte."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import cast

from protocol.frames import FRAME_BYTES_MAX, FrameDecoder
from protocol.messages import (
    NEVER_MS,
    PROTOCOL_VERSION,
    Failure,
    Hello,
    Message,
    Reply,
    Request,
    Welcome,
    decode,
    encode,
)
from tests.e2e.mutations import frame

PATIENCE_SECONDS = 20.0  # a bound for a busy machine, not an expectation
QUIET_SECONDS = 0.1  # then the node waits for the rest of a frame
PROBE = 999_999_999

CLIENT = Hello(PROTOCOL_VERSION, "", "client", 0, "", 0)


@dataclass
class Answers:
    """What came back on one connection."""

    welcome: Welcome | None = None
    by_id: dict[int, Reply | Failure] = field(default_factory=dict)
    error: Failure | None = None  # about the connection
    is_closed: bool = False


class Connection(asyncio.Protocol):
    """A raw connection: what came before the end counts, even when the end was a reset."""

    def __init__(self) -> None:
        self._decoder = FrameDecoder(FRAME_BYTES_MAX)
        self._news = asyncio.Event()
        self._gone = asyncio.Event()
        self._transport: asyncio.Transport
        self.answers = Answers()

    @staticmethod
    async def open(address: str, *first: Message) -> Connection:
        """Connects and says the first messages."""
        host, port = address.split(":")
        _, connection = await asyncio.get_running_loop().create_connection(Connection, host, int(port))
        for message in first:
            connection.send(frame(encode(message)))
        return connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Something came back."""
        for body in self._decoder.feed(data):
            self._take(decode(body))
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """The end."""
        self.answers.is_closed = True
        self._news.set()
        self._gone.set()

    def send(self, data: bytes) -> None:
        """Sends bytes as they are."""
        if not self._transport.is_closing():
            self._transport.write(data)

    def stop_reading(self) -> None:
        """Takes nothing any more, though it stays there."""
        self._transport.pause_reading()

    def probe(self) -> None:
        """Asks something harmless whose answer shows that the connection lives."""
        self.send(frame(encode(Request(PROBE, "cluster", -1, NEVER_MS, 0, []))))

    def end(self) -> None:
        """Sends nothing more."""
        if not self._transport.is_closing():
            self._transport.write_eof()

    async def read(self, seconds: float = PATIENCE_SECONDS) -> bool:
        """Waits for news; false at the end of the connection or when nothing came in time."""
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return False
        self._news.clear()
        return not self.answers.is_closed

    def _take(self, message: Message) -> None:
        match message:
            case Welcome():
                self.answers.welcome = message
            case Failure(0):
                self.answers.error = message
            case Reply() | Failure():
                self.answers.by_id[message.id] = message
            case _:
                pass

    async def read_until_closed(self) -> Answers:
        """Everything up to the end."""
        while await self.read():
            pass
        is_closed = self.answers.is_closed
        await self.close()
        assert is_closed, "the connection stays open"
        return self.answers

    async def read_until_probed(self) -> Answers:
        """Everything up to the probe's answer or the end; a node that waits for more bytes is told that none come."""
        if PROBE not in self.answers.by_id and not await self._read_for(QUIET_SECONDS):
            self.end()
            await self._read_for(PATIENCE_SECONDS)
        result = replace(self.answers)
        await self.close()
        return result

    async def _read_for(self, seconds: float) -> bool:
        """Whether the probe was answered or the connection ended before it fell silent."""
        while PROBE not in self.answers.by_id and not self.answers.is_closed:
            if not await self.read(seconds) and not self.answers.is_closed:
                return False
        return True

    async def close(self) -> None:
        """Hangs up."""
        self._transport.abort()
        await self._gone.wait()
