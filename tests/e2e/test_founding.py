"""A cluster whose nodes are started one after the other."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.local import LocalCluster, create
from tests.e2e.ports import free_ports
from tests.e2e.test_replace import command


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    """It is made, and nothing runs."""
    folder = Path(tempfile.mkdtemp(prefix="ringpay-test-"))
    port = free_ports()
    cluster = create(folder, {"nodes": 3, "shards": 1, "replication": 3, "base_port": port})
    try:
        yield cluster
    finally:
        cluster.down()
        shutil.rmtree(folder)


def test_the_commands_say_who_is_missing(cluster: LocalCluster) -> None:
    """Until the last node has come; then all is served, and any two are enough."""
    for number in (1, 2):
        ended = command(cluster, "start", str(number))
        assert ended.returncode == 0, ended.stderr
        assert "waits" in ended.stderr and "3 to be started" in ended.stderr
    status = command(cluster, "status")
    assert status.returncode == 1 and "expected node 3 to be started" in status.stderr
    assert '"event": "waiting"' in cluster.node(1).log.read_text()
    ended = command(cluster, "start", "3")
    assert ended.returncode == 0 and not ended.stderr
    asyncio.run(cluster.wait_until_serving())
    cluster.kill(1)
    status = command(cluster, "status")
    assert "node 1 does not answer" in status.stderr and "founded" not in status.stderr
