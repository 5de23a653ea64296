"""Real node processes for tests of a few seconds."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts.local import LocalCluster, create
from tests.e2e.ports import free_ports
from tests.e2e.programs import ROOT

PEER_TOKEN = "between nodes only"


@contextmanager
def running(
    nodes: int,
    shards: int,
    replication: int | None = None,
    prepare: Callable[[LocalCluster], object] = lambda cluster: None,
) -> Iterator[LocalCluster]:
    """A cluster that serves, in a fresh folder on free ports; replicas on every node unless told, peers show a token."""
    folder = Path(tempfile.mkdtemp(prefix="ringpay-test-"))
    settings: dict[str, int | str] = {
        "name": "under-test", "nodes": nodes, "shards": shards, "replication": replication or nodes,
        "peer_token": PEER_TOKEN,
        "base_port": free_ports(nodes),
    }  # fmt: skip
    cluster = create(folder, settings)
    os.environ.setdefault("PYTHONPATH", str(ROOT))  # for the nodes, as the scripts set it
    try:
        prepare(cluster)
        for number in cluster.numbers:
            cluster.start(number)
        asyncio.run(cluster.wait_until_serving())
        yield cluster
    finally:
        cluster.down()
        shutil.rmtree(folder, ignore_errors=True)
