"""Tokens: who holds one, who may read it, and what becomes of one that nobody asked for."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.local import create, open_cluster
from tests.e2e.nodes import PEER_TOKEN, running
from tests.e2e.ports import free_ports
from tests.e2e.programs import Outcome, run

TOKEN = """it's "quoted" \\ und größer 🔑"""


def up(folder: Path, *arguments: object) -> Outcome:
    """A node of a cluster of its own."""
    return run("cluster", "up", "--dir", folder, "--nodes", 1, "--shards", 1, *arguments)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cluster whose clients must show a token."""
    made = tmp_path_factory.mktemp("tokens") / "it"
    port = free_ports(1)
    done = up(made, "--base-port", port, "--client-token", TOKEN)
    assert done.returncode == 0, done.stderr
    try:
        yield made
    finally:
        run("cluster", "down", "--dir", made)


def create_account(folder: Path, name: str, token: str) -> Outcome:
    """Opens an account, as somebody who shows a token."""
    return run("pay", "account", "create", name, addresses=open_cluster(folder).addresses[0], token=token)


def test_up_sets_a_token_that_clients_must_show(folder: Path) -> None:
    """Whatever characters it has; the cluster's own commands know it."""
    assert create_account(folder, "shown", TOKEN).returncode == 0
    for wrong in ("", TOKEN[:-1]):
        refused = create_account(folder, "refused", wrong)
        assert refused.returncode == 1 and "not accepted" in refused.stderr
    assert run("cluster", "status", "--dir", folder).returncode == 0
    bench = ["--addresses", open_cluster(folder).addresses[0], "--transfer-count", 100, "--account-count", 10]
    assert run("bench", *bench, token=TOKEN).returncode == 0


def test_up_again_keeps_the_token(folder: Path) -> None:
    """Another one is refused, the same one and none change nothing."""
    assert up(folder).returncode == up(folder, "--client-token", TOKEN).returncode == 0
    refused = up(folder, "--client-token", "quite-another")
    assert refused.returncode == 1 and "has another client token" in refused.stderr
    assert "quite-another" not in (folder / "cluster.toml").read_text()


def test_files_with_tokens_are_their_owners_alone(folder: Path) -> None:
    """Whatever the umask: nobody else can read the tokens of clients and of peers."""
    readable = [
        path.name for path in folder.rglob("*")
        if path.is_file() and stat.S_IMODE(path.stat().st_mode) & 0o077 and TOKEN.split(maxsplit=1)[0].encode() in path.read_bytes()
    ]  # fmt: skip
    assert readable == []
    assert stat.S_IMODE((folder / "cluster.toml").stat().st_mode) == 0o600


def test_a_token_that_nobody_asks_for_is_told(tmp_path: Path) -> None:
    """Who shows one believes that nobody gets in without."""
    port = free_ports(1)
    try:
        assert up(tmp_path / "it", "--base-port", port).returncode == 0
        refused = create_account(tmp_path / "it", "told", TOKEN)
        assert refused.returncode == 1 and "this cluster has no client_token: show none, or set it" in refused.stderr
        assert create_account(tmp_path / "it", "told", "").returncode == 0
    finally:
        run("cluster", "down", "--dir", tmp_path / "it")


def test_settings_are_written_as_they_are_read(tmp_path: Path) -> None:
    """Texts with quotes, backslashes and letters beyond ASCII stay what they were."""
    made = create(
        tmp_path / "it", {"name": 'the "first" \\ größte', "client_token": TOKEN, "nodes": 1, "replication": 1}
    )
    assert (made.config.cluster.name, made.config.security.client_token) == ('the "first" \\ größte', TOKEN)


def test_a_node_with_another_peer_token_stops_and_both_sides_say_why() -> None:
    """Its redundancy must not be lost in silence."""
    with running(3, 1) as cluster:
        settings = cluster.folder / "cluster.toml"
        text = settings.read_text()
        cluster.kill(2)
        settings.write_text(text.replace(PEER_TOKEN, "another one"))
        cluster.start(2)
        assert cluster.node(2).wait_until_gone(60.0)
        settings.write_text(text)
        assert "expected the peer_token of every other node" in cluster.node(2).log.read_text()
        assert all('"peer refused"' in cluster.node(number).log.read_text() for number in (1, 3))
