"""A data folder that was moved to another disk, beside a node that is dead for ever."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from protocol.errors import Unreachable
from scripts.local import LocalCluster
from tests.e2e.nodes import running
from tests.e2e.test_replace import command

PAID = 3


async def pay(cluster: LocalCluster, timeout: float = 60.0) -> int:
    """Some payments; what has come in altogether."""
    async with cluster.client(timeout=timeout) as client:
        await client.create_account("world", "EUR", minimum_balance=None)
        await client.create_account("shop", "EUR")
        for _ in range(PAID):
            await client.transfer("world", "shop", 1)
        return (await client.account("shop")).posted


def copy(cluster: LocalCluster, number: int) -> Path:
    """The node's folder as files on another disk are: none of them is the same."""
    place = cluster.folder / "elsewhere"
    shutil.copytree(cluster.node(number).data, place)
    return place


def put_back(cluster: LocalCluster, number: int, place: Path) -> None:
    """In place of the node's folder."""
    shutil.rmtree(cluster.node(number).data)
    place.rename(cluster.node(number).data)


def test_a_moved_folder_counts_when_its_operator_says_so() -> None:
    """Before, it waits for the word of a node that is gone, and names the command."""
    with running(3, 1) as cluster:
        assert asyncio.run(pay(cluster)) == PAID
        cluster.kill(1)
        cluster.down()
        put_back(cluster, 2, copy(cluster, 2))
        for number in (2, 3):
            assert command(cluster, "start", str(number)).returncode == 0
        with pytest.raises(Unreachable):
            asyncio.run(pay(cluster, timeout=3.0))
        assert "scripts/cluster start 2 --moved" in cluster.node(2).log.read_text()
        cluster.stop(2)
        ended = command(cluster, "start", "2", "--moved")
        assert ended.returncode == 0, ended.stderr
        assert cluster.node(2).state() == "running"
        assert asyncio.run(pay(cluster)) == 2 * PAID
        assert '"folder taken for moved"' in cluster.node(2).log.read_text()
        cluster.stop(2)
        assert command(cluster, "start", "2").returncode == 0
        assert asyncio.run(pay(cluster)) == 3 * PAID, "once is enough"


def test_what_a_peer_proves_counts_more() -> None:
    """The operator is mistaken: the folder is an older copy, and those who are there know it."""
    with running(3, 1) as cluster:
        cluster.stop(2)
        old = copy(cluster, 2)
        assert command(cluster, "start", "2").returncode == 0
        assert asyncio.run(pay(cluster)) == PAID
        cluster.stop(2)
        put_back(cluster, 2, old)
        before = len(cluster.node(2).log.read_text())
        assert command(cluster, "start", "2", "--moved").returncode == 0
        assert asyncio.run(pay(cluster)) == 2 * PAID
        cluster.stop(2)
        said = cluster.node(2).log.read_text()[before:]
        assert '"folder taken for moved"' in said and '"is_old": true' in said
