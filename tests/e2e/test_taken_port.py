"""A node whose port is taken, as that of a copy beside the node itself: it ends before it says a word to the others."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.local import create
from tests.e2e.ports import free_ports
from tests.e2e.programs import ROOT

EXIT_SECONDS = 60.0


def test_a_node_whose_port_is_taken_speaks_with_nobody(tmp_path: Path) -> None:
    """The others would take it for the node's next process, and refuse the one that runs."""
    base = free_ports()
    cluster = create(tmp_path, {"name": "under-test", "nodes": 3, "shards": 1, "replication": 3, "base_port": base})
    with socket.create_server(("127.0.0.1", base)), socket.create_server(("127.0.0.1", base + 1)) as other:
        command = [sys.executable, "-m", "node", "--config", str(tmp_path / "cluster.toml"), "--node", "1"]
        data = ["--data", str(cluster.node(1).data)]
        ended = subprocess.run(
            [*command, *data], cwd=ROOT, capture_output=True, text=True, timeout=EXIT_SECONDS, check=False
        )
        assert ended.returncode == 1 and "address already in use" in ended.stderr
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.accept()
