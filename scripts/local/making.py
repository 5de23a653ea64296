"""How a folder comes to hold a cluster: made, opened again, or made for a while."""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from node.cli.program import ENDS
from node.config import ConfigError, load
from scripts.environment.prepare import ROOT
from scripts.local.cluster import LocalCluster
from scripts.local.folder import MARKER, STOP_SECONDS, ClusterError, open_folder
from scripts.local.processes import free_base_port

USUAL_PORT = 7101
PORT_STEP = 50  # between the ports that are tried when the usual ones are taken
LAST_PORT = 30_000  # above, the system gives ports to outgoing connections


def create(folder: Path, settings: Mapping[str, int | str]) -> LocalCluster:
    """Writes `cluster.toml` from the project's own and the settings given. Raises ClusterError for a foreign folder."""
    folder = folder.resolve()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ClusterError(f"{folder} holds other things; choose a folder that is empty or not there yet")
    text = (ROOT / "cluster.toml").read_text(encoding="utf-8")
    settings = {"peer_token": secrets.token_hex(16), **settings}  # so that no other local program can pass for a node
    for name, value in settings.items():
        written = json.dumps(value, ensure_ascii=False)  # TOML writes texts, numbers, true and false alike
        quoted = written.replace("\\", r"\\")
        text, count = re.subn(rf"(?m)^({name}\s*=\s*)(\"[^\"]*\"|\S+)", rf"\g<1>{quoted}", text)
        assert count == 1, name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).write_text("scripts/cluster --dir made this folder and may delete it\n")
    with open(folder / "cluster.toml", "x", encoding="utf-8", opener=for_owner) as file:
        file.write(text)
    try:
        return open_cluster(folder)
    except ClusterError:
        shutil.rmtree(folder)
        raise


def for_owner(path: str, flags: int) -> int:
    """Opens a file that only its owner may read: it holds tokens."""
    return os.open(path, flags, 0o600)


def open_cluster(folder: Path) -> LocalCluster:
    """The cluster of a folder. Raises ClusterError when there is none."""
    folder = open_folder(folder).folder
    try:
        return LocalCluster(folder, load(folder / "cluster.toml"))
    except ConfigError as error:
        raise ClusterError(str(error)) from error


@asynccontextmanager
async def temporary(
    nodes: int,
    shards: int,
    replication: int,
    folder: Path | None = None,
    *,
    base_port: int | None = None,
    settings: Mapping[str, int | str] | None = None,
    is_kept: Callable[[], bool] = lambda: False,
) -> AsyncIterator[LocalCluster]:
    """A cluster that serves, in a fresh folder, on free ports unless one is named; stopped and, unless it is kept, deleted afterwards."""
    place = Path(tempfile.mkdtemp(prefix="ringpay-")) if folder is None else folder
    if base_port is None:
        first = USUAL_PORT + os.getpid() % 300 * PORT_STEP  # scripts that start together do not race for the same ports
        base_port = free_base_port("127.0.0.1", nodes, range(first, LAST_PORT, PORT_STEP))
    cluster = create(
        place,
        {"name": f"ringpay-{os.getpid()}", "nodes": nodes, "shards": shards, "replication": replication,
         "base_port": base_port, **(settings or {})},
    )  # fmt: skip
    task = asyncio.current_task()
    assert task is not None
    for stop in ENDS[1:]:  # a script that is stopped still stops its nodes
        asyncio.get_running_loop().add_signal_handler(stop, task.cancel)
    try:
        cluster.start(*cluster.numbers)
        await cluster.wait_until_serving()
        yield cluster
    finally:
        for node in cluster.nodes():
            node.send(signal.SIGKILL)  # nothing of it is kept
        for node in cluster.nodes():
            node.wait_until_gone(STOP_SECONDS)
        if not is_kept():
            cluster.clean()
