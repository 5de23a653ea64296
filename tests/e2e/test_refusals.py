"""A node that must not start says why on stderr and leaves with exit code 2."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.nodes import running
from tests.e2e.ports import free_ports
from tests.e2e.programs import ROOT

WAIT_SECONDS = 60.0  # a bound for a busy machine


def configure(folder: Path, **settings: object) -> Path:
    """The project's own settings with some changed."""
    settings = {"nodes": 1, "replication": 1, "shards": 1} | settings
    settings["base_port"] = settings.get("base_port") or free_ports(1)
    text = (ROOT / "cluster.toml").read_text()
    for name, value in settings.items():
        written = json.dumps(value)
        text = re.sub(rf"(?m)^{name}\s*=\s*(\"[^\"]*\"|\S+)", lambda _, name=name, to=written: f"{name} = {to}", text)  # type: ignore[misc]
    path = folder / "cluster.toml"
    path.write_text(text)
    return path


def start(config: Path, data: Path, *flags: str, node: str = "1") -> subprocess.CompletedProcess[str]:
    """Runs a node to its end."""
    command = [sys.executable, *flags, "-P", "-m", "node", "--config", str(config), "--node", node, "--data", str(data)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=WAIT_SECONDS, cwd=data.parent, check=False
    )


def assert_refused(ended: subprocess.CompletedProcess[str], text: str) -> None:
    """One clear sentence, no traceback, exit code 2."""
    assert ended.returncode == 2, ended.stderr
    assert "refused to start" in ended.stderr and text in ended.stderr, ended.stderr
    assert "Traceback" not in ended.stderr, ended.stderr


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of a node that ran and stopped, beside the settings it ran with."""
    folder = tmp_path_factory.mktemp("used")
    with running(1, 1) as cluster:
        cluster.stop(1)
        (folder / "cluster.toml").write_bytes((cluster.folder / "cluster.toml").read_bytes())
        (cluster.folder / "node-1").rename(folder / "data")
    return folder


def copy(used: Path, to: Path) -> Path:
    """A copy of the used data folder."""
    data = to / "data"
    data.mkdir()
    for path in (used / "data").iterdir():
        (data / path.name).write_bytes(path.read_bytes())
    return data


def overwrite(name: str, content: bytes) -> Callable[[Path], None]:
    """Replaces a file of the data folder."""

    def change(data: Path) -> None:
        (data / name).write_bytes(content)

    return change


def make_newer(data: Path) -> None:
    """As a later version would have written it."""
    identity = json.loads((data / "node.json").read_text())
    (data / "node.json").write_text(json.dumps(identity | {"format": 99}))


def run_sql(name: str, statement: str) -> Callable[[Path], None]:
    """Changes a database of the data folder."""

    def change(data: Path) -> None:
        connection = sqlite3.connect(data / name)
        connection.execute(statement)
        connection.commit()
        connection.close()

    return change


SPOILT: dict[str, tuple[Callable[[Path], None], str]] = {
    "identity damaged": (overwrite("node.json", b"{"), "node.json: damaged"),
    "identity of another shape": (overwrite("node.json", b"[1]"), "node.json: damaged"),
    "identity lost": (lambda data: (data / "node.json").unlink(), "foreign or damaged"),
    "folder newer": (make_newer, "newer version"),
    "log newer": (run_sql("log.db", "UPDATE stamp SET format = 99"), "log.db: written by a newer version"),
    "log of another node": (run_sql("log.db", "UPDATE stamp SET owner = 'x node 9'"), "log.db: belongs to x node 9"),
    "log no database": (overwrite("log.db", b"nothing of the kind" * 900), "log.db: file is not a database"),
    "shard no database": (overwrite("shard-0001.db", b"nothing of the kind" * 900), "shard-0001.db: file is not a database"),
    "shard newer": (run_sql("shard-0000.db", "UPDATE stamp SET format = 99"), "shard-0000.db: written by a newer"),
    "shard with a damaged row": (
        run_sql("shard-0001.db", "INSERT INTO rows_machine VALUES(0, 1, x'00')"), "the rows of machine are not those that were written"),
}  # fmt: skip


@pytest.mark.parametrize("name", SPOILT)
def test_a_spoilt_data_folder(used: Path, tmp_path: Path, name: str) -> None:
    """Damaged, foreign or newer: each says which file."""
    spoil, text = SPOILT[name]
    data = copy(used, tmp_path)
    spoil(data)
    assert_refused(start(used / "cluster.toml", data), text)


def test_a_folder_of_another_cluster(used: Path, tmp_path: Path) -> None:
    """Or of another number of shards."""
    data = copy(used, tmp_path)
    assert_refused(start(configure(tmp_path, name="elsewhere"), data), "belongs to cluster 'under-test'")
    assert_refused(start(configure(tmp_path, name="under-test", shards=2), data), "belongs to shards 1")


def test_a_folder_with_other_databases(tmp_path: Path) -> None:
    """Nothing is created in it."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "photos.db").write_bytes(b"")
    assert_refused(start(configure(tmp_path), data), "foreign or damaged")
    assert not (data / "log.db").exists()


def test_a_folder_in_use(tmp_path: Path) -> None:
    """Two processes on one folder would be two truths."""
    with running(1, 1) as cluster:
        assert_refused(start(cluster.folder / "cluster.toml", cluster.folder / "node-1"), "another process uses it")


def test_a_port_in_use(tmp_path: Path) -> None:
    """Another program listens there already."""
    with running(1, 1) as cluster:
        config = configure(tmp_path, base_port=cluster.config.cluster.base_port)
        ended = start(config, tmp_path / "data")
        assert ended.returncode in (1, 2) and "ddress already in use" in ended.stderr


def test_python_without_checks(tmp_path: Path) -> None:
    """Assertions keep the books right."""
    assert_refused(start(configure(tmp_path), tmp_path / "data", "-O"), "start without -O")


def test_a_file_instead_of_a_folder(tmp_path: Path) -> None:
    """The path is named."""
    (tmp_path / "data").write_text("")
    assert_refused(start(configure(tmp_path), tmp_path / "data"), "data")


@pytest.mark.parametrize("node", ["0", "2"])
def test_a_number_that_is_no_node(tmp_path: Path, node: str) -> None:
    """Nodes count from 1."""
    assert_refused(start(configure(tmp_path), tmp_path / "data", node=node), "expected 1 to 1")


SETTINGS: dict[str, tuple[str, str]] = {
    "no TOML": ("[cluster", "cluster.toml"),
    "no text": ("\udcff", "cluster.toml"),
    "no name": ("[cluster]\nshards = 1", "cluster.name: missing"),
    "unknown section": ("[cluster]\nname = 'x'\n[colour]", "[colour]: no such section"),
    "unknown setting": ("[cluster]\nname = 'x'\ncolour = 1", "cluster.colour: no such setting"),
    "wrong type": ("[cluster]\nname = 'x'\nshards = 'many'", "cluster.shards: expected int"),
    "truth is no number": ("[cluster]\nname = 'x'\nshards = true", "cluster.shards: expected int"),
    "no shards": ("[cluster]\nname = 'x'\nshards = 0", "cluster.shards: expected 1 to"),
    "too many replicas": ("[cluster]\nname = 'x'\nnodes = 3\nreplication = 5", "cluster.replication: expected"),
    "a port that is none": ("[cluster]\nname = 'x'\nbase_port = 65535", "cluster.base_port: expected"),
    "no such protocol": ("[cluster]\nname = 'x'\ncommit = '4pc'", "cluster.commit: expected"),
    "elections too quick": ("[cluster]\nname = 'x'\n[timing]\nelection_ticks = 3", "timing.election_ticks: expected"),
    "a section that is a value": ("cluster = 5", "cluster: expected a section"),
}  # fmt: skip


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_that_cannot_be(tmp_path: Path, name: str) -> None:
    """The setting and what was expected."""
    text, expected = SETTINGS[name]
    config = tmp_path / "cluster.toml"
    config.write_bytes(text.encode(errors="surrogateescape"))
    assert_refused(start(config, tmp_path / "data"), expected)


def test_settings_that_are_not_there(tmp_path: Path) -> None:
    """The file is named."""
    assert_refused(start(tmp_path / "none.toml", tmp_path / "data"), "none.toml")
