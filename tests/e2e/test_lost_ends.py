"""Write-ahead logs that somebody has deleted while all nodes were down."""

from __future__ import annotations

import asyncio
import subprocess
import time

from scripts.local import LocalCluster
from tests.e2e.nodes import running
from tests.e2e.programs import environment, script

SECONDS = 60.0
NAMES = [f"users:{number}" for number in range(8)]


async def fill(cluster: LocalCluster) -> None:
    """Accounts, payments, and then nothing more under way."""
    async with cluster.client() as client:
        await client.create_account("world", "EUR", minimum_balance=None)
        for name in NAMES:
            await client.create_account(name, "EUR")
            await client.transfer("world", name, 100)
    deadline = time.monotonic() + SECONDS
    while (view := await cluster.view()).committed != view.reached:
        assert time.monotonic() < deadline, "all have the same"
        await asyncio.sleep(0.1)


async def check(cluster: LocalCluster) -> None:
    """It serves, and everything is there."""
    await cluster.wait_until_serving()
    async with cluster.client(timeout=SECONDS) as client:
        assert (await client.account("world")).posted == -100 * len(NAMES)
        assert (await client.audit()).balanced


def lose(cluster: LocalCluster, *numbers: int) -> None:
    """All nodes die, node 1 last: no other one is elected that it does not know of."""
    for number in reversed(cluster.numbers):
        cluster.kill(number)
    for number in numbers:
        (cluster.node(number).data / "log.db-wal").unlink()
    cluster.start(*cluster.numbers)


def test_one_node_that_has_everything_brings_two_back() -> None:
    """They have lost the end of their logs, and know how far they had been: they vote for it."""
    with running(3, 2) as cluster:
        asyncio.run(fill(cluster))
        lose(cluster, 2, 3)
        asyncio.run(check(cluster))


def test_where_all_have_lost_their_end_it_is_said() -> None:
    """Nothing is served without what is lost; the status, the logs and the refused replacement say what helps."""
    with running(3, 1) as cluster:
        asyncio.run(fill(cluster))
        lose(cluster, 1, 2, 3)
        deadline = time.monotonic() + SECONDS
        while not all(
            '"nobody has what was lost"' in cluster.node(number).log.read_text() for number in cluster.numbers
        ):
            assert time.monotonic() < deadline, "they say so"
            time.sleep(0.2)

        def say(*words: str) -> str:
            command = [script("cluster"), *words, "--dir", str(cluster.folder)]
            ended = subprocess.run(
                command, env=environment(), capture_output=True, text=True, timeout=SECONDS, check=False
            )
            assert ended.returncode == 1
            return ended.stdout + ended.stderr

        assert "has lost the end of its log" in say("status")
        cluster.kill(2)
        assert "newest data folder" in say("replace", "2")
