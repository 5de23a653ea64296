"""A spell in which nothing fails but manners: clients ask one node for much more than it can read, one of them never takes an
answer, one sends what fits no frame, while somebody pays and must not notice.

A payment is answered within a bound, each request of the greedy is answered or its connection ended, and what a node holds for
them stays within its limits, whenever one looks.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from random import Random

from node.actors.admission import ANSWER_BYTES_MAX
from node.actors.reading import READS_WAITING_MAX
from node.actors.session import CLIENT_ANSWERS_MAX, CLIENT_UNSENT_MAX
from protocol.client import Client
from protocol.client.connection import Connection
from protocol.errors import RingpayError
from protocol.frames import CLIENT_FRAME_BYTES_MAX, HEADER_BYTES
from protocol.messages import NEVER_MS, PROTOCOL_VERSION, Failure, Hello, Reply, Request
from protocol.placement import group_of
from protocol.status import BALANCES_MAX, HISTORY_ROWS_MAX
from tests.simulation.cluster import Cluster
from tests.simulation.worker import CALL_SECONDS

ANSWER_SECONDS = 1.0  # the longest that a payment may wait beside the greedy
PAGES, READS = 150, 40  # at once, on each connection: several times what one may have under way
ROWS, BATCHES = 300, 3  # of the history that they read
ROUNDS = 2  # of asking
PAYMENTS = 10
PACE_SECONDS = 0.05


class Greed:
    """Asks and pays; `fail` is told of what took too long or too much. Begins when all is well."""

    def __init__(self, cluster: Cluster, random: Random, counts: Counter[str], fail: Callable[[str], None]) -> None:
        self._cluster = cluster
        self._random = random
        self._counts = counts
        self._fail = fail
        shards = cluster.shape.shards
        names = [f"greed:{number}" for number in range(1_000)]
        first = next(name for name in names if group_of(name, shards) == 1)
        other = next(name for name in names if group_of(name, shards) == min(2, shards) and name != first)
        last = next(name for name in names if group_of(name, shards) == 1 and name not in (first, other))
        self._names = [first, other, last]

    async def run(self) -> None:
        """Until all who are polite have been served."""
        cluster = self._cluster
        owner, client = cluster.client(timeout=CALL_SECONDS)
        await cluster.loop.spawn(owner, self._prepare(client))
        watching = asyncio.ensure_future(self._watch())
        greedy = [cluster.client(timeout=CALL_SECONDS)[0] for _ in range(3)]
        works = [self._read(), self._ask_in_silence(), self._send_too_much()]
        reading = [cluster.loop.spawn(one, work) for one, work in zip(greedy, works, strict=True)]
        await cluster.loop.spawn(owner, self._pay(client))
        await asyncio.gather(*reading)
        watching.cancel()
        for one in (owner, *greedy):
            cluster.loop.kill(one)
        self._counts["greedy client"] += len(greedy)

    # -- those who pay --------------------------------------------------------------------------------------------

    async def _prepare(self, client: Client) -> None:
        payer, _, payee = self._names
        for name in self._names:
            await client.create_account(name, "EUR", minimum_balance=None)
        for _ in range(BATCHES):
            await client.transfer_many([payer] * ROWS, [payee] * ROWS, [1] * ROWS)

    async def _pay(self, client: Client) -> None:
        loop = self._cluster.loop
        for _ in range(PAYMENTS):
            began, id = loop.time(), client.new_id()
            payer, payee = self._random.sample(self._names, 2)
            while loop.time() - began < CALL_SECONDS:
                try:
                    await client.transfer(payer, payee, 1, id=id)
                    break
                except RingpayError:
                    await asyncio.sleep(PACE_SECONDS)
            if (seconds := loop.time() - began) > ANSWER_SECONDS:
                self._fail(f"a payment took {seconds:.1f} s beside greedy clients")
            await asyncio.sleep(PACE_SECONDS)

    # -- those who are greedy -------------------------------------------------------------------------------------

    async def _connect(self) -> Connection:
        number = self._cluster.leader_of(1) or 1
        address = self._cluster.placement.nodes[number - 1]
        where, hello = (address.host, address.port), Hello(PROTOCOL_VERSION, "", "client", 0, "", 0)
        connection = Connection(where, hello, lambda *_: None)
        await self._cluster.loop.create_connection(lambda: connection, *where)
        await connection.welcome
        return connection

    def _requests(self) -> list[Request]:
        page = [self._names[0], None, HISTORY_ROWS_MAX, self._random.random() < 0.5]
        asked = [Request(number, "history", -1, NEVER_MS, 0, page) for number in range(1, PAGES + 1)]
        many = [self._names[0]] * BALANCES_MAX
        return asked + [Request(PAGES + number, "balances", -1, NEVER_MS, 0, many) for number in range(1, READS + 1)]

    async def _read(self) -> None:
        for _ in range(ROUNDS):
            connection = await self._connect()
            asking = [connection.ask(request) for request in self._requests()]
            answers = await asyncio.gather(*asking, return_exceptions=True)
            for answer in answers:
                self._judge(answer)
            if not any(isinstance(answer, Reply) for answer in answers):
                self._fail("a greedy client was answered nothing at all")
            connection.close()

    def _judge(self, answer: Reply | Failure | BaseException) -> None:
        match answer:
            case Reply() | Failure(_, "busy"):
                pass  # pages may be short: that they are complete together is for the tests of reads
            case _:
                self._fail(f"a read beside others was answered {answer!r:.200}")

    async def _ask_in_silence(self) -> None:
        connection = await self._connect()
        assert connection._transport is not None
        connection._transport.pause_reading()
        for request in self._requests():
            connection._write(request)
        await asyncio.sleep(ANSWER_SECONDS)
        connection.close()

    async def _send_too_much(self) -> None:
        connection = await self._connect()
        assert connection._transport is not None
        connection._transport.write((CLIENT_FRAME_BYTES_MAX + 1).to_bytes(4, "big") + bytes(HEADER_BYTES))
        await asyncio.sleep(ANSWER_SECONDS)
        if connection.is_open:
            self._fail("a frame beyond the limit did not end its connection")

    async def _watch(self) -> None:
        while True:
            for number, node in self._cluster.nodes().items():
                admission, reading = node._admission.statistics(), node._reading.statistics()
                unsent = [
                    session._connection.unsent_bytes for session in node._sessions.sessions if not session.is_peer
                ]
                for what, found, most in (
                    ("reads wait", reading.waiting, READS_WAITING_MAX),
                    ("bytes of answers are under way", admission.answer_bytes, ANSWER_BYTES_MAX + CLIENT_ANSWERS_MAX),
                    ("bytes lie unread on a connection", max(unsent, default=0), CLIENT_UNSENT_MAX),
                ):
                    if found > most:
                        self._fail(f"node {number}: {found} {what}, more than {most}")
            await asyncio.sleep(0.001)
