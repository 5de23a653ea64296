"""Connections that others open to a node: how many, how much they may leave unread, and who is cut off."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from node.actors import session
from node.actors.admission import FULL_RETRY_MS
from node.actors.session import SILENT_SECONDS
from node.adapters import tcp
from protocol import frames
from protocol.client import Client
from protocol.client.connection import Connection
from protocol.columns import Flag
from protocol.errors import ErrorCode, ProtocolError, Unreachable
from protocol.messages import NEVER_MS, Failure, Reply, Request
from protocol.status import BALANCES_MAX, HISTORY_ROWS_MAX, TRANSFERS_MAX, AccountStatus, Status
from tests.actors.quiet import World, play, together
from tests.actors.test_admission import Stranger

FEW = 3
PAGES = 400  # at once, ten times what one may have under way
LONG_NAME = "x" * 60


def stop_reading(connection: Connection) -> None:
    """From now on this client takes nothing."""
    assert connection._transport is not None
    connection._transport.pause_reading()


def ask_much(connection: Connection, count: int) -> None:
    """Reads of a thousand accounts whose answers nobody waits for."""
    for number in range(1, count + 1):
        connection._write(Request(number, "balances", 1, NEVER_MS, 0, [LONG_NAME] * BALANCES_MAX))


def test_a_node_takes_so_many_clients_and_tells_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are connected are served, the next is refused in a sentence, and gets in when one has left."""
    monkeypatch.setattr(session, "CLIENTS_MAX", FEW)

    async def story(world: World) -> None:
        await world.open("a", funds=5)
        idle = [await world.dial(1) for _ in range(FEW - 1)]
        with pytest.raises(
            ConnectionRefusedError, match="3 clients connected to node 1: expected at most as many with the new one"
        ):
            await world.dial(1)
        with pytest.raises(Unreachable, match="expected at most as many with the new one"):
            await Client(f"127.0.0.1:{world.cluster.placement.nodes[0].port}", timeout=0.5).__aenter__()
        assert (await world.client.account("a")).posted == 5
        idle[0].close()
        await world.until(lambda: world.node(1)._sessions.clients < FEW, "one has left")
        await world.dial(1)

    play(story, nodes=1)


def test_peers_are_let_in_whatever_the_number_of_strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that say nothing make room, the oldest first, and are told."""
    monkeypatch.setattr(session, "STRANGERS_MAX", FEW)

    async def story(world: World) -> None:
        address = world.cluster.placement.nodes[0]
        strangers = []
        for _ in range(2 * FEW):
            _, stranger = await world.loop.create_connection(Stranger, address.host, address.port)
            strangers.append(stranger)
        await world.until(lambda: sum(stranger.is_closed for stranger in strangers) == FEW, "the oldest are closed")
        assert [stranger.is_closed for stranger in strangers] == [True] * FEW + [False] * FEW
        (failure,) = strangers[0].messages
        assert isinstance(failure, Failure) and failure.code == "busy" and "others" in failure.message
        await world.restart(2)
        await world.until(lambda: world.node(1)._sessions.statistics().peers == 2, "the peer is in")

    play(story)


def test_a_client_that_waits_for_its_node_is_no_stranger(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has said hello, to a node that has yet to hear which cluster is its own: others that say nothing do not end it."""
    monkeypatch.setattr(session, "STRANGERS_MAX", FEW)
    monkeypatch.setattr(session, "CLIENTS_MAX", FEW)
    monkeypatch.setattr(session, "NEWCOMER_SECONDS", 60.0)

    async def story(world: World) -> None:
        address = world.cluster.placement.nodes[0]
        for number in (1, 2, 3):
            world.cluster.crash(number)
            world.cluster.lose_data(number)
        world.cluster.start(1)
        host = world.cluster.hosts[1]
        await world.until(lambda: host.node and host.node._tasks, "the first node listens")
        waiting = [asyncio.ensure_future(world.dial(1)) for _ in range(FEW)]
        await world.until(lambda: len(world.node(1)._sessions.waiting) == FEW, "they wait")
        with pytest.raises(ConnectionRefusedError, match="3 clients connected to node 1"):
            await world.dial(1)
        strangers = []
        for _ in range(2 * FEW):
            _, stranger = await world.loop.create_connection(Stranger, address.host, address.port)
            strangers.append(stranger)
        await world.until(lambda: strangers[FEW - 1].is_closed, "strangers make room")
        assert not any(one.done() for one in waiting)
        for number in (2, 3):
            world.cluster.start(number)
        await world.until(lambda: all(one.done() for one in waiting), "they are let in")
        assert all(one.result().is_open for one in waiting)

    play(story)


def test_a_client_that_takes_no_answers_gets_no_more_and_is_cut_off() -> None:
    """What it leaves unread counts against it, is bounded, and after a while it must go; the others do not notice."""

    async def story(world: World) -> None:
        await world.client.create_accounts([[LONG_NAME, "EUR", None, None, LONG_NAME, bytes(1_000)]])
        await world.open("a", "b", funds=5)
        node = world.node(world.leader(1))
        silent = await world.dial(node.number)
        stop_reading(silent)
        ask_much(silent, 100)
        await world.until(lambda: node._sessions._unsent_bytes, "answers lie there")
        unsent = node._sessions._unsent_bytes
        assert unsent <= session.CLIENT_ANSWERS_MAX + 100_000
        assert node._admission.statistics().answer_bytes >= unsent
        assert (await world.client.transfer("a", "b", 1)).status == Status.created
        await asyncio.sleep(SILENT_SECONDS - 1.0)
        assert node._sessions.statistics().cut_off == 0
        await world.until(lambda: node._sessions.statistics().cut_off == 1, "it is cut off")
        await world.until(lambda: not node._admission.statistics().answer_bytes, "and forgotten")
        assert (await world.client.transfer("a", "b", 1)).status == Status.created

    play(story)


def test_a_node_that_stood_still_does_not_take_its_clients_for_silent() -> None:
    """It could send them nothing meanwhile."""

    async def story(world: World) -> None:
        await world.client.create_accounts([[LONG_NAME, "EUR", None, None, LONG_NAME, bytes(1_000)]])
        node = world.node(world.leader(1))
        busy = await world.dial(node.number)
        stop_reading(busy)
        ask_much(busy, 100)
        await world.until(lambda: node._sessions._unsent_bytes, "answers lie there")
        world.cluster.pause(node.number)
        await asyncio.sleep(3 * SILENT_SECONDS)
        world.cluster.resume(node.number)
        await asyncio.sleep(SILENT_SECONDS / 2)
        assert node._sessions.statistics().cut_off == 0 and busy.is_open

    play(story)


def test_who_asks_on_and_on_is_held_back() -> None:
    """A few refusals, then nothing is read from it for a moment; in the end all is answered, and the others are served meanwhile."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=50)
        greedy = await world.dial(world.leader(1))
        page = ["a", None, HISTORY_ROWS_MAX, True]
        node = world.node(world.leader(1))
        asked = [asyncio.ensure_future(world.ask(greedy, "history", 1, page)) for _ in range(PAGES)]
        before = world.loop.time()
        await world.until(lambda: node._admission.statistics().shed_full, "it is refused", look_every=0.000_1)
        while world.loop.time() - before < FULL_RETRY_MS / 1000 - 0.01:
            assert node._admission.statistics().shed_full <= session.REFUSALS_PER_PAUSE
            await asyncio.sleep(0.001)
        assert (await world.client.transfer("a", "b", 1)).status == Status.created
        answers = await asyncio.gather(*asked)
        codes = [answer.code for answer in answers if isinstance(answer, Failure)]
        assert set(codes) <= {"busy"} and len(codes) < PAGES // 2 and node._sessions.statistics().cut_off == 0

    play(story)


def test_a_client_that_reads_slowly_stays() -> None:
    """As long as it takes something now and then, however much lies there."""

    async def story(world: World) -> None:
        await world.client.create_accounts([[LONG_NAME, "EUR", None, None, LONG_NAME, bytes(1_000)]])
        node = world.node(world.leader(1))
        slow = await world.dial(node.number)
        for _ in range(5):
            stop_reading(slow)
            asking = asyncio.ensure_future(together(*[world.ask(slow, "balances", 1, [LONG_NAME] * 500)]))
            await asyncio.sleep(SILENT_SECONDS * 0.7)
            assert slow._transport is not None
            slow._transport.resume_reading()
            (answer,) = await asking
            assert isinstance(answer, Reply)
        assert node._sessions.statistics().cut_off == 0 and slow.is_open

    play(story)


def test_who_leaves_more_unread_than_a_connection_may_is_cut_off_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refusals pile up, too: their number has an end."""
    monkeypatch.setattr(session, "CLIENT_UNSENT_MAX", 100_000)

    async def story(world: World) -> None:
        node = world.node(world.leader(1))
        silent = await world.dial(node.number)
        stop_reading(silent)
        before = world.loop.time()
        ask_much(silent, 1_000)
        await world.until(lambda: node._sessions.statistics().clients == 1, "only the world's own client is left")
        assert world.loop.time() - before < SILENT_SECONDS

    play(story)


def test_all_clients_together_hold_a_bounded_number_of_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who holds most goes first, be it answers or the beginning of a frame."""
    monkeypatch.setattr(session, "HELD_BYTES_MAX", 3_000_000)

    async def story(world: World) -> None:
        node = world.node(world.leader(1))
        small, large = await world.dial(node.number), await world.dial(node.number)
        for connection, size in ((small, 1_000_000), (large, 2_500_000)):
            assert connection._transport is not None
            connection._transport.write((3_000_000).to_bytes(4, "big") + bytes(4 + size))
        await world.until(lambda: not large.is_open, "the largest is cut off")
        assert small.is_open and node._sessions.statistics().cut_off == 1

    play(story)


def test_an_answer_that_fits_no_frame_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of that request; the connection and the node go on."""

    async def story(world: World) -> None:
        await world.client.create_accounts([[LONG_NAME, "EUR", None, None, LONG_NAME, bytes(1_000)]])
        connection = await world.dial(world.leader(1))
        with monkeypatch.context() as patch:
            patch.setattr(tcp, "header", lambda body: frames.header(body, 10_000))
            answer = await world.ask(connection, "balances", 1, [LONG_NAME] * 100)
        assert isinstance(answer, Failure) and answer.code == "frame_too_large" and "ask for less" in answer.message
        answer = await world.ask(connection, "balances", 1, [LONG_NAME])
        assert isinstance(answer, Reply) and connection.is_open

    play(story, nodes=1)


def test_a_request_that_fits_no_frame_is_not_sent() -> None:
    """A definite refusal at once, and what is under way on the connection goes on."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=5)
        paying = asyncio.ensure_future(world.client.transfer("a", "b", 1))
        long = "x" * frames.CLIENT_FRAME_BYTES_MAX
        before = world.loop.time()
        with pytest.raises(ProtocolError) as caught:
            await world.client.create_accounts([["c", "EUR", None, None, long, b""]])
        assert caught.value.code is ErrorCode.frame_too_large and world.loop.time() == before
        assert (await paying).status == Status.created

    play(story)


def test_accounts_are_opened_in_as_many_requests_as_it_takes() -> None:
    """Full metadata would not fit one frame."""

    async def story(world: World) -> None:
        rows = [[f"n{number}", "EUR", None, None, LONG_NAME, bytes(1_024)] for number in range(TRANSFERS_MAX)]
        assert await world.client.create_accounts(rows) == [AccountStatus.created] * len(rows)
        assert await world.client.create_accounts(rows[::-1]) == [AccountStatus.exists] * len(rows)
        accounts = await world.client.accounts([f"n{number}" for number in range(TRANSFERS_MAX)])
        assert all(account is not None and account.metadata == bytes(1_024) for account in accounts)

    play(story, shards=3)


def test_a_batch_with_everything_at_its_longest_fits_a_frame() -> None:
    """Every column, every text: whatever the books would take is one request."""

    async def story(world: World) -> None:
        euro = "\N{EURO SIGN}"
        name = {side: side + euro * 21 for side in "ab"}  # 64 bytes
        await world.open(*name.values(), funds=TRANSFERS_MAX)
        count, version = TRANSFERS_MAX, (await world.client.account(name["a"])).version
        given: dict[str, Any] = {"code": [2**32 - 1] * count, "reference": [euro * 21 + "x"] * count, "currency": "EUR"}
        statuses = await world.client.transfer_many(
            [name["a"]] * count, [name["b"]] * count, [1] * count, flags=[Flag.linked] * (count - 1) + [Flag.none],
            if_version=version, **given,
        )  # fmt: skip
        assert statuses == [Status.created] * count

    play(story)


def test_the_largest_frame_of_a_client_is_worked_out() -> None:
    """A row's columns at their longest, times the rows of a request."""
    row = {
        "ids": 16,
        "debit": 65,
        "credit": 65,
        "amount": 8,
        "flags": 2,
        "code": 4,
        "reference": 65,
        "hold": 16,
        "ttl": 4,
    }
    row |= {"if_version": 8, "lock": 65, "token": 8, "currency": 3}
    assert sum(row.values()) * TRANSFERS_MAX + 1_000 < frames.CLIENT_FRAME_BYTES_MAX
