"""Requests that come late or twice: what clients send, sent again on other connections, at other nodes, up to half a minute later.

A *copy* is what a network that keeps things back would deliver; it is void from the time that its sender gave it, and a node that
carries it out later has broken a promise. A *repeat* is what an impatient program would send that has the same ids still: it has
all the time in the world, and the checkers of the histories see to it that nothing happens by it that had not happened. Neither comes
while its time lasts where a node has answered that the request was not carried out: whoever sends that again has made up its mind anew.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from protocol.client.connection import Connection
from protocol.errors import ProtocolError
from protocol.frames import HEADER_BYTES
from protocol.messages import NEVER_MS, PROTOCOL_VERSION, Failure, Hello, Reply, Request, Role, decode
from protocol.operations import Operation
from tests.simulation.cluster import BASE_PORT, FIRST_CLIENT_HOST, Cluster
from tests.simulation.loop import Owner
from tests.simulation.network import REQUEST_PREFIX, Wire, frames_of

CHANGES = (
    Operation.accounts, Operation.update, Operation.transfers, Operation.outcome, Operation.lock, Operation.split_account,
)  # fmt: skip
GHOSTS = 0.04  # probability that a request is sent again
LATE_SECONDS = (0.02, 1.0, 10.0)  # means
LATE_SECONDS_MAX = 30.0
PACE_SECONDS = 0.05  # between two looks whether the client has its answer
PATIENCE_SECONDS = 3.0  # in which a ghost finds a node and is answered
DRIFT_SECONDS = 0.1  # by which two nodes' clocks may part while a copy is on its way
HOST = FIRST_CLIENT_HOST + 50  # beside all clients


@dataclass(slots=True)
class Fate:
    """What became of a request on its connection."""

    is_known: bool = False
    is_undone: bool = False  # the client was told that nothing happened


class Ghosts:
    """Hears what clients send; `fail` is told of a void request that was carried out."""

    def __init__(self, cluster: Cluster, random: Random, fail: Callable[[str], None]) -> None:
        self.counts: Counter[str] = Counter()
        self.owner = Owner("ghosts", HOST)
        self._cluster = cluster
        self._random = random
        self._fail = fail
        self._open: dict[tuple[Wire, int], Fate] = {}  # of what will be sent again, by the client's end and number
        cluster.network.overhear = self.overhear
        cluster.network.overhear_answer = self.overhear_answer

    def overhear(self, wire: Wire, data: bytes) -> None:
        """A client sends this to a node."""
        if wire.owner is self.owner:
            return
        for frame in frames_of(data):
            body = frame[HEADER_BYTES:]
            if body[:2] == REQUEST_PREFIX and self._random.random() < GHOSTS:
                request = decode(body)
                assert isinstance(request, Request)
                if request.operation in CHANGES:
                    fate = self._open[wire, request.id] = Fate()
                    self._come_back(request, wire, fate)

    def overhear_answer(self, wire: Wire, data: bytes) -> None:
        """A node sends this to a client."""
        if not any(known is wire.other for known, _ in self._open):
            return
        for frame in frames_of(data):
            match decode(frame[HEADER_BYTES:]):
                case Reply(number):
                    self._end(wire.other, number, is_undone=False)
                case Failure(number) as failure:
                    self._end(wire.other, number, is_undone=not failure.may_have_happened)

    def _end(self, wire: Wire, number: int, *, is_undone: bool) -> None:
        if (fate := self._open.pop((wire, number), None)) is not None:
            fate.is_known, fate.is_undone = True, is_undone

    def _come_back(self, request: Request, wire: Wire, fate: Fate) -> None:
        is_copy = self._random.random() < 0.5 and request.expires_ms < NEVER_MS
        seconds = min(LATE_SECONDS_MAX, self._random.expovariate(1 / self._random.choice(LATE_SECONDS)))
        number = self._random.choice(list(self._cluster.hosts))
        again = replace(request, id=1, group=-1, expires_ms=NEVER_MS)
        loop = self._cluster.loop
        over_at = loop.time() + request.expires_ms / 1_000 - self._clock_of(wire.other.owner.host)
        void_from = over_at if is_copy else None

        async def come() -> None:
            while not fate.is_known and wire.is_open and loop.time() < over_at:
                await asyncio.sleep(PACE_SECONDS)
            self._open.pop((wire, request.id), None)
            is_void = void_from is not None and loop.time() > void_from + DRIFT_SECONDS
            if is_void or not fate.is_undone:
                self.counts["late copy" if is_copy else "repeat"] += 1
                await self._haunt(again, number, void_from)

        loop.call_later(seconds, lambda: loop.spawn(self.owner, come()))

    def _clock_of(self, number: int) -> float:
        return self._cluster.hosts[number].clock.monotonic()

    async def _haunt(self, request: Request, number: int, void_from: float | None) -> None:
        """`void_from` is in true time; each node is told it by its own clock."""
        loop = self._cluster.loop
        if void_from is not None:
            left = void_from - loop.time()
            request = replace(request, expires_ms=max(1, int((self._clock_of(number) + left) * 1_000)))
        hello = Hello(PROTOCOL_VERSION, "", Role.client, 0, "", 0)
        address = "127.0.0.1", BASE_PORT + number - 1
        connection = Connection(address, hello, lambda *_: None)
        is_void = void_from is not None and loop.time() > void_from + DRIFT_SECONDS
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await loop.create_connection(lambda: connection, *address)
                await connection.welcome
                answer = await connection.ask(request)
                if is_void and isinstance(answer, Reply):
                    self._fail(f"node {number}: {request.operation} was carried out when it was void: {answer.body}")
        except (OSError, TimeoutError, ProtocolError):
            pass
        finally:
            connection.close()
