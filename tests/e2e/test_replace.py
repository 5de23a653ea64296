"""`cluster replace N` on real processes: a lost folder under load, interruptions, damaged files."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scripts.local import LocalCluster
from tests.e2e.nodes import running
from tests.e2e.programs import environment, script

SECONDS = 100.0  # a bound for a busy machine
NAMES = [f"users:{number}" for number in range(8)]
FUNDS = 1_000_000


def command(cluster: LocalCluster, *words: str) -> subprocess.CompletedProcess[str]:
    """Runs scripts/cluster to its end."""
    whole = [script("cluster"), *words, "--dir", str(cluster.folder)]
    return subprocess.run(whole, env=environment(), capture_output=True, text=True, timeout=SECONDS, check=False)


@contextmanager
def payments(cluster: LocalCluster) -> Iterator[list[int]]:
    """Customers pay all the while in a thread of their own; the list counts what was acknowledged."""
    paid = [0]
    is_over = threading.Event()

    async def pay() -> None:
        async with cluster.client(timeout=20.0) as client:
            while not is_over.is_set():
                for debit, credit in zip(NAMES, [*NAMES[1:], NAMES[0]], strict=True):
                    await client.transfer(debit, credit, 1)
                    paid[0] += 1

    thread = threading.Thread(target=lambda: asyncio.run(pay()))
    thread.start()
    try:
        yield paid
    finally:
        is_over.set()
        thread.join(SECONDS)
    assert not thread.is_alive()


async def open_accounts(cluster: LocalCluster) -> None:
    """With money on all of them."""
    async with cluster.client() as client:
        await client.create_account("world", "EUR", minimum_balance=None)
        for name in NAMES:
            await client.create_account(name, "EUR")
            await client.transfer("world", name, FUNDS)


async def check(cluster: LocalCluster, numbers: list[int]) -> None:
    """Nothing is missing, and the replicas that live agree."""
    async with cluster.client(addresses=[cluster.addresses[number - 1] for number in numbers]) as client:
        accounts = await client.accounts(NAMES)
        assert sum(account.posted for account in accounts if account is not None) == FUNDS * len(NAMES)
        report = await client.audit()
        assert report.balanced
        for shard in report.shards:
            assert len({digest for digest in shard.digests.values() if digest is not None}) == 1


def test_a_lost_folder_under_load() -> None:
    """Payments go on while it is replaced; then another node dies, and what the new folder has acknowledged is all there."""
    with running(3, 3) as cluster:
        asyncio.run(open_accounts(cluster))
        with payments(cluster) as paid:
            cluster.kill(2)
            shutil.rmtree(cluster.node(2).data)
            ended = command(cluster, "replace", "2")
            assert ended.returncode == 0, ended.stdout + ended.stderr
            assert "4 of 4 replicas let go" in ended.stdout and "4 of 4 replicas taken in" in ended.stdout
        assert paid[0] > 10
        cluster.kill(1)
        asyncio.run(check(cluster, [2, 3]))


def test_an_interrupted_command_is_run_again() -> None:
    """Wherever it was; in the end it says what it always says, and once more it refuses: the node runs."""
    with running(3, 2) as cluster:
        asyncio.run(open_accounts(cluster))
        cluster.kill(3)
        shutil.rmtree(cluster.node(3).data)
        whole = [script("cluster"), "replace", "3", "--dir", str(cluster.folder)]
        for seen in ("replicas let go", "replicas taken in"):
            with subprocess.Popen(whole, env=environment(), stdout=subprocess.PIPE, text=True) as process:
                assert process.stdout is not None
                next(line for line in process.stdout if seen in line)
                process.send_signal(signal.SIGTERM)
                assert process.wait(SECONDS) in (0, 130)
        ended = command(cluster, "replace", "3")
        assert (
            ended.returncode == 0 and "has its place again" in ended.stdout
        ) or "runs; stop it first" in ended.stderr
        asyncio.run(cluster.wait_until_caught_up())
        again = command(cluster, "replace", "3")
        assert again.returncode == 1 and "node 3 runs; stop it first" in again.stderr
        asyncio.run(check(cluster, [1, 2, 3]))


def test_the_old_folder_is_kept_and_refused() -> None:
    """Somebody puts it back: the node says why it stops, in a sentence."""
    with running(3, 1) as cluster:
        asyncio.run(open_accounts(cluster))
        cluster.kill(2)
        ended = command(cluster, "replace", "2")
        assert ended.returncode == 0 and "the old data folder is kept" in ended.stdout, ended.stdout + ended.stderr
        kept = cluster.folder / "node-2.lost-1"
        cluster.stop(2)
        shutil.rmtree(cluster.node(2).data)
        kept.rename(cluster.node(2).data)
        ended = command(cluster, "start", "2")
        assert ended.returncode in (0, 1)
        node = cluster.node(2)
        assert node.wait_until_gone(SECONDS), "it stops when the others have refused it"
        text = node.log.read_text()
        assert "came back with another data folder" in text and "cluster replace 2" in text and "Traceback" not in text
        ended = command(cluster, "replace", "2")
        assert ended.returncode == 0, ended.stdout + ended.stderr
        asyncio.run(check(cluster, [1, 2, 3]))


def test_too_few_others_run() -> None:
    """The command says which groups wait, and what to do."""
    with running(3, 1) as cluster:
        cluster.kill(2)
        cluster.down()
        ended = command(cluster, "replace", "2")
        assert ended.returncode == 1 and "start nodes 1, 3 first" in ended.stderr


def overwrite(name: str, content: bytes) -> Callable[[Path], None]:
    """Spoils a file of the folder."""

    def spoil(data: Path) -> None:
        (data / name).write_bytes(content)

    return spoil


DAMAGES: dict[str, Callable[[Path], None]] = {
    "node.json torn": overwrite("node.json", b'{"format": 1, "clus'),
    "log no database": overwrite("log.db", b"nothing of the kind" * 900),
    "shard no database": overwrite("shard-0001.db", b"nothing of the kind" * 900),
    "a shard's page": lambda data: _spoil_page(data / "shard-0001.db"),
}


def _spoil_page(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2 :] = os.urandom(len(content) - len(content) // 2)
    path.write_bytes(content)


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """One whose node 3 is damaged and replaced over and over."""
    with running(3, 1) as cluster:
        asyncio.run(open_accounts(cluster))
        yield cluster


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_files(cluster: LocalCluster, name: str) -> None:
    """The node refuses in a sentence that names the command, and the command brings it back."""
    cluster.stop(3)
    DAMAGES[name](cluster.node(3).data)
    before = len(cluster.node(3).log.read_text())
    ended = command(cluster, "start", "3")
    said = cluster.node(3).log.read_text()[before:]
    assert ended.returncode == 1, said
    assert "scripts/cluster replace 3" in said and "Traceback" not in said, said
    ended = command(cluster, "replace", "3")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    asyncio.run(check(cluster, [1, 2, 3]))
