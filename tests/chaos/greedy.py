"""A client that asks one node for much more than it can read, as fast as it can: the fault `greedy client` of `chaos`."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager

from protocol.client.connection import Connection
from protocol.errors import ProtocolError
from protocol.messages import NEVER_MS, Request
from protocol.operations import Operation
from protocol.requests import BalancesRequest, HistoryRequest
from protocol.status import BALANCES_MAX, HISTORY_ROWS_MAX
from scripts.local import LocalCluster

CONNECTIONS = 3  # the last one never takes what it is answered
AT_ONCE = 1_000  # requests of a connection, told busy or not
TURN_SECONDS = 1.0  # on one connection


@asynccontextmanager
async def greedy_client(cluster: LocalCluster, number: int, accounts: Sequence[str]) -> AsyncIterator[None]:
    """Reads meanwhile; in a thread of its own, so that it holds up nobody on this side."""
    is_over = threading.Event()
    reading = asyncio.create_task(asyncio.to_thread(lambda: asyncio.run(_read_all(cluster, number, accounts, is_over))))
    try:
        yield
    finally:
        is_over.set()
        await reading


async def _read_all(cluster: LocalCluster, number: int, accounts: Sequence[str], is_over: threading.Event) -> None:
    places = range(CONNECTIONS)
    reading = [_read(cluster, number, accounts, is_over, is_silent=place == CONNECTIONS - 1) for place in places]
    await asyncio.gather(*reading)


async def _read(
    cluster: LocalCluster, number: int, accounts: Sequence[str], is_over: threading.Event, *, is_silent: bool
) -> None:
    requests = _requests(accounts)
    while not is_over.is_set():
        connection = cluster.connection(number)
        try:
            async with asyncio.timeout(TURN_SECONDS):
                transport = await _connect(connection)
                if is_silent:
                    transport.pause_reading()
                while not is_over.is_set():
                    asked = [connection.ask(request) for request in itertools.islice(requests, AT_ONCE)]
                    await asyncio.gather(*asked)
        except (OSError, TimeoutError, ProtocolError):
            await asyncio.sleep(0.1)  # it hung up, or another fault struck it: the next attempt is greedy again
        finally:
            connection.close()


async def _connect(connection: Connection) -> asyncio.Transport:
    transport, _ = await asyncio.get_running_loop().create_connection(lambda: connection, *connection.address)
    await connection.welcome
    return transport


def _requests(accounts: Sequence[str]) -> Iterator[Request]:
    """Pages of history as long as they may be, and now and then many accounts."""
    many = [name for name, _ in zip(itertools.cycle(accounts), range(BALANCES_MAX), strict=False)]
    for number in itertools.count(1):
        if number % 10:
            page = HistoryRequest(accounts[number % len(accounts)], None, HISTORY_ROWS_MAX, bool(number % 2))
            yield Request(number, Operation.history, -1, NEVER_MS, 0, page.pack())
        else:
            yield Request(number, Operation.balances, -1, NEVER_MS, 0, BalancesRequest(many).pack())
