"""The client against nodes that do not answer."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from node.adapters.tcp import TcpTransport
from node.ports import Connection
from protocol.client import Client, calls
from protocol.errors import OutcomeUnknown, ProtocolError
from protocol.frames import FRAME_BYTES_MAX
from protocol.messages import PROTOCOL_VERSION, Hello, Message, Reply, Request, Welcome
from protocol.placement import NodeAddress, Placement
from protocol.status import Status

HOST = "127.0.0.1"


class Desk:
    """A node that welcomes everybody and answers transfers, or nothing."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.transport = TcpTransport()
        self.is_silent = False
        self.asked: list[Request] = []
        self.port = 0
        self.placement = Placement(1, 1, ((1, 2), (1, 2)), ())
        self.leaders = [0, 1]

    async def start(self) -> None:
        """Listens on a free port."""
        await self.transport.listen(HOST, 0, lambda connection: Side(self, connection))
        (listening,) = self.transport._server.sockets  # type: ignore[union-attr]  # every loop's server has them
        self.port = listening.getsockname()[1]


class Side:
    """One accepted connection."""

    def __init__(self, desk: Desk, connection: Connection) -> None:
        self._desk = desk
        self._connection = connection

    def received(self, message: Message) -> None:
        desk = self._desk
        if isinstance(message, Hello):
            packed, leaders = desk.placement.pack(), desk.leaders
            self._connection.send(
                Welcome(PROTOCOL_VERSION, "", desk.number, 1, packed, leaders, FRAME_BYTES_MAX, 1_000)
            )
        if isinstance(message, Request):
            desk.asked.append(message)
            if not desk.is_silent:
                self._connection.send(Reply(message.id, [bytes([Status.created])]))

    def garbled(self, error: ProtocolError) -> None:
        raise error

    def lost(self) -> None:
        pass


@pytest.fixture
async def desks(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Desk, Desk]]:
    """Nodes 1, the leader of all, and 2; a client waits for either only for a moment."""
    monkeypatch.setattr(calls, "ATTEMPT_SECONDS", 0.05)
    desks = Desk(1), Desk(2)
    for desk in desks:
        await desk.start()
    nodes = tuple(NodeAddress(desk.number, HOST, desk.port) for desk in desks)
    for desk in desks:
        desk.placement = Placement(1, 1, ((1, 2), (1, 2)), nodes)
    yield desks
    for desk in desks:
        await desk.transport.close()


async def test_a_silent_leader_is_given_up(desks: tuple[Desk, Desk]) -> None:
    """Long before the call's own time is over another node is asked, for the same ids."""
    leader, other = desks
    leader.is_silent = True
    async with Client([f"{HOST}:{leader.port}", f"{HOST}:{other.port}"], timeout=10.0) as client:
        receipt = await client.transfer("a", "b", 1)
    assert receipt.status is Status.created
    assert [request.group for request in other.asked] == [-1]
    assert leader.asked[0].group == 1
    assert leader.asked[0].body == other.asked[0].body


async def test_silence_of_all_leaves_the_outcome_open(desks: tuple[Desk, Desk]) -> None:
    """Nobody can say whether it happened."""
    leader, other = desks
    leader.is_silent = other.is_silent = True
    async with Client([f"{HOST}:{leader.port}", f"{HOST}:{other.port}"], timeout=0.5) as client:
        with pytest.raises(OutcomeUnknown, match="has not answered in time"):
            await client.transfer("a", "b", 1)
    assert leader.asked and other.asked


async def test_who_was_silent_is_asked_last(desks: tuple[Desk, Desk]) -> None:
    """Of many calls that any node may answer only the first waits for it. It is asked again when nobody else answers."""
    silent, other = desks
    silent.is_silent = True
    silent.leaders = other.leaders = [0, 0]
    async with Client([f"{HOST}:{silent.port}", f"{HOST}:{other.port}"], timeout=10.0) as client:
        for _ in range(6):
            await client.transfer("a", "b", 1)
        assert (len(silent.asked), len(other.asked)) == (1, 6)
        silent.is_silent, other.is_silent = False, True
        await client.transfer("a", "b", 1)
        assert len(silent.asked) == 2
