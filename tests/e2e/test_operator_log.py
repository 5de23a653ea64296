"""The logs of real nodes tell somebody on call what has happened and why, and `cluster logs` shows them as one story."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from protocol.client import Client
from protocol.errors import RingpayError
from scripts.local import LocalCluster
from scripts.local.processes import wait_for
from scripts.local.view import View
from tests.e2e.hostile_program import CLIENT, Connection
from tests.e2e.nodes import PEER_TOKEN, running
from tests.e2e.programs import Outcome, run

SECONDS = 30.0  # for what takes a moment
SHARDS = 2
REQUESTS = 200
TOKEN = "guessed by a stranger"
HOSTILE = 'x"}\n{"event": "stopped"}\x1b[2J'


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Three nodes that tell everything; each test leaves them serving."""

    def prepare(made: LocalCluster) -> None:
        settings = made.folder / "cluster.toml"
        settings.write_text(settings.read_text().replace('level = "info"', 'level = "debug"'))

    with running(3, SHARDS, prepare=prepare) as made:
        yield made


class Reader:
    """Somebody who reads the logs from now on."""

    def __init__(self, cluster: LocalCluster) -> None:
        self._cluster = cluster
        self._read = {number: len(self._lines(number)) for number in cluster.numbers}

    def _lines(self, number: int) -> list[str]:
        return self._cluster.node(number).log.read_text().splitlines()

    def told(self, number: int, event: str, **fields: object) -> list[dict[str, Any]]:
        """A node's lines of one event in which these fields are so; all of its lines must be whole ones of its own."""
        lines = [json.loads(line) for line in self._lines(number)[self._read[number] :]]
        assert all(line["node"] == number and line["timestamp"] for line in lines)
        return [line for line in lines if line["event"] == event and fields.items() <= line.items()]


def leader_seen(cluster: LocalCluster, number: int) -> int:
    """Who leads shard 1, as a node's log tells since its last start."""
    leader = 0
    for line in map(json.loads, cluster.node(number).log.read_text().splitlines()):
        if line["event"] == "starting":
            leader = 0
        elif line.get("group") == 1:
            leader = number if line["event"] == "election won" else line.get("leader", leader)
    return leader


def logs(cluster: LocalCluster, *arguments: object) -> Outcome:
    """What the command shows."""
    return run("cluster", "logs", *arguments, "--dir", cluster.folder)


def lines_of(cluster: LocalCluster) -> int:
    """Of all logs."""
    return sum(len(cluster.node(number).log.read_text().splitlines()) for number in cluster.numbers)


def served(cluster: LocalCluster) -> View:
    return asyncio.run(cluster.wait_until_serving())


def test_a_killed_leader(cluster: LocalCluster) -> None:
    """By the survivors' logs alone: who led the shard, why that ended, who asked for votes, and who leads it now."""
    asyncio.run(cluster.wait_until_at_home())
    victim = served(cluster).leaders[1]
    others = [number for number in cluster.numbers if number != victim]
    assert wait_for(lambda: all(leader_seen(cluster, number) == victim for number in others), SECONDS)
    told = Reader(cluster).told
    cluster.kill(victim)

    def winners() -> list[int]:
        return [number for number in others if told(number, "election won", group=1)]

    assert wait_for(lambda: bool(winners()), SECONDS)
    (new,) = winners()
    (other,) = [number for number in others if number != new]
    assert wait_for(lambda: told(other, "leader changed", group=1, leader=new, was=victim) != [], SECONDS)
    for number in others:
        (lost,) = told(number, "link lost", peer=victim)
        assert lost["reason"] == "the connection broke" and lost["level"] == "warning"
    (begun,) = told(new, "campaign begun", group=1)
    (won,) = told(new, "election won", group=1)
    reasons = ("the connection to the leader broke", f"node {other} asked for votes with a log that is shorter")
    assert begun["was"] == victim and begun["reason"] in reasons
    assert begun["term"] == won["term"] == told(other, "leader changed", group=1, leader=new)[0]["term"]
    cluster.start(victim)
    assert served(cluster).is_serving
    assert wait_for(lambda: all(told(number, "link up", peer=victim) for number in others), SECONDS)


def test_a_start_and_a_stop(cluster: LocalCluster) -> None:
    """What it is and found, when it served, that it was asked to stop, and what it gave away first."""
    served(cluster)
    asyncio.run(cluster.wait_until_at_home())
    told = Reader(cluster).told
    cluster.stop(2)
    assert len(told(2, "stopping")) == len(told(2, "stopped")) == 1
    asked = told(2, "handover asked", reason="this node stops")
    assert asked and len(told(2, "handover finished")) >= len(asked)
    cluster.start(2)
    served(cluster)
    starting, restored, serving = (told(2, event)[-1] for event in ("starting", "node restored", "serving"))
    assert starting["folder"] == str(cluster.node(2).data) and starting["cluster"].startswith("under-test/")
    assert starting["version"] and restored["replicas"] == SHARDS + 1 and restored["entries"] > 0
    assert serving["seconds"] >= restored["seconds"] > 0
    replicas = told(2, "replica restored")[-SHARDS - 1 :]
    assert sorted(line["group"] for line in replicas) == list(range(SHARDS + 1))


async def knock(cluster: LocalCluster, count: int) -> None:
    """So many clients with a token that is not wanted, one with a name that is no name."""
    address = cluster.addresses[0]
    clients = [Client(address, token=TOKEN, timeout=0.2) for _ in range(count)]
    clients.append(Client(address, cluster=HOSTILE, timeout=0.2))
    for client in clients:
        with pytest.raises(RingpayError):
            await client.account("a")
        await client.close()


async def babble(cluster: LocalCluster) -> None:
    """Somebody who speaks another protocol, and a client that does so later on."""
    for hello in ([], [CLIENT]):
        connection = await Connection.open(cluster.addresses[0], *hello)
        connection.send(b"GET / HTTP/1.1\r\n\r\n")
        await connection.read_until_closed()


def test_who_speaks_another_protocol_is_told(cluster: LocalCluster) -> None:
    """With the address, and once."""
    served(cluster)
    told = Reader(cluster).told
    asyncio.run(babble(cluster))
    assert wait_for(lambda: len(told(1, "client refused")) >= 2, SECONDS)
    assert [line["code"] for line in told(1, "client refused")] == ["frame_too_large"] * 2


def test_strangers_are_told_without_their_secrets(cluster: LocalCluster) -> None:
    """And without lines that they have made up; how many there were beyond some a second is counted."""
    served(cluster)
    told = Reader(cluster).told
    asyncio.run(knock(cluster, 40))

    def count() -> int:
        left_out = sum(line["count"] for line in told(1, "clients left out"))
        return len(told(1, "client refused")) + int(left_out)

    assert wait_for(lambda: count() > 40, SECONDS)
    refused = told(1, "client refused", code="not_authenticated")
    assert len(refused) >= 5 and all(line["address"].startswith("127.0.0.1:") for line in refused)
    text = cluster.node(1).log.read_text()
    assert TOKEN not in text and PEER_TOKEN not in text and not told(1, "stopped")


def test_payments_leave_no_line(cluster: LocalCluster) -> None:
    """However many."""

    async def pay() -> None:
        async with cluster.client() as client:
            await client.create_account("world:EUR", "EUR", minimum_balance=None)
            await client.create_account("a", "EUR")
            for _ in range(REQUESTS // 2):
                await client.transfer("world:EUR", "a", 1)
                await client.account("a")

    served(cluster)
    asyncio.run(cluster.wait_until_at_home())
    before = lines_of(cluster)
    asyncio.run(pay())
    assert lines_of(cluster) - before < REQUESTS / 10, "a busy machine may lose sight of a peer meanwhile, and no more"


def test_the_command_shows_all_logs_as_one(cluster: LocalCluster) -> None:
    """In the order of time, for people or as they stand there; of some nodes, the last lines, or what asks for more."""
    served(cluster)
    asyncio.run(knock(cluster, 1))
    assert wait_for(lambda: '"warning"' in cluster.node(1).log.read_text(), SECONDS)
    shown = logs(cluster, "--lines", 10_000)
    assert shown.returncode == 0, shown.stderr
    lines = shown.stdout.splitlines()
    assert {" ".join(line.split()[1:3]) for line in lines} == {"node 1", "node 2", "node 3"}
    assert lines == sorted(lines, key=lambda line: line[:27])
    assert any("info     serving               address=127.0.0.1:" in line for line in lines)
    raw = [json.loads(line) for line in logs(cluster, "--lines", 10_000, "-o", "json").stdout.splitlines()]
    assert len(raw) >= len(lines) and [line["timestamp"] for line in raw] == sorted(line["timestamp"] for line in raw)
    assert len(logs(cluster, 2, "--lines", 3).stdout.splitlines()) == 3
    assert all(" node 2 " in line for line in logs(cluster, 2).stdout.splitlines())
    calm = logs(cluster, "--level", "warning", "--lines", 10_000).stdout.splitlines()
    assert 0 < len(calm) < len(lines) and all(" warning " in line or " error " in line for line in calm)
    assert logs(cluster, 9).returncode == 1


def test_lines_of_others_stay_where_they_stood(cluster: LocalCluster) -> None:
    """A trace that the interpreter has left, or half a line: shown without what commands a terminal."""
    log = cluster.node(3).log
    cluster.pause(3)  # or a line of its own would come between
    try:
        with log.open("a") as file:
            file.write('Fatal Python error: \x1b[2J Segmentation fault\n{"event": "half')
        shown = logs(cluster, 3, "--lines", 1).stdout
        assert "node 3" in shown and "Fatal Python error: \\x1b[2J Segmentation fault" in shown and "half" not in shown
        with log.open("a") as file:
            file.write('"}\n')
        assert '{"event": "half"}' in logs(cluster, 3, "--lines", 1).stdout
        log.write_text(
            "".join(line for line in log.read_text().splitlines(keepends=True) if line.startswith('{"timestamp"'))
        )
    finally:
        cluster.resume(3)


def test_the_command_names_all_events() -> None:
    """Without any cluster."""
    shown = run("cluster", "logs", "--events")
    assert shown.returncode == 0 and "leader changed (info): group, term, leader, was" in shown.stdout
    assert "stopped by itself (error): cause, reason, trace" in shown.stdout
