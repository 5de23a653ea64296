"""The synchronous client without a cluster: what it refuses by itself, and what mypy knows of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from protocol.client import Client, SyncClient, connect
from protocol.errors import ProtocolError, Unreachable

CALLS: dict[str, Callable[[SyncClient], object]] = {
    "account": lambda client: client.account("a"),
    "transfer": lambda client: client.transfer("a", "b", 1),
    "history": lambda client: next(client.history("a")),
    "history_pages": lambda client: next(client.history_pages("a")),
    "lock": lambda client: client.lock("till", wait=0.1).acquire(),
    "with a lock": lambda client: client.lock("till", wait=0.1).__enter__(),
    "a look at a lock": lambda client: client.lock("till").is_held,
    "cluster": lambda client: client.cluster(),
}


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[SyncClient]:
    """One that did not connect when it was made, and finds nobody later."""

    async def stay(client: Client) -> Client:
        return client

    monkeypatch.setattr(Client, "__aenter__", stay)
    with connect("127.0.0.1:1", timeout=0.1) as made:
        yield made


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


@pytest.mark.parametrize("name", CALLS)
def test_a_client_that_is_closed(client: SyncClient, name: str) -> None:
    """It stays closed, and says so; closing it again does nothing."""
    client.close()
    client.close()
    with pytest.raises(ProtocolError, match="the client is closed: expected one that is open"):
        CALLS[name](client)


@pytest.mark.parametrize("name", CALLS)
def test_a_client_of_another_process(client: SyncClient, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a fork finds it: nobody would ever answer, not even to `close`."""
    made_by = os.getpid()
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: made_by + 1)
        client.close()
        with pytest.raises(
            ProtocolError, match=f"made by process {made_by}: expected one that was made after the fork"
        ):
            CALLS[name](client)


def test_wrong_calls_are_found_by_types(client: SyncClient) -> None:
    """mypy knows the arguments and the results, as each ignored error has to be one; and nothing is sent."""
    with pytest.raises(TypeError):
        connect("127.0.0.1:1", tymeout=0.1)  # type: ignore[call-arg]
    with pytest.raises(ProtocolError, match=r"amount '12\.50': expected an integer"):
        client.transfer("users:alice", "shops:bob", "12.50")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        client.transfer("users:alice", "shops:bob", 1, tymeout=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        client.hold("users:alice", "shops:bob", 1)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        client.history("alice", newest=True)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        client.lock("till", weight=3)  # type: ignore[call-arg]
    with pytest.raises(ProtocolError, match="field 'colour'"):
        client.update_account("alice", colour="red")  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        client.cluster_name()  # type: ignore[operator]
    with pytest.raises(Unreachable):
        len(client.account("alice"))  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        len(client.history("alice"))  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        client.lock("till").renew(time=3)  # type: ignore[call-arg]
