"""What a node takes on: limits by number and bytes, slowness, and connections whose other side says nothing."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from node.actors import admission, peers, session
from node.actors.actor import Failed
from node.actors.admission import Admission, Demand, Load
from node.actors.events import Command, Propose
from node.actors.pipeline import ENTRIES_IN_FLIGHT_MAX
from node.actors.waiting import ROUND_TRANSFERS, TURN_TRANSFERS, Waiting
from node.adapters.operator_log import MemoryOperatorLog
from node.daemon import make_operations
from protocol.errors import Busy, ErrorCode
from protocol.frames import FrameDecoder
from protocol.messages import Failure, Message, Reply, decode
from protocol.operations import Operation
from protocol.status import BALANCES_MAX, HISTORY_ROWS_MAX, TRANSFERS_MAX, Status
from tests.actors.clock import Clock
from tests.actors.quiet import World, play, together

OPERATIONS = make_operations()

TICK_SECONDS = 0.05
MANY = 100
ROWS = 20


class Desk:
    """The admission of a node whose disk and clock do what the test says."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.is_disk_slow = False
        self.operator = MemoryOperatorLog(self.clock.monotonic)
        self.admission = Admission(7, self.clock, TICK_SECONDS, lambda: self.is_disk_slow, self.operator)
        self.connection = Load(1_000, 1_000_000, 1_000_000)

    def admit(self, size: int, *, is_work: bool, answer: int = 0, connection: Load | None = None) -> Failed | None:
        """Asks for one request."""
        return self.admission.admit(connection or self.connection, Demand(size, is_work, answer))

    def tick(self, seconds: float) -> None:
        """The tick comes so long after the one before."""
        self.clock.now += seconds
        self.admission.tick(0)


# -- limits -------------------------------------------------------------------------------------------------------


def test_work_and_reads_have_each_their_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """By number: work fills three quarters, reads the rest, whoever comes first; nothing more until an answer has gone out."""
    monkeypatch.setattr(admission, "REQUESTS_MAX", 8)
    desk = Desk()
    assert [desk.admit(1, is_work=True) for _ in range(6)] == [None] * 6
    refused = desk.admit(1, is_work=True)
    assert refused is not None and refused.code is ErrorCode.busy and refused.retry_after_ms > 0
    assert "6 requests under way: expected at most 6" in refused.message
    assert [desk.admit(1, is_work=False) for _ in range(2)] == [None] * 2
    assert desk.admit(1, is_work=False) is not None
    desk.admission.release(desk.connection, Demand(1, is_work=True))
    assert desk.admit(1, is_work=False) is not None
    assert desk.admit(1, is_work=True) is None
    statistics = desk.admission.statistics()
    assert (statistics.requests, statistics.bytes, statistics.shed) == (8, 8, 3)


def test_bytes_are_limited_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large request is refused where a small one still fits."""
    monkeypatch.setattr(admission, "BYTES_MAX", 400)
    desk = Desk()
    assert desk.admit(250, is_work=True) is None
    refused = desk.admit(51, is_work=True)
    assert (
        refused is not None and "250 bytes of requests under way: expected at most 300 with 51 more" in refused.message
    )
    assert desk.admit(50, is_work=True) is None
    assert desk.admit(100, is_work=False) is None
    assert desk.admit(1, is_work=False) is not None


def test_a_full_connection_leaves_the_others_alone() -> None:
    """Its own limits come before the node's."""
    desk = Desk()
    small = Load(2, 100, 0)
    assert desk.admit(60, is_work=True, connection=small) is None
    refused = desk.admit(60, is_work=False, connection=small)
    assert refused is not None and refused.message.startswith("this connection has 60 bytes")
    assert desk.admit(40, is_work=False, connection=small) is None
    assert desk.admit(0, is_work=False, connection=small) is not None
    assert desk.admit(60, is_work=True) is None
    assert desk.admission.statistics().requests == 3


def test_what_is_work() -> None:
    """What takes a place in a log; reads and what nobody knows do not."""
    work = [operation.value for operation in Operation if OPERATIONS.demand(operation, [], 1).is_work]
    assert {"accounts", "update", "transfers", "outcome"} <= set(work)
    assert not {"balances", "history", "transfer", "find", "cluster", "audit"} & set(work)
    assert not OPERATIONS.demand("mint", [], 1).is_work


def test_reads_are_counted_by_what_their_answers_may_weigh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long ones leave a quarter to short ones, and answers that nobody takes count as if they were under way."""
    monkeypatch.setattr(admission, "ANSWER_BYTES_MAX", 4_000)
    monkeypatch.setattr(admission, "LONG_BYTES", 100)
    desk = Desk()
    assert [desk.admit(1, is_work=False, answer=1_000) for _ in range(3)] == [None] * 3
    refused = desk.admit(1, is_work=False, answer=1_000)
    assert refused is not None and refused.code is ErrorCode.busy and refused.retry_after_ms > 0
    assert (
        "3000 bytes of answers under way: expected at most 3000 with the 1000 that one more may weigh"
        in refused.message
    )
    assert desk.admit(1, is_work=False, answer=100) is None
    assert desk.admit(1, is_work=True) is None
    desk.admission.tick(unsent_bytes=1_000)
    assert desk.admit(1, is_work=False, answer=1) is not None
    assert desk.admission.statistics().answer_bytes == 4_100
    assert desk.admit(1, is_work=True) is None


def test_answers_that_a_connection_leaves_unread_count_against_it() -> None:
    """It gets no more to read than it takes; its work goes on."""
    desk = Desk()
    silent = Load(10, 1_000, 500, unsent_bytes=450)
    assert desk.admit(1, is_work=False, answer=51, connection=silent) is not None
    assert desk.admit(1, is_work=False, answer=50, connection=silent) is None
    assert desk.admit(1, is_work=True, connection=silent) is None


@pytest.mark.parametrize(
    ("operation", "small", "large"),
    [
        (Operation.balances, ["a"], ["a"] * BALANCES_MAX),
        (Operation.snapshot, ["a"], ["a"] * TRANSFERS_MAX),
        (Operation.history, ["a", None, 1, True], ["a", None, HISTORY_ROWS_MAX, True]),
    ],
)
def test_a_connection_may_ask_for_the_longest_answers(operation: str, small: list[Any], large: list[Any]) -> None:
    """What weighs more is counted for more, and whatever one may ask fits; of a body that was never checked something is said, too."""
    least, most = (
        OPERATIONS.demand(operation, small, 1).answer_bytes,
        OPERATIONS.demand(operation, large, 1).answer_bytes,
    )
    assert 0 < least < most <= session.CLIENT_ANSWERS_MAX < session.CLIENT_UNSENT_MAX
    for nonsense in ([], [None], [None, None, -1], [[], {}, 2**70, "x"]):
        assert 0 <= OPERATIONS.demand(operation, nonsense, 1).answer_bytes <= session.CLIENT_ANSWERS_MAX


# -- slowness -----------------------------------------------------------------------------------------------------


def test_a_slow_disk_sheds_work_and_no_reads() -> None:
    """Until its write is done."""
    desk = Desk()
    desk.tick(TICK_SECONDS)
    desk.is_disk_slow = True
    refused = desk.admit(1, is_work=True)
    assert refused is not None and refused.code is ErrorCode.busy and refused.retry_after_ms > 0
    assert "its log's write" in refused.message
    assert desk.admit(1, is_work=False) is None
    desk.is_disk_slow = False
    assert desk.admit(1, is_work=True) is None
    assert desk.admission.statistics().shed_slow == 1


def test_a_late_loop_sheds_work_until_a_tick_is_in_time() -> None:
    """Late counts already before the late tick has come; a node that has not ticked yet is not late."""
    desk = Desk()
    desk.clock.now += 10
    assert desk.admit(1, is_work=True) is None
    desk.tick(0)
    desk.clock.now += TICK_SECONDS + admission.LAG_SECONDS - 0.01
    assert desk.admit(1, is_work=True) is None
    desk.clock.now += 0.02
    assert desk.admit(1, is_work=True) is not None
    desk.tick(0)
    refused = desk.admit(1, is_work=True)
    assert refused is not None and "its loop" in refused.message
    assert desk.admit(1, is_work=False) is None
    desk.tick(TICK_SECONDS)
    assert desk.admit(1, is_work=True) is None


# -- on nodes -----------------------------------------------------------------------------------------------------


def load_of(world: World, number: int) -> tuple[int, int]:
    """Requests under way on a node, and their bytes."""
    statistics = world.node(number)._admission.statistics()
    return statistics.requests, statistics.bytes


@pytest.mark.parametrize(
    ("module", "limit", "value"),
    [(session, "CLIENT_BYTES_MAX", 5_000), (admission, "BYTES_MAX", 5_000), (admission, "REQUESTS_MAX", 8)],
    ids=["bytes of a connection", "bytes of a node", "requests of a node"],
)
@pytest.mark.parametrize("nodes", [1, 3])
def test_a_flood_is_shed(nodes: int, module: Any, limit: str, value: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who floods is told when to come again; what was refused has not happened, and what was acknowledged has."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=MANY * ROWS)
        pay = world.client.transfer_many
        answers = await together(*(pay(["a"] * ROWS, ["b"] * ROWS, [1] * ROWS) for _ in range(MANY)))
        busy = [answer for answer in answers if isinstance(answer, Busy)]
        created = [answer for answer in answers if answer == [Status.created] * ROWS]
        assert busy and created and len(busy) + len(created) == MANY, answers
        assert all(answer.retry_after > 0 for answer in busy)
        assert (await world.client.account("b")).posted == MANY * ROWS + len(created) * ROWS
        assert sum(world.node(number)._admission.statistics().shed for number in world.cluster.hosts) >= len(busy)
        assert (await world.client.transfer("a", "b", 1)).status == Status.created
        assert [load_of(world, number) for number in world.cluster.hosts] == [(0, 0)] * nodes

    monkeypatch.setattr(module, limit, value)
    play(story, nodes=nodes)


def test_a_flood_on_one_connection_leaves_the_others_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full connection is not a full node."""
    monkeypatch.setattr(session, "CLIENT_BYTES_MAX", 5_000)

    async def story(world: World) -> None:
        await world.open("a", "b", funds=MANY * ROWS)
        other = await world.dial(world.leader(1))
        pay = world.client.transfer_many
        batches = [pay(["a"] * ROWS, ["b"] * ROWS, [1] * ROWS) for _ in range(MANY)]
        flood = asyncio.gather(*batches, return_exceptions=True)
        await asyncio.sleep(0.001)
        body = [world.client.new_id().to_bytes(16, "big"), "a", "b", (1).to_bytes(8, "little")]
        answer = await world.ask(other, "transfers", 1, body)
        assert isinstance(answer, Reply) and answer.body == [bytes([Status.created])]
        answers = await flood
        assert any(isinstance(answer, Busy) for answer in answers)

    play(story)


def test_a_slow_log_sheds_payments_and_still_answers_questions() -> None:
    """A write that stands still for longer than half a second; afterwards the node takes work again."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=100)
        disk = world.cluster.hosts[1].drive.disk
        healthy, disk._latency = disk._latency, lambda: 0.9
        first = asyncio.ensure_future(world.client.transfer("a", "b", 1))
        await asyncio.sleep(0.3)
        second = asyncio.ensure_future(world.client.transfer("a", "b", 2))
        await asyncio.sleep(0.4)
        with pytest.raises(Busy) as caught:
            await world.client.transfer("a", "b", 4)
        assert caught.value.retry_after > 0
        assert (await world.client.account("b")).posted == 100
        assert (await world.client.cluster()).shed == 1
        disk._latency = healthy
        assert (await first).status == (await second).status == Status.created
        assert (await world.client.transfer("a", "b", 8)).status == Status.created
        assert (await world.client.account("b")).posted == 111

    play(story, nodes=1)


def test_a_node_that_stood_still_sheds_until_it_has_caught_up() -> None:
    """What came while it stood is refused at once instead of being done when nobody waits for it any more."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=10)
        connection = await world.dial(1)
        body = [world.client.new_id().to_bytes(16, "big"), "a", "b", (1).to_bytes(8, "little")]
        world.cluster.pause(1)
        paying = asyncio.ensure_future(world.ask(connection, "transfers", 1, body))
        await asyncio.sleep(3.0)
        world.cluster.resume(1)
        answer = await paying
        assert isinstance(answer, Failure) and answer.code == "busy" and answer.retry_after_ms > 0
        await world.until(lambda: not world.node(1)._admission.is_slow, "the node has caught up")
        answer = await world.ask(connection, "transfers", 1, body)
        assert isinstance(answer, Reply) and answer.body == [bytes([Status.created])]

    play(story, nodes=1)


def test_what_is_under_way_counts_until_it_is_answered() -> None:
    """On the node that was asked and on the one that serves; also when the asker is gone."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=10)
        leader, follower = world.leader(1), world.followers(1)[0]
        connection = await world.dial(follower)
        body = [world.client.new_id().to_bytes(16, "big"), "a", "b", (1).to_bytes(8, "little")]
        for host in world.cluster.hosts.values():
            host.drive.disk._latency = lambda: 0.3
        asking = asyncio.ensure_future(together(world.ask(connection, "transfers", -1, body)))
        await asyncio.sleep(0.1)
        assert load_of(world, follower)[0] == load_of(world, leader)[0] == 1
        assert 0 < load_of(world, follower)[1] < 200
        connection.close()
        await asking
        await asyncio.sleep(0.05)
        assert load_of(world, follower)[0] == 1
        await world.until(lambda: load_of(world, follower) == load_of(world, leader) == (0, 0), "all is answered")
        assert (await world.client.account("b")).posted == 11

    play(story)


def test_a_link_full_of_clients_still_carries_the_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forwarded requests are refused; what finishes those that were taken goes on."""
    monkeypatch.setattr(peers, "CALLS_MAX", 0)

    async def story(world: World) -> None:
        rich, poor = world.name_in(1, "rich"), world.name_in(2, "poor")
        await world.open(rich, poor, funds=100)
        connection = await world.dial(world.followers(1)[0])
        answer = await world.ask(connection, "balances", -1, [rich])
        assert isinstance(answer, Failure) and answer.code == "busy" and answer.retry_after_ms > 0
        assert "expected at most 0" in answer.message
        assert (await world.client.transfer(rich, poor, 30)).status == Status.created
        assert (await world.client.account(poor)).posted == 130

    play(story, shards=2)


def test_statistics_tell_who_is_connected_and_what_is_routed() -> None:
    """Frozen views of sessions, links and the router."""

    async def story(world: World) -> None:
        await world.open("a")
        node = world.node(world.leader(1))
        sessions, router = node._sessions.statistics(), node.router.statistics()
        assert (sessions.strangers, sessions.clients, sessions.peers) == (0, 1, 2)
        assert router.requests > 0 and router.leaderless == 0
        links = [link.statistics() for link in node._links.values()]
        assert [(link.is_up, link.calls) for link in links] == [(True, 0)] * 2
        assert sorted([node.number, *(link.node for link in links)]) == [1, 2, 3]

    play(story)


# -- taking turns -------------------------------------------------------------------------------------------------


def command(source: int, size: int, name: str = "") -> Command:
    """A request of that connection."""
    return Command("ledger", [name], lambda _: None, 0.0, size, source=source)


def test_who_asks_much_waits_behind_itself() -> None:
    """Connections take turns of about a thousand transfers; each one's requests stay in order."""
    waiting = Waiting()
    flood = [command(1, TRANSFERS_MAX, f"flood {number}") for number in range(3)]
    small = [command(2, 1, f"small {number}") for number in range(TURN_TRANSFERS + 1)]
    rounds = [Propose([number], lambda _: None) for number in range(2)]
    events: list[Command | Propose] = [*flood, *small, *rounds]
    for event in events:
        waiting.append(event)
    assert waiting.size == 3 * TRANSFERS_MAX + len(small) + 2 * ROUND_TRANSFERS
    assert len(waiting) == len(list(waiting)) == 3 + len(small) + 2
    order: list[Command | Propose] = []
    while waiting:
        following = waiting.peek()
        order.append(waiting.take())
        assert order[-1] is following
    turn = TURN_TRANSFERS
    assert order == [flood[0], *small[:turn], rounds[0], flood[1], *small[turn:], rounds[1], flood[2]]
    assert (len(waiting), waiting.size) == (0, 0)


def test_what_has_had_its_turn_comes_first() -> None:
    """Requests that were put back are not behind the others again, and nothing is left behind by clearing."""
    waiting = Waiting()
    for number in range(3):
        waiting.append(command(number, 5))
    taken = waiting.take()
    waiting.put_first(taken)
    assert (len(waiting), waiting.size) == (3, 15)
    assert waiting.take() is taken and waiting.peek() is not taken
    waiting.clear()
    assert (len(waiting), waiting.size, list(waiting)) == (0, 0, [])


def test_a_payment_overtakes_a_flood() -> None:
    """It came last and is answered long before the flood is through."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=MANY * TRANSFERS_MAX)
        other = await world.dial(world.leader(1))
        for host in world.cluster.hosts.values():
            host.drive.disk._latency = lambda: 0.1
        pay, full = world.client.transfer_many, TRANSFERS_MAX
        batches = [asyncio.ensure_future(pay(["a"] * full, ["b"] * full, [1] * full)) for _ in range(15)]
        await asyncio.sleep(0.01)
        body = [world.client.new_id().to_bytes(16, "big"), "a", "b", (1).to_bytes(8, "little")]
        answer = await world.ask(other, "transfers", 1, body)
        assert isinstance(answer, Reply) and answer.body == [bytes([Status.created])]
        assert sum(batch.done() for batch in batches) <= 2 * ENTRIES_IN_FLIGHT_MAX
        answers = await together(*batches)
        assert all(answer == [Status.created] * full for answer in answers)

    play(story)


# -- before hello -------------------------------------------------------------------------------------------------


class Stranger(asyncio.Protocol):
    """Connects and says nothing by itself."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.is_closed = False
        self._decoder = FrameDecoder(1 << 20)
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.messages += [decode(body) for body in self._decoder.feed(data)]

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_closed = True


@pytest.mark.parametrize("said", [b"", b"\0\0\0\x09\0"], ids=["nothing", "the beginning of a frame"])
def test_a_connection_without_hello_is_closed(said: bytes) -> None:
    """In time, with the reason; one that said hello stays, however quiet it is."""

    async def story(world: World) -> None:
        quiet = await world.dial(1)
        address = world.cluster.placement.nodes[0]
        _, stranger = await world.loop.create_connection(Stranger, address.host, address.port)
        stranger.transport.write(said)
        await asyncio.sleep(session.HELLO_SECONDS - 0.5)
        assert world.node(1)._sessions.statistics().strangers == 1
        assert not stranger.messages and not stranger.is_closed
        await world.until(lambda: stranger.is_closed, "the node hangs up")
        (failure,) = stranger.messages
        assert isinstance(failure, Failure) and (failure.id, failure.code) == (0, "busy")
        assert "expected Hello within 5 s" in failure.message
        await world.until(lambda: not world.node(1)._sessions.statistics().strangers, "and forgets")
        assert quiet.is_open

    play(story, nodes=1)
