"""What the log tells of clients and outsiders: refused, cut off, too many, shed; never more than some lines a second."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from node.actors import admission, pipeline, session
from node.actors.episodes import QUIET_SECONDS, TOLD_PER_SECOND, Door, Shedding
from node.actors.reading import GONE
from node.actors.session import Session
from node.adapters.operator_log import MemoryOperatorLog
from node.config import SecuritySettings
from node.notices import (
    ClientCutOff,
    ClientRefused,
    ClientsLeftOut,
    Notice,
    PeerRefused,
    RoomForClients,
    Shed,
    ShedBegun,
    ShedEnded,
    TooManyClients,
    line_of,
)
from protocol.client.connection import Connection
from protocol.errors import ProtocolError
from protocol.messages import PROTOCOL_VERSION, Hello
from tests.actors.clock import Clock
from tests.actors.quiet import World, play, together
from tests.actors.test_admission import MANY, ROWS, Stranger
from tests.actors.test_connections import LONG_NAME, ask_much, stop_reading
from tests.simulation.cluster import BASE_PORT

CLIENT = Hello(PROTOCOL_VERSION, "simulated", "client", 0, "", 0)
TOKEN = "a token that nobody may read"
HOSTILE = 'x"}\n{"event": "stopped"}\r\x1b[2J\u2028\x00'


async def hail(world: World, hello: Hello, number: int = 1) -> None:
    """Says that hello to a node, which refuses it."""
    host, port = "127.0.0.1", BASE_PORT + number - 1
    _, connection = await world.loop.create_connection(
        lambda: Connection((host, port), hello, lambda *_: None), host, port
    )
    with pytest.raises(ProtocolError):
        await connection.welcome


REFUSED: dict[str, tuple[Hello, str, str]] = {
    "another cluster": (replace(CLIENT, cluster="elsewhere"), "wrong_cluster", "elsewhere"),
    "another version": (replace(CLIENT, version=99), "wrong_version", "99"),
    "a token where none is set": (replace(CLIENT, token=TOKEN), "not_authenticated", "no client_token"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_client(name: str) -> None:
    """Who, and why; the token that it showed is nobody's business."""
    hello, code, words = REFUSED[name]

    async def story(world: World) -> None:
        world.forget()
        await hail(world, hello)
        (refused,) = world.told(1, ClientRefused)
        assert refused.code == code and words in refused.reason and refused.address.startswith("127.0.0.1:")
        assert TOKEN not in line_of(refused)

    play(story, nodes=1)


@pytest.mark.parametrize("role", ["client", "peer"])
def test_a_wrong_token_is_never_shown(role: str) -> None:
    """Neither the one that is shown nor the one that is expected, whoever shows it."""

    async def story(world: World) -> None:
        world.cluster.config = replace(world.cluster.config, security=SecuritySettings("the client's", "the peers'"))
        world.cluster.crash(1)
        world.cluster.start(1)
        await world.until(lambda: world.is_serving(1), "it asks for tokens now")
        world.forget()
        number = 0 if role == "client" else 1
        await hail(world, replace(CLIENT, role=role, node=number, token=TOKEN))
        told = world.told(1, Notice)
        assert [type(notice) for notice in told] == [ClientRefused if role == "client" else PeerRefused]
        for secret in (TOKEN, "the client's", "the peers'"):
            assert secret not in line_of(told[0])

    play(story, nodes=1)


def test_hostile_names_stay_in_their_line() -> None:
    """Whatever a stranger calls its cluster."""

    async def story(world: World) -> None:
        world.forget()
        await hail(world, replace(CLIENT, cluster=HOSTILE))
        await hail(world, replace(CLIENT, cluster=HOSTILE, role="peer", node=1))
        for notice in world.told(1, Notice):
            assert line_of(notice).isprintable()
        assert len(world.told(1, ClientRefused)) == len(world.told(1, PeerRefused)) == 1

    play(story, nodes=1)


def test_a_flood_of_refused_hellos_is_counted() -> None:
    """Some a second are told, whoever they are, and how many were left out."""

    async def story(world: World) -> None:
        await asyncio.sleep(2.0)
        world.forget()
        began = world.loop.time()
        for _ in range(10):
            await asyncio.gather(*(hail(world, replace(CLIENT, cluster="elsewhere")) for _ in range(20)))
        seconds = world.loop.time() - began
        await asyncio.sleep(2.0)
        told, left_out = world.told(1, ClientRefused), world.told(1, ClientsLeftOut)
        assert len(told) <= TOLD_PER_SECOND * (int(seconds) + 2) and len(left_out) <= int(seconds) + 2
        assert len(told) + sum(notice.count for notice in left_out) == 200

    play(story, nodes=1)


def test_a_peer_that_is_refused_again_and_again_is_told_once() -> None:
    """An outsider who claims to be one, too."""

    async def story(world: World) -> None:
        world.forget()
        for _ in range(20):
            await hail(world, replace(CLIENT, role="peer", node=2, cluster="elsewhere"))
        assert [(notice.peer, notice.code) for notice in world.told(1, PeerRefused)] == [(2, "wrong_cluster")]
        assert not world.told(1, ClientRefused)

    play(story)


def test_strangers_that_say_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are told as refused, and make room."""
    monkeypatch.setattr(session, "STRANGERS_MAX", 3)

    async def story(world: World) -> None:
        address = world.cluster.placement.nodes[0]
        for _ in range(4):
            await world.loop.create_connection(Stranger, address.host, address.port)
        await world.until(lambda: len(world.told(1, ClientRefused)) == 4, "all are told in the end")
        reasons = [notice.reason for notice in world.told(1, ClientRefused)]
        assert "3 others connected" in reasons[0] and all("within 5 s" in reason for reason in reasons[1:])

    play(story, nodes=1)


def test_too_many_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told once, with how many were refused when that is over."""
    monkeypatch.setattr(session, "CLIENTS_MAX", 2)

    async def story(world: World) -> None:
        idle = await world.dial(1)
        for _ in range(5):
            with pytest.raises(ConnectionRefusedError):
                await world.dial(1)
        idle.close()
        await world.until(lambda: world.told(1, RoomForClients), "that is over")
        assert [notice.limit for notice in world.told(1, TooManyClients)] == [2]
        assert [notice.refused for notice in world.told(1, RoomForClients)] == [5]
        assert not world.told(1, ClientRefused)

    play(story, nodes=1)


def test_a_client_that_takes_no_answers() -> None:
    """It is told when it is cut off, with what it had left."""

    async def story(world: World) -> None:
        await world.client.create_accounts([[LONG_NAME, "EUR", None, None, LONG_NAME, bytes(1_000)]])
        silent = await world.dial(1)
        stop_reading(silent)
        ask_much(silent, 100)
        await world.until(lambda: world.told(1, ClientCutOff), "it is cut off")
        (cut,) = world.told(1, ClientCutOff)
        assert "has taken nothing of its answers for 10 s" in cut.reason and cut.unsent_bytes > 1_000_000

    play(story, nodes=1)


def test_a_client_that_leaves_too_much_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The transport ends it; its session says why."""
    monkeypatch.setattr(session, "CLIENT_UNSENT_MAX", 100_000)

    async def story(world: World) -> None:
        await world.client.create_accounts([[LONG_NAME, "EUR", None, None, LONG_NAME, bytes(1_000)]])
        silent = await world.dial(1)
        stop_reading(silent)
        ask_much(silent, 30)
        await world.until(lambda: world.told(1, ClientCutOff), "it is cut off")
        (cut,) = world.told(1, ClientCutOff)
        assert cut.reason == "it left more unread than it may"

    play(story, nodes=1)


@pytest.mark.parametrize(
    ("what", "module", "limit", "value"),
    [
        (Shed.connection, session, "CLIENT_BYTES_MAX", 5_000), (Shed.node, admission, "BYTES_MAX", 5_000),
        (Shed.queue, pipeline, "WAITING_MAX", 1),
    ],
)  # fmt: skip
def test_a_flood_is_told_twice(
    what: Shed, module: Any, limit: str, value: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When it begins, with what was full, and when it has ended, with all that were refused."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=MANY * ROWS)
        world.forget()
        pay = world.client.transfer_many
        monkeypatch.setattr(pipeline, "WAITING_MAX", value if module is pipeline else pipeline.WAITING_MAX)
        answers = await together(*(pay(["a"] * ROWS, ["b"] * ROWS, [1] * ROWS) for _ in range(MANY)))
        assert any(isinstance(answer, Exception) for answer in answers)
        await world.until(lambda: world.told(1, ShedEnded), "it is over")
        (begun,), (ended,) = world.told(1, ShedBegun), world.told(1, ShedEnded)
        assert begun.what is ended.what is what and "expected at most" in begun.reason
        assert ended.requests >= sum(isinstance(answer, Exception) for answer in answers)
        assert world.told(1, Notice) == [begun, ended]

    if module is not pipeline:  # whose limit holds for all that opens the accounts, too
        monkeypatch.setattr(module, limit, value)
    play(story, nodes=1)


def test_reads_of_a_client_that_has_gone_are_no_shed(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are dropped, and nobody is refused."""
    dropped: list[str] = []
    monkeypatch.setattr(Session, "_send_failure", lambda self, number, failed: dropped.append(failed.message))

    async def story(world: World) -> None:
        await world.client.create_accounts([[LONG_NAME, "EUR", None, None, LONG_NAME, bytes(1_000)]])
        world.forget()
        connection = await world.dial(1)
        world.cluster.pause(1)  # so that it finds the requests and the end of the connection together
        ask_much(connection, 5)
        connection.close()
        await asyncio.sleep(0.3)
        world.cluster.resume(1)
        await asyncio.sleep(5.0)
        assert GONE in dropped and not world.told(1, ShedBegun)

    play(story, nodes=1)


def test_work_that_a_slow_node_refuses() -> None:
    """Apart from what is full; and the disk says itself that it is slow."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=1_000)
        drive = world.cluster.hosts[1].drive
        drive.slowness = 2_000.0
        await together(*(world.client.transfer("a", "b", 1, timeout=3.0) for _ in range(5)))
        await together(*(world.client.transfer("a", "b", 1, timeout=0.4) for _ in range(5)))
        drive.slowness = 1.0
        await world.until(lambda: world.told(1, ShedEnded), "it is over")
        assert [notice.what for notice in world.told(1, ShedBegun)] == [Shed.slow]
        assert "its log's write" in world.told(1, ShedBegun)[0].reason

    play(story, nodes=1)


# -- by hand ------------------------------------------------------------------------------------------------------


def ticking(clock: Clock, tick: Callable[[], None], seconds: float) -> None:
    """So much time passes."""
    for _ in range(int(seconds / 0.05)):
        clock.now += 0.05
        tick()


def test_an_episode_goes_on_while_it_is_repeated() -> None:
    """However long: a new one begins only after a quiet time."""
    clock = Clock()
    operator = MemoryOperatorLog(clock.monotonic)
    shedding = Shedding(clock, operator)
    for _ in range(100):
        shedding.refused(Shed.node, "full")
        ticking(clock, shedding.tick, QUIET_SECONDS - 0.1)
    assert len(operator.told) == 1
    ticking(clock, shedding.tick, QUIET_SECONDS)
    shedding.refused(Shed.node, "full again")
    shedding.refused(Shed.slow, "slow as well")
    begun, ended, again, slow = [one.notice for one in operator.told]
    assert (begun, again, slow) == (
        ShedBegun(Shed.node, "full"), ShedBegun(Shed.node, "full again"), ShedBegun(Shed.slow, "slow as well"),
    )  # fmt: skip
    assert isinstance(ended, ShedEnded) and ended.requests == 100 and ended.seconds == pytest.approx(99 * 1.85, abs=6.0)


def test_what_is_left_out_is_told_when_its_second_is_over() -> None:
    """Though nobody comes any more."""
    clock = Clock()
    operator = MemoryOperatorLog(clock.monotonic)
    door = Door(clock, operator)
    for _ in range(TOLD_PER_SECOND + 7):
        door.refused("10.0.0.1:1", "busy", "full")
    assert len(operator.told) == TOLD_PER_SECOND
    ticking(clock, door.tick, 1.2)
    assert operator.told[-1].notice == ClientsLeftOut(7)
    ticking(clock, door.tick, 5.0)
    assert len(operator.told) == TOLD_PER_SECOND + 1
