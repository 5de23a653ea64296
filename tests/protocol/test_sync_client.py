"""The synchronous client has all calls of the other one, and its types."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

from protocol.client import Client, SyncClient, connect
from protocol.client.sync import _Twin
from protocol.errors import Unreachable


def test_it_has_all_calls() -> None:
    """Nothing is added to one of the two alone."""
    ours = {name for name in vars(Client) if not name.startswith("_")}
    twins = {name for name in vars(SyncClient) if not name.startswith("_")}
    assert twins - ours == {"history_pages"} and not ours - twins


@pytest.mark.parametrize("name", [name for name in vars(SyncClient) if isinstance(vars(SyncClient)[name], _Twin)])
def test_calls_keep_their_names_and_guides(name: str) -> None:
    """For whoever asks for help."""
    twin = getattr(SyncClient, name)
    assert (twin.__name__, bool(twin.__doc__)) == (name, True)


SLOW_NAMES = """
import socket, threading
socket.getaddrinfo = lambda *_, **__: threading.Event().wait()
from protocol.client import connect
from protocol.errors import Unreachable
try:
    connect("slow.example:1", timeout=0.2)
except Unreachable as error:
    print(error)
"""


def test_a_resolver_that_never_answers_keeps_no_program() -> None:
    """Neither the call nor the end of the program waits for it."""
    done = subprocess.run([sys.executable, "-c", SLOW_NAMES], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "no node answers in time (slow.example:1: silent)\n" and not done.stderr


def test_who_does_not_answer_is_told_by_reason() -> None:
    """Nobody listens at these addresses."""
    with pytest.raises(Unreachable) as raised:
        connect("127.0.0.1:1,127.0.0.1:2", timeout=0.3)
    assert str(raised.value) == "no node answers in time (127.0.0.1:1, 127.0.0.1:2: Connection refused)"


def test_wrong_calls_are_found_by_types() -> None:
    """mypy knows the arguments, and each ignored error has to be one."""
    with pytest.raises(TypeError):
        connect("127.0.0.1:1", tymeout=0.1)  # type: ignore[call-arg]
    with pytest.raises(Unreachable):
        connect("127.0.0.1:1", timeout=0.1)
    if not inspect.isfunction(connect):
        client: SyncClient = connect("127.0.0.1:1")
        client.transfer(5, "alice", "12.50")  # type: ignore[arg-type]
        client.transfer("users:alice", "shops:bob", 1, tymeout=3)  # type: ignore[call-arg]
        client.history("alice", newest=True)  # type: ignore[call-arg]
        client.lock("till", weight=3)  # type: ignore[call-arg]
        client.update_account("alice", colour="red")  # type: ignore[call-arg]
        client.cluster_name()  # type: ignore[operator]
