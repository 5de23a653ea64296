"""A simulated network under unmodified asyncio protocols: seeded latency, partitions, resets, and lossy peers.

One write is one unit of delivery. A connection delivers in order, as TCP does; only frames of the replicated log between nodes may be
lost, doubled or overtaken, which the log must bear, and calls to a tardy shard come late or twice, as by two ways. A partition holds
units back, the end of a connection among them; when it is over, a connection either breaks or delivers them late, up to as long after
it as it had stood still, as TCP does. A host that loses power says nothing: its peers learn of it when it is back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any
from zlib import crc32

from protocol.frames import HEADER_BYTES
from protocol.messages import Kind, Request, decode
from tests.simulation.loop import Owner, SimLoop

RAFT_PREFIX = bytes((0x92, Kind.raft))  # msgpack of the list that a frame of the replicated log is
REQUEST_PREFIX = bytes((0x97, Kind.request))  # the same of a request, of a client or between nodes
TARDY_SECONDS = (1.5, 4.0)  # mostly longer than votes are waited for, and often than answers to any call
TARDY_TWICE = 0.3  # probability that a call comes at once, and once more
TWICE_SECONDS = (0.0, 2.5)  # later, mostly when it is not void yet and its round is over
REFUSED_SECONDS = 0.001  # until a connection to a port without a listener is refused
WAIT_SECONDS = 3_600.0  # a connection attempt into a partition waits for its caller's patience to end
BREAKS_AFTER_PARTITION = 0.3  # probability that a connection does not outlive a partition in which it was used

Factory = Callable[[], Any]


@dataclass(slots=True)
class Weather:
    """How the network behaves at the moment."""

    latency_seconds: float = 0.0005
    lost: float = 0.0  # probability of a frame of the log
    doubled: float = 0.0
    late: float = 0.0  # overtaken by later ones
    late_seconds: float = 0.5  # at most
    tardy_group: int = 0  # a shard that the calls of other nodes reach late, or twice, as over two ways; 0: none


@dataclass(slots=True)
class Counts:
    """What the network did to frames and connections."""

    units: int = 0
    lost: int = 0
    doubled: int = 0
    late: int = 0
    resets: int = 0
    tardy: int = 0  # calls that came late


class Wire(asyncio.Transport):
    """One end of a connection."""

    def __init__(self, network: Network, owner: Owner, name: tuple[str, int]) -> None:
        super().__init__({"peername": name})
        self.network = network
        self.owner = owner
        self.other: Wire
        self.protocol: Any = None
        self.is_open = True  # until this end closes or hears that the other did
        self.arrives_at = 0.0  # of the last unit on its way from here, so that the next comes behind it
        self.stalled: list[bytes | None] = []  # written into a partition; None is the end
        self.stalled_since = 0.0
        self.unread: list[bytes | None] | None = None  # what has come while this end does not read
        self.unread_bytes = 0
        self.unsent_bytes_max: int | None = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self.is_open and not self.owner.is_dead and data:
            self.network.send(self, bytes(data))

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.unsent_bytes_max = high

    def get_write_buffer_size(self) -> int:
        """The network takes everything; what the other end does not read lies here."""
        return self.other.unread_bytes

    def is_reading(self) -> bool:
        return self.unread is None

    def pause_reading(self) -> None:
        if self.unread is None:
            self.unread = []

    def resume_reading(self) -> None:
        unread, self.unread, self.unread_bytes = self.unread or [], None, 0
        for data in unread:
            self.network.loop.call_soon(self.network.deliver, self, data)

    def keep_unread(self, data: bytes | None) -> None:
        """Comes while this end does not read; the writer is told when it is too much."""
        assert self.unread is not None
        self.unread.append(data)
        self.unread_bytes += len(data or b"")
        writer = self.other
        if writer.unsent_bytes_max is not None and self.unread_bytes > writer.unsent_bytes_max and writer.is_open:
            self.network.loop.call_soon(writer.protocol.pause_writing, context=writer.owner.context.copy())

    def is_closing(self) -> bool:
        return not self.is_open

    def write_eof(self) -> None:
        """The end of what this side says: how a refusal ends."""
        self.network.send(self, None)

    def close(self) -> None:
        if self.is_open and not self.owner.is_dead:
            self.network.send(self, None)
            self.lose(None)

    def abort(self) -> None:
        if self.is_open and not self.owner.is_dead:
            self.network.drop(self)
            self.lose(None)

    def lose(self, error: Exception | None) -> None:
        """Tells this end's protocol, in its own process, that the connection is gone."""
        if self.is_open:
            self.is_open = False
            self.stalled.clear()
            self.unread, self.unread_bytes = None, 0
            if self.protocol is not None:
                self.network.loop.call_soon(self.protocol.connection_lost, error, context=self.owner.context.copy())


class Server:
    """A listening port."""

    def __init__(self, network: Network, port: int) -> None:
        self._network = network
        self._port = port

    def close(self) -> None:
        listener = self._network.listeners.get(self._port)
        if listener is not None and not listener[0].is_dead:
            del self._network.listeners[self._port]

    async def wait_closed(self) -> None:
        """Closing takes no time."""


class Network:
    """All connections. Hosts are numbers; `base_port + host - 1` is where a node listens."""

    def __init__(self, loop: SimLoop, random: Random, base_port: int) -> None:
        self.loop = loop
        self.weather = Weather()
        self.counts = Counts()
        self.listeners: dict[int, tuple[Owner, Factory]] = {}
        self.wires: dict[Wire, None] = {}
        self.blocked: dict[tuple[int, int], None] = {}
        self.trace = 0
        self.overhear: Callable[[Wire, bytes], None] = lambda wire, data: None  # what clients send
        self.overhear_answer: Callable[[Wire, bytes], None] = lambda wire, data: None  # and what is sent to them
        self._random = random
        self._base_port = base_port
        self._nodes_below = 100  # hosts from here on are clients

    # -- for the loop ---------------------------------------------------------------------------------------------

    def listen(self, owner: Owner, factory: Factory, host: str, port: int) -> Server:
        """A process listens. Raises OSError where the port is taken."""
        if port in self.listeners or owner.is_dead:
            raise OSError(98, f"{host}:{port} is in use")
        self.listeners[port] = owner, factory
        return Server(self, port)

    async def connect(self, owner: Owner, factory: Factory, host: str, port: int) -> tuple[Wire, Any]:
        """Opens a connection after a round trip. Raises ConnectionRefusedError where nobody listens."""
        to = port - self._base_port + 1
        await asyncio.sleep(2 * self._latency())
        if self._is_blocked(owner.host, to) or self._is_blocked(to, owner.host):
            await asyncio.sleep(WAIT_SECONDS)
        if port not in self.listeners:
            await asyncio.sleep(REFUSED_SECONDS)
            raise ConnectionRefusedError(111, f"{host}:{port} refuses")
        listener, make = self.listeners[port]
        near, far = Wire(self, owner, (host, port)), Wire(self, listener, (host, 50_000 + owner.host))
        near.other, far.other = far, near
        self.wires[near] = self.wires[far] = None
        protocol = factory()
        near.protocol = protocol
        self.loop.call_soon(self._accept, far, make, context=listener.context.copy())
        protocol.connection_made(near)
        return near, protocol

    def _accept(self, far: Wire, make: Factory) -> None:
        far.protocol = make()
        far.protocol.connection_made(far)
        if not far.is_open:
            far.protocol.connection_lost(None)

    # -- sending --------------------------------------------------------------------------------------------------

    def send(self, wire: Wire, data: bytes | None) -> None:
        """A unit leaves; None is the end of the stream."""
        if data is not None and wire.owner.host >= self._nodes_below:
            self.overhear(wire, data)
        elif data is not None and wire.other.owner.host >= self._nodes_below:
            self.overhear_answer(wire, data)
        if self._is_blocked(wire.owner.host, wire.other.owner.host):
            self._stall(wire, data)
            return
        if data is not None and wire.owner.host < self._nodes_below and wire.other.owner.host < self._nodes_below:
            data = self._weathered(wire, data)
            if not data:
                return
        self._dispatch(wire, data)

    def _stall(self, wire: Wire, data: bytes | None) -> None:
        if not wire.stalled:
            wire.stalled_since = self.loop.time()
        wire.stalled.append(data)

    def _dispatch(self, wire: Wire, data: bytes | None) -> None:
        self.counts.units += 1
        wire.arrives_at = max(self.loop.time() + self._latency(), wire.arrives_at)
        self.loop.call_at(wire.arrives_at, self._arrive, wire, data, context=self.loop.root.copy())

    def _arrive(self, wire: Wire, data: bytes | None) -> None:
        to = wire.other
        if self._is_blocked(wire.owner.host, to.owner.host):
            self._stall(wire, data)
            return
        if not to.is_open or to.owner.is_dead:
            if not to.owner.is_dead and not self._is_blocked(to.owner.host, wire.owner.host):
                wire.lose(ConnectionResetError(104, "reset"))  # its end got lost in a partition
            return
        now = int(self.loop.time() * 1e9)
        self.trace = crc32(data or b"", crc32(b"%d %d %d" % (now, wire.owner.host, to.owner.host), self.trace))
        if to.unread is None:
            self.loop.run_as(to.owner, self.deliver, to, data)
        else:
            to.keep_unread(data)

    def deliver(self, to: Wire, data: bytes | None) -> None:
        """A unit reaches the protocol; call it in its process."""
        if data is None:
            self._ended(to)
        elif to.is_open:
            to.protocol.data_received(data)

    def _ended(self, to: Wire) -> None:
        if to.is_open:
            to.protocol.eof_received()
            to.lose(None)
            self._forget(to)

    def _weathered(self, wire: Wire, data: bytes) -> bytes:
        """What goes on at once, after loss, doubling and delay of the log's frames."""
        weather, random = self.weather, self._random
        if not (weather.lost or weather.doubled or weather.late or weather.tardy_group):
            return data
        kept = []
        for frame in frames_of(data):
            if self._is_tardy(frame):
                self.counts.tardy += 1
                is_twice = random.random() < TARDY_TWICE
                self._later(wire, frame, random.uniform(*(TWICE_SECONDS if is_twice else TARDY_SECONDS)))
                if not is_twice:
                    continue
            chance = random.random() if frame[HEADER_BYTES : HEADER_BYTES + 2] == RAFT_PREFIX else 1.0
            if chance < weather.lost:
                self.counts.lost += 1
                continue
            chance -= weather.lost
            if chance < weather.late:
                self.counts.late += 1
                self._later(wire, frame, random.uniform(0, weather.late_seconds))
                continue
            kept.append(frame)
            if chance - weather.late < weather.doubled:
                self.counts.doubled += 1
                self._later(wire, frame, random.uniform(0, weather.late_seconds))
        return b"".join(kept)

    def _is_tardy(self, frame: bytes) -> bool:
        body = frame[HEADER_BYTES:]
        if not self.weather.tardy_group or body[:2] != REQUEST_PREFIX:
            return False
        request = decode(body)
        return isinstance(request, Request) and request.group == self.weather.tardy_group

    def _later(self, wire: Wire, frame: bytes, seconds: float) -> None:
        when = self.loop.time() + seconds
        self.loop.call_at(when, self._arrive, wire, frame, context=self.loop.root.copy())

    def _latency(self) -> float:
        return self.weather.latency_seconds * (0.5 + self._random.expovariate(1.0))

    # -- faults ---------------------------------------------------------------------------------------------------

    def _is_blocked(self, source: int, target: int) -> bool:
        return (source, target) in self.blocked

    def block(self, source: int, target: int) -> None:
        """Nothing comes through in this direction any more."""
        self.blocked[source, target] = None

    def heal(self) -> None:
        """All partitions end: each connection that has something to say breaks, or says it late."""
        self.blocked.clear()
        for wire in list(self.wires):
            if not wire.stalled:
                continue
            if self._random.random() < BREAKS_AFTER_PARTITION:
                self.reset(wire)
                continue
            stalled, wire.stalled = wire.stalled, []
            now = self.loop.time()
            wire.arrives_at = max(wire.arrives_at, now + self._random.uniform(0, now - wire.stalled_since))
            for data in stalled:
                self._dispatch(wire, data)

    def reset(self, wire: Wire) -> None:
        """The connection breaks for both ends."""
        self.counts.resets += 1
        self.drop(wire)
        wire.lose(ConnectionResetError(104, "reset"))

    def drop(self, wire: Wire) -> None:
        """The other end hears of the end if the network lets it, else when it next says something."""
        self._forget(wire)
        if not wire.owner.is_dead and self._is_blocked(wire.owner.host, wire.other.owner.host):
            return
        other = wire.other
        when = self.loop.time() + self._latency()
        reset = ConnectionResetError(104, "reset")
        self.loop.call_at(when, other.lose, reset, context=self.loop.root.copy())

    def _forget(self, wire: Wire) -> None:
        self.wires.pop(wire, None)
        self.wires.pop(wire.other, None)

    def between(self, first: int, second: int) -> list[Wire]:
        """The open connections of two hosts, one end each."""
        hosts = (first, second)
        return [wire for wire in self.wires if (wire.owner.host, wire.other.owner.host) == hosts]

    def process_died(self, owner: Owner, *, silently: bool) -> None:
        """Its port closes; its connections break at once, or (power loss) when the host is back."""
        for port in [port for port, (listener, _) in self.listeners.items() if listener is owner]:
            del self.listeners[port]
        if not silently:
            self.bury(owner)

    def bury(self, owner: Owner) -> None:
        """The peers of a dead process learn of its end."""
        for wire in [wire for wire in self.wires if wire.owner is owner]:
            self.drop(wire)


def frames_of(data: bytes) -> list[bytes]:
    """The frames of one unit."""
    frames, start = [], 0
    while start < len(data):
        stop = start + HEADER_BYTES + int.from_bytes(data[start : start + 4], "big")
        frames.append(data[start:stop])
        start = stop
    return frames
