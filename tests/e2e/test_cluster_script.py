"""scripts/cluster among other commands, other programs, interrupts and slips: nothing is left running unseen."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from node.cli.program import EXIT_INTERRUPTED
from scripts.local import LocalCluster, create
from scripts.local.processes import wait_for
from tests.e2e.ports import free_ports
from tests.e2e.programs import ROOT, Outcome, environment, run, script

NODES = 3
SHARDS = 2
SECONDS = 30.0  # for what takes a moment


def do(folder: Path, command: str, *arguments: object) -> Outcome:
    """A command of scripts/cluster, which says what it does in words."""
    outcome = run("cluster", command, *arguments, "--dir", folder)
    assert "Traceback" not in outcome.stderr
    return outcome


def refusal(folder: Path, command: str, *arguments: object) -> str:
    """What a command that fails says."""
    outcome = do(folder, command, *arguments)
    assert outcome.returncode == 1
    return outcome.stderr


def begin(folder: Path, command: str) -> subprocess.Popen[str]:
    """The same, not waited for."""
    program = [script("cluster"), command, "--dir", str(folder)]
    return subprocess.Popen(program, env=environment(), cwd=ROOT, stderr=subprocess.PIPE, text=True)


def rows(folder: Path) -> list[dict[str, Any]]:
    """What status shows, whatever it thinks of it."""
    found: list[dict[str, Any]] = json.loads(do(folder, "status", "-o", "json").stdout)
    return found


def processes(folder: Path) -> list[str]:
    """The command lines of all nodes of a folder, whether their pids are written or not."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().decode(errors="replace").replace("\0", " ")
        except OSError:
            continue
        if f"--data {folder}/node-" in line:
            found.append(line)
    return found


def prepare(folder: Path, base_port: int = 0) -> LocalCluster:
    """A cluster that has not been started yet."""
    port = base_port or free_ports(NODES)
    return create(folder, {"nodes": NODES, "shards": SHARDS, "replication": NODES, "base_port": port})


@pytest.fixture
def prepared(tmp_path: Path) -> Iterator[LocalCluster]:
    """A cluster of its own for one test."""
    cluster = prepare(tmp_path / "it")
    yield cluster
    if cluster.folder.exists():
        cluster.down()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """Three nodes that serve; each test leaves them as it found them."""
    made = prepare(tmp_path_factory.mktemp("cluster") / "it")
    try:
        up = do(made.folder, "up")
        assert up.returncode == 0, up.stderr
        yield made
    finally:
        made.down()


def test_commands_wait_for_each_other(prepared: LocalCluster) -> None:
    """Two that start nodes at the same time would each start their own, and know of one only."""
    folder = os.open(prepared.folder, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    up = begin(prepared.folder, "up")
    assert up.stderr is not None
    assert "another command is at work" in up.stderr.readline()
    assert processes(prepared.folder) == []
    os.close(folder)
    assert up.wait(SECONDS) == 0, up.stderr.read()
    up.stderr.close()


def test_clean_spares_data_in_use(prepared: LocalCluster) -> None:
    """Even when no pid file tells of the process."""
    data = prepared.node(1).data
    data.mkdir()
    with (data / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert f"a process holds {data}" in refusal(prepared.folder, "clean")
        assert (data / "lock").exists()
    assert do(prepared.folder, "clean").returncode == 0
    assert not prepared.folder.exists()


def test_settings_that_cannot_be_read_bind_nobody(cluster: LocalCluster) -> None:
    """Nodes can be ended and looked at after a slip in the settings; what needs these says where it is."""
    settings = cluster.folder / "cluster.toml"
    text = settings.read_text()
    settings.write_text(text + "nodes =\n")
    try:
        assert "cluster.toml" in refusal(cluster.folder, "status")
        assert "serving" in do(cluster.folder, "logs", 1).stdout
        for command in ("pause", "resume", "kill"):
            assert do(cluster.folder, command, 1).returncode == 0
        assert do(cluster.folder, "stop", 2).returncode == 0
        assert "node 3 runs; use down first" in refusal(cluster.folder, "clean")
        assert "node 9 was never started" in refusal(cluster.folder, "kill", 9)
        assert do(cluster.folder, "down").returncode == 0
        assert processes(cluster.folder) == []
    finally:
        settings.write_text(text)
    assert do(cluster.folder, "up").returncode == 0


def test_clean_needs_no_settings(prepared: LocalCluster) -> None:
    """Nor does it look for them."""
    (prepared.folder / "cluster.toml").write_text("nodes =\n")
    assert do(prepared.folder, "clean").returncode == 0
    assert not prepared.folder.exists()


def test_up_starts_nothing_unless_all_ports_are_free(prepared: LocalCluster, tmp_path: Path) -> None:
    """And leaves no folder behind that it has made, so that the next attempt may choose other ports."""
    base_port = prepared.config.cluster.base_port
    fresh = ["--nodes", NODES, "--base-port", base_port]
    with socket.create_server(("127.0.0.1", base_port + NODES - 1)):
        assert f"127.0.0.1:{base_port + NODES - 1} is taken" in refusal(prepared.folder, "up")
        assert "is taken" in refusal(tmp_path / "fresh", "up", *fresh)
    assert not prepared.node(1).log.exists()
    assert not (tmp_path / "fresh").exists()
    assert (prepared.folder / "cluster.toml").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_up_that_is_interrupted_leaves_nothing_running(prepared: LocalCluster, number: signal.Signals) -> None:
    """It says so in one line."""
    up = begin(prepared.folder, "up")
    assert wait_for(lambda: bool(processes(prepared.folder)), SECONDS)
    up.send_signal(number)
    _, said = up.communicate(timeout=SECONDS)
    assert said == "cluster: interrupted; what was started is stopped again\n"
    assert up.returncode == EXIT_INTERRUPTED
    assert processes(prepared.folder) == []


def test_what_fails_to_start_leaves_nothing_running(prepared: LocalCluster) -> None:
    """Neither `up` nor `start` leaves a part of what it was to start."""
    data = prepared.node(NODES).data
    data.mkdir()
    (data / "node.json").write_text('{"format": 1, "cluster": "another"}')
    for command in (["up"], ["start", NODES]):
        said = refusal(prepared.folder, *command)
        assert f"what was started is stopped again: node {NODES} stopped while starting" in said
        assert processes(prepared.folder) == []


def test_a_node_whose_pid_cannot_be_written_does_not_live(prepared: LocalCluster) -> None:
    """Nobody could find it again."""
    prepared.node(1).pid_file.with_suffix(".new").mkdir()
    assert "Is a directory" in refusal(prepared.folder, "start", 1)
    assert wait_for(lambda: not processes(prepared.folder), SECONDS)


def test_another_shape_is_refused_with_the_way_there(cluster: LocalCluster, prepared: LocalCluster) -> None:
    """A cluster that runs must be stopped before it can be cleaned."""
    other = ["--base-port", prepared.config.cluster.base_port + NODES]
    assert "; use down, then clean, or choose another --dir" in refusal(cluster.folder, "up", *other)
    assert "; clean it, or choose another --dir" in refusal(prepared.folder, "up", *other)
    assert "; use down, then clean, then up --faults" in refusal(cluster.folder, "heal")


def test_status_says_what_is_missing(cluster: LocalCluster) -> None:
    """Without a majority no shard has a leader, and nodes that are away lead nothing."""
    for number in (1, 2):
        assert do(cluster.folder, "kill", number).returncode == 0
    try:
        expected = (
            f"cluster: {SHARDS} of {SHARDS} shards have no leader (shards 1, 2); payments over several shards have no"
        )
        assert wait_for(lambda: expected in do(cluster.folder, "status").stderr, SECONDS)
        assert [(row["leads"], row["coordinator"]) for row in rows(cluster.folder)] == [(0, False)] * NODES
    finally:
        assert do(cluster.folder, "up").returncode == 0


def test_status_asks_its_own_nodes_only(cluster: LocalCluster, tmp_path: Path) -> None:
    """Another cluster that has the same ports does not answer for nodes that are stopped."""
    stopped = prepare(tmp_path / "it", cluster.config.cluster.base_port)
    assert refusal(stopped.folder, "status") == "cluster: no node runs; use up\n"
    assert [(row["leads"], row["coordinator"]) for row in rows(stopped.folder)] == [(0, False)] * NODES


def test_paused_nodes_are_told_apart(cluster: LocalCluster) -> None:
    """What would wait for one in vain says so instead; the others are asked as ever."""
    assert do(cluster.folder, "pause", 2).returncode == 0
    try:
        for command in (["start", 2], ["up"]):
            assert refusal(cluster.folder, *command) == "cluster: node 2 is paused; use resume 2\n"
        assert wait_for(lambda: do(cluster.folder, "status").returncode == 4, SECONDS)
        assert sum(row["leads"] for row in rows(cluster.folder) if row["node"] != 2) == SHARDS
    finally:
        assert do(cluster.folder, "resume", 2).returncode == 0


def test_what_is_so_already_is_refused(cluster: LocalCluster) -> None:
    """As stopping a stopped node is."""
    assert refusal(cluster.folder, "start", 1) == "cluster: node 1 runs already\n"
    assert refusal(cluster.folder, "resume", 1) == "cluster: node 1 is not paused\n"
    assert do(cluster.folder, "stop", 1).returncode == 0
    try:
        for command in ("stop", "kill", "pause", "resume"):
            assert refusal(cluster.folder, command, 1) == "cluster: node 1 does not run\n"
    finally:
        assert do(cluster.folder, "start", 1).returncode == 0


def test_a_folder_that_is_gone_holds_no_cluster(prepared: LocalCluster) -> None:
    """Whichever command asks."""
    shutil.rmtree(prepared.folder)
    for command in ("down", "clean", "heal", "status"):
        assert "holds no cluster" in refusal(prepared.folder, command)
    assert not prepared.folder.exists()


def both_statuses(cluster: LocalCluster) -> list[Outcome]:
    """What scripts/cluster and scripts/pay say."""
    pay = run("pay", "status", "-o", "json", addresses=",".join(cluster.addresses))
    return [do(cluster.folder, "status", "-o", "json"), pay]


def test_status_asks_every_node(cluster: LocalCluster) -> None:
    """A frozen node keeps its connections; it is missed at once, and the exit code tells whether all is served without it."""
    assert wait_for(lambda: all(done.returncode == 0 for done in both_statuses(cluster)), SECONDS)
    assert do(cluster.folder, "pause", 3).returncode == 0
    try:
        for done in both_statuses(cluster):
            assert done.returncode in (1, 4)
            assert "node 3 does not answer" in done.stderr
            assert not {3} & {row["node"] for row in json.loads(done.stdout) if row.get("up") or row.get("leads")}
        assert wait_for(lambda: all(done.returncode == 4 for done in both_statuses(cluster)), SECONDS)
        assert do(cluster.folder, "pause", 2).returncode == 0
        without = "shards have no leader"  # the one that is left takes its time to notice that nobody follows it
        assert wait_for(lambda: all(without in done.stderr for done in both_statuses(cluster)), SECONDS)
        assert all(done.returncode == 1 for done in both_statuses(cluster))
    finally:
        for number in (2, 3):
            do(cluster.folder, "resume", number)
    assert wait_for(lambda: all(done.returncode == 0 for done in both_statuses(cluster)), SECONDS)
