"""Work that did not come to its turn in time: nothing of it is begun, and it is told so."""

from __future__ import annotations

import asyncio

import numpy as np

from protocol.columns import SEPARATOR
from protocol.messages import Failure, Reply, Request
from protocol.status import Status
from tests.actors.quiet import World, play

ROWS = 4_096  # two such batches are a full round
BATCHES = 10  # three rounds are in flight, the rest waits for them
DEADLINE_SECONDS = 0.35
LATENCY_SECONDS = 0.3  # of each disk
CREATED = bytes([Status.created])


def test_what_no_round_took_in_time_is_busy_and_never_happens() -> None:
    """Far more between two shards than the rounds of its time can take: each batch is paid, in doubt because it was begun, or `busy`."""

    async def story(world: World) -> None:
        payer, payee = world.name_in(1, "payer"), world.name_in(2, "payee")
        await world.open(payer, payee, funds=BATCHES * ROWS)
        ids, amounts = world.client._ids, np.ones(ROWS, "<i8").tobytes()
        texts = [SEPARATOR.join([name] * ROWS) for name in (payer, payee)]
        connections = [await world.dial(world.leader(0)) for _ in range(BATCHES)]
        for host in world.cluster.hosts.values():
            host.drive.disk._latency = lambda: LATENCY_SECONDS
        until = world.loop.time() + DEADLINE_SECONDS
        bodies = [[ids.take(ROWS), *texts, amounts] for _ in connections]
        asked = [
            connection.ask(Request(1, "transfers", 0, connection.expires_ms(until), 0, body))
            for connection, body in zip(connections, bodies, strict=True)
        ]
        answers = await asyncio.gather(*asked)
        created = [answer for answer in answers if isinstance(answer, Reply) and answer.body == [CREATED * ROWS]]
        undone = [answer for answer in answers if isinstance(answer, Failure) and not answer.may_have_happened]
        in_doubt = len(answers) - len(created) - len(undone)
        assert created and undone and all(answer.code in ("busy", "overdue") for answer in undone)
        for host in world.cluster.hosts.values():
            host.drive.disk._latency = lambda: 0.0
        await asyncio.sleep(2.0)  # of virtual time: whatever may yet happen does
        posted = (await world.client.account(payee)).posted - BATCHES * ROWS
        assert len(created) * ROWS <= posted <= (len(created) + in_doubt) * ROWS

    play(story, shards=2)
