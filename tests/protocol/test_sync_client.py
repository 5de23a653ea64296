"""The synchronous client has all calls of the other one, and its types."""

from __future__ import annotations

import inspect

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
