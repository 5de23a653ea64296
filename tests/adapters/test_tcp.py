"""The wire over real sockets: frames of any size and in any pieces, refusals that are heard, and readers that never read."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest
import uvloop

from node.actors.outside import Adapters
from node.adapters import tcp
from node.adapters.clock import SystemClock
from node.adapters.memory import Disk, MemoryFolder, MemoryLog, MemoryPeers, MemoryShard, MemoryStarts
from node.adapters.tcp import TcpTransport
from node.config import ClusterSettings, Config, SecuritySettings
from node.core.members import Member, MemberState, MemberTable
from node.daemon import Node
from node.ports import UNHEARD, Connection
from protocol.errors import ErrorCode, ProtocolError
from protocol.frames import FRAME_BYTES_MAX, HELLO_FRAME_BYTES_MAX, FrameDecoder, encode_body
from protocol.messages import (
    NEVER_MS,
    PROTOCOL_VERSION,
    Failure,
    Goodbye,
    Hello,
    Message,
    Raft,
    Reply,
    Request,
    Welcome,
    decode,
    encode,
)

HOST = "127.0.0.1"
WAIT_SECONDS = 30.0  # a bound for a busy machine
MESSAGE_BYTES = 100_000
UNREAD_BYTES = 4 << 20
LARGE_BYTES = FRAME_BYTES_MAX - 1_000


class Recorder:
    """A handler that remembers."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.messages: list[Message] = []
        self.garbage: list[ProtocolError] = []
        self.losses = 0
        self.refuses: ProtocolError | None = None

    def received(self, message: Message) -> None:
        self.messages.append(message)
        if self.refuses is not None:
            raise self.refuses

    def garbled(self, error: ProtocolError) -> None:
        self.garbage.append(error)

    def lost(self) -> None:
        self.losses += 1


class Site:
    """A listening transport and the handlers of what it accepted."""

    def __init__(self) -> None:
        self.transport = TcpTransport()
        self.accepted: list[Recorder] = []
        self.port = 0

    def accept(self, connection: Connection) -> Recorder:
        """Makes a handler and keeps it."""
        self.accepted.append(Recorder(connection))
        return self.accepted[-1]

    async def start(self) -> None:
        """Listens on a free port."""
        await self.transport.listen(HOST, 0, self.accept)
        (listening,) = self.transport._server.sockets  # type: ignore[union-attr]  # every loop's server has them
        self.port = listening.getsockname()[1]

    async def connect(self) -> tuple[Recorder, Recorder]:
        """A connection's two handlers: who connected, who accepted."""
        near: list[Recorder] = []

        def made(connection: Connection) -> Recorder:
            near.append(Recorder(connection))
            return near[0]

        await self.transport.connect(HOST, self.port, made)
        await until(lambda: self.accepted, "the connection is accepted")
        return near[0], self.accepted[-1]


async def until(condition: Callable[[], object], what: str) -> None:
    """Waits for something to become true."""
    deadline = asyncio.get_running_loop().time() + WAIT_SECONDS
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"{what}: not within {WAIT_SECONDS:.0f} s"
        await asyncio.sleep(0.005)


async def read_to_end(reader: asyncio.StreamReader) -> list[Message]:
    """All messages until the other side closes."""
    async with asyncio.timeout(WAIT_SECONDS):
        stream = await reader.read()
    decoder = FrameDecoder(FRAME_BYTES_MAX)
    messages = [decode(body) for body in decoder.feed(stream)]
    assert decoder.is_between_frames
    return messages


async def read_one(reader: asyncio.StreamReader) -> Message:
    """The next message."""
    decoder = FrameDecoder(FRAME_BYTES_MAX)
    while True:
        async with asyncio.timeout(WAIT_SECONDS):
            piece = await reader.read(1)
        assert piece, "the connection ended"
        for body in decoder.feed(piece):
            return decode(body)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """Listens while a test runs."""
    listening = Site()
    await listening.start()
    yield listening
    for recorder in listening.accepted:
        recorder.connection.abort()
    await listening.transport.close()
    await until(lambda: all(recorder.losses for recorder in listening.accepted), "everything is closed")


def test_what_is_unsent_when_a_connection_is_aborted_goes_nowhere() -> None:
    """On the loop that production runs on, too: an exception outside any task would stop the node."""
    broken: list[object] = []

    async def story() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: broken.append(context))
        listening = Site()
        await listening.start()
        near, far = await listening.connect()
        near.connection.send(Goodbye("unsent"))
        near.connection.abort()
        await until(lambda: near.losses and far.losses, "both ends know")
        assert far.messages == []
        await listening.transport.close()

    for make_loop in (uvloop.new_event_loop, asyncio.new_event_loop):
        with asyncio.Runner(loop_factory=make_loop) as runner:
            runner.run(story())
    assert broken == []


async def test_large_frames_go_both_ways(site: Site) -> None:
    """In order, with small ones around them."""
    near, far = await site.connect()
    far.connection.allow(FRAME_BYTES_MAX, 64 << 20)
    large = Reply(2, [bytes(LARGE_BYTES)])
    sent: list[Message] = [Goodbye("before"), large, Goodbye("between"), large, Goodbye("after")]
    for message in sent:
        near.connection.send(message)
        far.connection.send(message)
    await until(lambda: len(near.messages) == len(far.messages) == len(sent), "all has arrived")
    assert near.messages == far.messages == sent
    near.connection.close()
    await until(lambda: near.losses == far.losses == 1, "both ends know")


async def test_close_sends_what_was_said_before(site: Site) -> None:
    """However much; and nothing after."""
    near, far = await site.connect()
    far.connection.allow(FRAME_BYTES_MAX, 64 << 20)
    near.connection.send(Reply(2, [bytes(LARGE_BYTES)]))
    near.connection.close()
    near.connection.send(Goodbye("too late"))
    await until(lambda: far.losses, "the end arrives")
    assert [type(message) for message in far.messages] == [Reply]


async def test_what_was_said_in_the_turn_that_ends_a_connection_goes_nowhere(site: Site) -> None:
    """Words wait for the end of the turn; by then the connection may be gone, which is no error."""
    near, far = await site.connect()
    errors: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    near.connection.send(Reply(2, []))
    near.connection.abort()
    await until(lambda: near.losses == far.losses == 1, "both ends know")
    assert errors == [] and far.messages == []


async def test_a_frame_may_come_byte_at_a_time(site: Site) -> None:
    """And the next one begins where it ends."""
    _, writer = await asyncio.open_connection(HOST, site.port)
    message = Request(7, "balances", -1, NEVER_MS, 0, ["åccount", b"\x00\xff"])
    for byte in encode_body(encode(message)) * 2:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0)
    await until(lambda: site.accepted and len(site.accepted[0].messages) == 2, "both have arrived")
    assert site.accepted[0].messages == [message, message]
    writer.close()
    await until(lambda: site.accepted[0].losses == 1, "the end is heard of")


GARBAGE: dict[str, tuple[bytes, ErrorCode]] = {
    "another protocol": (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", ErrorCode.frame_too_large),
    "a wrong checksum": (b"\x00\x00\x00\x02\x00\x00\x00\x00\x90\x90" + bytes(50_000), ErrorCode.bad_frame),
    "no msgpack": (encode_body(b"\xc1"), ErrorCode.bad_message),
    "no message": (encode_body(b"\x91\x63"), ErrorCode.bad_message),
    "too large a first frame": (encode_body(bytes(HELLO_FRAME_BYTES_MAX + 1)), ErrorCode.frame_too_large),
}


@pytest.mark.parametrize("name", GARBAGE)
async def test_garbage_is_answered_and_the_connection_closed(site: Site, name: str) -> None:
    """The reason arrives, though more was on its way; the other connections do not notice."""
    near, far = await site.connect()
    stream, code = GARBAGE[name]
    reader, writer = await asyncio.open_connection(HOST, site.port)
    writer.write(stream)
    (answer,) = await read_to_end(reader)
    assert isinstance(answer, Failure) and (answer.id, answer.code) == (0, code.value)
    writer.close()
    await until(lambda: len(site.accepted) == 2 and site.accepted[1].losses == 1, "the connection is gone")
    assert site.accepted[1].messages == []
    assert [error.code for error in site.accepted[1].garbage] == [code]
    near.connection.send(Goodbye("still here"))
    await until(lambda: far.messages, "the other connection works")


async def test_nothing_behind_a_refused_message_is_handled(site: Site) -> None:
    """Even if it came in the same piece."""
    near, far = await site.connect()
    far.refuses = ProtocolError("not this one", ErrorCode.wrong_cluster)
    for _ in range(3):
        near.connection.send(Goodbye("again"))
    await until(lambda: near.losses and far.losses, "both ends know")
    assert len(far.messages) == 1
    assert near.messages == [Failure(0, "wrong_cluster", "not this one", 0, 0)]


async def test_a_refused_side_that_stays_is_cut_off(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """It neither reads nor closes."""
    monkeypatch.setattr(tcp, "LINGER_SECONDS", 0.05)
    _, writer = await asyncio.open_connection(HOST, site.port)
    writer.write(b"\xff" * 100)
    await until(lambda: site.accepted and site.accepted[0].losses == 1, "the connection is cut")
    writer.close()


async def test_a_reader_that_never_reads_is_cut_off(site: Site) -> None:
    """At what it was allowed to leave unread; what it takes and what it leaves are told, and sending goes on to do nothing."""
    reader, writer = await asyncio.open_connection(HOST, site.port)
    await until(lambda: site.accepted, "the connection is accepted")
    slow = site.accepted[0]
    slow.connection.allow(FRAME_BYTES_MAX, UNREAD_BYTES)
    message = Reply(1, [bytes(MESSAGE_BYTES)])
    sent = 0
    while slow.connection.is_open:
        slow.connection.send(message)
        sent += 1
        unsent, taken = slow.connection.unsent_bytes, slow.connection.taken_bytes
        assert unsent + taken >= sent * MESSAGE_BYTES and unsent <= UNREAD_BYTES + 2 * MESSAGE_BYTES
        assert slow.connection.held_bytes == unsent
        await asyncio.sleep(0)
    slow.connection.send(message)
    await until(lambda: slow.losses == 1, "the handler is told once")
    writer.transport.abort()
    assert reader is not None


async def test_nobody_listens(site: Site) -> None:
    """An OSError, and no handler is made; a taken port is one too."""
    with pytest.raises(OSError):
        await TcpTransport().listen(HOST, site.port, site.accept)
    await site.transport.close()
    with pytest.raises(OSError):
        await TcpTransport().connect(HOST, site.port, site.accept)
    assert site.accepted == []


# -- faults on purpose --------------------------------------------------------------------------------------------


async def meet(site: Site, node: int) -> tuple[Recorder, Recorder]:
    """A connection whose first messages say that node 1 is called by this node, 0 for a client."""
    near, far = await site.connect()
    near.connection.send(Hello(PROTOCOL_VERSION, "", "peer" if node else "client", node, "", 0))
    far.connection.send(WELCOME)
    await until(lambda: near.messages and far.messages, "both have been introduced")
    return near, far


async def hear(sender: Recorder, receiver: Recorder, text: str) -> None:
    """What one says, the other hears next."""
    sender.connection.send(Goodbye(text))
    await until(lambda: receiver.messages[-1] == Goodbye(text), f"{text!r} is heard")


WELCOME = Welcome(PROTOCOL_VERSION, "", 1, 1, [], [], FRAME_BYTES_MAX, 1)


async def test_a_cut_is_silent_and_parts_only_who_is_named(site: Site) -> None:
    """Both ways; nobody is told, the connection stays open, and clients and other peers notice nothing."""
    cut, other, client = [await meet(site, node) for node in (2, 3, 0)]
    site.transport.cut([2])
    for recorder in cut:
        recorder.connection.send(Goodbye("lost"))
    for near, far in (other, client):
        await hear(near, far, "from there")
        await hear(far, near, "from here")
    assert [len(recorder.messages) for recorder in cut] == [1, 1]
    assert all(recorder.connection.is_open and not recorder.losses for recorder in cut)


async def test_who_is_muted_is_still_heard(site: Site) -> None:
    """The cut is one way, and healing closes what has a gap."""
    near, far = await meet(site, 2)
    site.transport.mute([2])
    far.connection.send(Goodbye("lost"))
    await hear(near, far, "from there")
    assert len(near.messages) == 1 and near.connection.is_open
    site.transport.heal()
    await until(lambda: near.losses == far.losses == 1, "both ends know")


async def test_who_calls_during_a_cut_gets_no_answer(site: Site) -> None:
    """The hello is dropped, and so is a welcome that comes from a node that the caller has cut off."""
    site.transport.cut([2])
    near, far = await site.connect()
    near.connection.send(Hello(PROTOCOL_VERSION, "", "peer", 2, "", 0))
    client_near, client_far = await meet(site, 0)
    await hear(client_near, client_far, "later than the hello")
    assert far.messages == [] and far.connection.is_open
    far.connection.send(WELCOME)
    await hear(client_far, client_near, "later than the welcome")
    assert near.messages == []


async def test_healing_closes_what_has_a_gap(site: Site) -> None:
    """A stream that lacks a frame must not go on; the next connection works, and the others were never closed."""
    cut, other = [await meet(site, node) for node in (2, 3)]
    site.transport.cut([2])
    cut[0].connection.send(Goodbye("lost"))
    site.transport.heal()
    await until(lambda: all(recorder.losses == 1 for recorder in cut), "both ends know")
    await hear(*other, "still here")
    await hear(*await meet(site, 2), "again")


# -- the handshake ------------------------------------------------------------------------------------------------

IDENTITY = 777
CLIENT_TOKEN, PEER_TOKEN = "of clients", "of peers"
CLIENT = Hello(PROTOCOL_VERSION, "under-test", "client", 0, CLIENT_TOKEN, 0)
PEER = Hello(
    PROTOCOL_VERSION, "under-test", "peer", 2, PEER_TOKEN, 55
)  # and the settings of the node, which it has from its port


def completed(hello: Hello, port: int) -> Hello:
    """A peer's settings are those of the node that it meets."""
    is_peer = hello.role == "peer" and not hello.settings
    return replace(hello, settings=settings_at(port).shared) if is_peer else hello


def settings_at(port: int) -> ClusterSettings:
    """Of two nodes, the first on this port."""
    return ClusterSettings("under-test", 1, 2, 2, HOST, port)


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """Node 1 of two, alone: it accepts connections, and knows the data folder of node 2."""
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        number: int = taken.getsockname()[1]
    cluster = settings_at(number)
    disk, folder = Disk(), MemoryFolder(44)
    folder.admit(IDENTITY, is_replacement=False)
    folder.remember(MemberTable(2, IDENTITY, {2: Member(55, MemberState.member)}).pack())
    adapters = Adapters(
        TcpTransport(), MemoryLog(disk), lambda group: MemoryShard(disk, group), SystemClock(), random.Random(1), folder,
        MemoryStarts(disk, folder, 1), MemoryPeers(disk), UNHEARD,
    )  # fmt: skip
    node = Node(1, Config(cluster, SecuritySettings(CLIENT_TOKEN, PEER_TOKEN)), adapters)
    running = asyncio.ensure_future(node.run())
    await until(lambda: node.is_serving.is_set() or running.done(), "the node listens")
    yield cluster.base_port
    node.stop()
    await asyncio.wait_for(running, WAIT_SECONDS)


async def say(port: int, *messages: Message) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connects and says something."""
    reader, writer = await asyncio.open_connection(HOST, port)
    completes = (completed(message, port) if isinstance(message, Hello) else message for message in messages)
    writer.write(b"".join(encode_body(encode(message)) for message in completes))
    return reader, writer


REFUSED: dict[str, tuple[Message, ErrorCode]] = {
    "no hello first": (Request(1, "cluster", -1, NEVER_MS, 0, []), ErrorCode.bad_message),
    "another version": (replace(CLIENT, version=PROTOCOL_VERSION + 1), ErrorCode.wrong_version),
    "another cluster": (replace(CLIENT, cluster="elsewhere"), ErrorCode.wrong_cluster),
    "a peer of no cluster": (replace(PEER, cluster=""), ErrorCode.wrong_cluster),
    "no token": (replace(CLIENT, token=""), ErrorCode.not_authenticated),
    "a client's token for a peer": (replace(PEER, token=CLIENT_TOKEN), ErrorCode.not_authenticated),
    "the node itself": (replace(PEER, node=1), ErrorCode.unknown_peer),
    "no member": (replace(PEER, node=3), ErrorCode.unknown_peer),
    "another data folder": (replace(PEER, data_id=56), ErrorCode.unknown_peer),
    "a client of another cluster": (replace(CLIENT, identity=IDENTITY + 1), ErrorCode.wrong_cluster),
    "a peer of another cluster of this name": (replace(PEER, identity=IDENTITY + 1), ErrorCode.wrong_cluster),
    "other settings": (replace(PEER, settings="nodes=2 shards=9"), ErrorCode.wrong_settings),
    "a client with a number": (replace(CLIENT, node=2), ErrorCode.bad_message),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_who_may_not_connect_is_told_why(port: int, name: str) -> None:
    """And nothing that follows is looked at."""
    hello, code = REFUSED[name]
    reader, writer = await say(port, hello, CLIENT, Request(1, "cluster", -1, NEVER_MS, 0, []))
    (answer,) = await read_to_end(reader)
    assert isinstance(answer, Failure) and (answer.id, answer.code) == (0, code.value)
    writer.close()


@pytest.mark.parametrize("hello", [CLIENT, replace(CLIENT, cluster=""), PEER], ids=["client", "stranger", "peer"])
async def test_who_may_connect_is_welcome(port: int, hello: Hello) -> None:
    """A client need not know the cluster's name; after the handshake frames may be larger."""
    reader, writer = await say(port, hello)
    welcome = await read_one(reader)
    assert isinstance(welcome, Welcome)
    assert (welcome.cluster, welcome.node, welcome.shards) == ("under-test", 1, 1)
    request = Request(1, "balances", -1, NEVER_MS, 0, ["x" * 4_000] * 300)
    writer.write(encode_body(encode(request)) + encode_body(encode(Request(2, "cluster", -1, NEVER_MS, 0, []))))
    answer = await read_one(reader)
    while not isinstance(answer, Reply):
        assert not (isinstance(answer, Failure) and answer.id == 0), answer
        answer = await read_one(reader)
    assert answer.id == 2
    writer.close()


BROKEN: dict[str, tuple[list[object], str]] = {
    "not allowed": (["heal"], "expected fault_switch = true in cluster.toml"),
    "no body": ([], 'expected ["cut", [node id, ...]]'),
    "no node": (["cut", ["2"]], 'expected ["cut", [node id, ...]]'),
    "too slow": (["slow_disk", 60_001], '["slow_disk", 0 to 60000]'),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_faults_are_refused(port: int, name: str) -> None:
    """In a cluster that is not under test, and where the body makes no sense; the connection stays."""
    body, expected = BROKEN[name]
    reader, writer = await say(port, CLIENT, Request(1, "fault", -1, NEVER_MS, 0, body))
    answer = await read_one(reader)
    while not isinstance(answer, Failure):
        answer = await read_one(reader)
    assert (answer.id, answer.code) == (1, "bad_request")
    assert expected in answer.message
    writer.close()


async def test_a_client_may_not_speak_as_a_peer(port: int) -> None:
    """A message of the log ends its connection, whatever it says."""
    reader, writer = await say(port, CLIENT, Raft([]))
    answers = await read_to_end(reader)
    assert isinstance(answers[-1], Failure) and answers[-1].code == "bad_message"
    writer.close()
