"""The synchronous client has what the asynchronous one has: its names, arguments, types and guides. Both are written by hand."""

from __future__ import annotations

import inspect
import pydoc
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints
from unittest.mock import create_autospec

import pytest

from protocol.client import (
    Client,
    Entry,
    Lock,
    Subscription,
    SyncClient,
    SyncLock,
    SyncSubscription,
    connect,
    sync,
)
from protocol.client.background import Background
from protocol.columns import Flag
from protocol.views import Account, Receipt

TWINS: dict[object, object] = {Client: SyncClient, Lock: SyncLock, Subscription: SyncSubscription}
ADDRESS = "127.0.0.1:1"  # nobody listens there
ENTRIES = [Entry(id, "a", "b", 1, 0, Flag.none, "", 0) for id in range(1, 8)]


class Face(NamedTuple):
    """What `help` and mypy see of a member."""

    is_property: bool
    arguments: list[inspect.Parameter]
    result: object
    guide: str | None


def face_of(member: Any) -> Face:
    """Types count as what they are, however they are spelt."""
    function: Any = member.fget if isinstance(member, property) else member
    hints = get_type_hints(function)
    parameters = inspect.signature(function).parameters.values()
    arguments = [each.replace(annotation=hints.get(each.name)) for each in parameters]
    return Face(isinstance(member, property), arguments, hints["return"], inspect.getdoc(function))


def without_await(face: Face) -> Face:
    """What the twin of such a member has to show."""
    result = face.result
    if get_origin(result) is AsyncIterator:
        return face._replace(result=Iterator[get_args(result)])  # type: ignore[misc]  # a type that is made here
    return face._replace(result=TWINS.get(result, result))


def public_names(owner: object) -> set[str]:
    return {name for name in dir(owner) if not name.startswith("_")}


def differences(original: type, twin: type) -> list[str]:
    """Of the members that the original has; empty where the twin is one."""
    found = []
    for name in sorted(public_names(original)):
        if not hasattr(twin, name):
            found.append(f"{name}: no twin")
            continue
        expected, seen = without_await(face_of(getattr(original, name))), face_of(getattr(twin, name))
        found += [f"{name}: {field}" for field in Face._fields if getattr(expected, field) != getattr(seen, field)]
        if inspect.iscoroutinefunction(getattr(twin, name)):
            found.append(f"{name}: has to be awaited")
    return found


class Grown(Client):
    """With a call more, and others that have changed."""

    async def refund(self, hold: int) -> Receipt:
        """Gives it back."""
        return await self.void(hold)

    async def account(self, id: str, *, timeout: float | None = 5.0) -> Account:
        """One account, as of now. Raises Refused(account_not_found)."""
        return await super().account(id, timeout=timeout)

    async def accounts(self, ids: object, *, timeout: float | None = None) -> list[Account | None]:
        """Several accounts, each as of now."""
        return [await self.account(str(ids), timeout=timeout)]

    def new_id(self, *, count: int = 1) -> int:
        """A transfer id to give to `transfer`, so that it is known before anything is sent."""
        return super().new_id() + count

    @property
    def cluster_name(self) -> Any:
        """The cluster, as `name/identity`, to be given to a later client as `cluster`; empty before the first connection."""
        return super().cluster_name


def test_a_client_has_its_twin() -> None:
    """Nothing is added to one of the two alone, or changed in it."""
    assert differences(Client, SyncClient) == []
    assert public_names(SyncClient) - public_names(Client) == {"history_pages"}  # a page is one turn of the thread


def test_a_lock_has_its_twin() -> None:
    """But for what the closing client asks of all its locks."""
    assert differences(Lock, SyncLock) == ["leave: no twin"]
    lock = Client(ADDRESS).lock("till")
    assert public_names(lock) - public_names(SyncLock) == {"leave"}
    assert public_names(SyncLock) <= public_names(lock)


def test_a_subscription_has_its_twin() -> None:
    """Its batches are a plain iterator."""
    assert differences(Subscription, SyncSubscription) == []
    assert public_names(SyncSubscription) == public_names(Subscription)


def test_a_twin_that_is_forgotten_is_seen() -> None:
    """A new call, and a change of each kind to an old one."""
    assert differences(Grown, SyncClient) == [
        "account: arguments", "accounts: arguments", "accounts: guide", "cluster_name: result", "new_id: arguments",
        "refund: no twin",
    ]  # fmt: skip
    assert "account: has to be awaited" in differences(Client, Client)


def test_clients_are_made_alike() -> None:
    """Both ways to make the synchronous one."""
    expected = face_of(Client.__init__).arguments
    assert face_of(SyncClient.__init__).arguments == expected
    made = face_of(connect)
    assert (made.arguments, made.result) == (expected[1:], SyncClient)


def test_help_tells_all() -> None:
    """The arguments, their types and the guide."""
    told = pydoc.plain(pydoc.render_doc(SyncClient.transfer))
    assert "debit: 'str'" in told and "timeout: 'float | None' = None" in told and "-> 'Receipt'" in told
    assert "Moves money. Raises Refused" in told


# -- what is handed on --------------------------------------------------------------------------------------------


@pytest.fixture
def client() -> Iterator[SyncClient]:
    """A synchronous client over an asynchronous one that only hears what it is asked."""
    made = SyncClient.__new__(SyncClient)
    made._client = create_autospec(Client, instance=True)
    made._background = Background()
    made._run = made._background.run
    yield made
    made._background.end()


def distinct(call: Callable[..., object]) -> dict[str, Any]:
    """Each argument with a value of its own."""
    parameters = list(inspect.signature(call).parameters.values())
    named = [each.name for each in parameters if each.name != "self" and each.kind is not each.VAR_KEYWORD]
    free = ["owner"] if any(each.kind is each.VAR_KEYWORD for each in parameters) else []
    return {name: f"the {name}" for name in [*named, *free]}


def heard(original: object, name: str) -> dict[str, Any]:
    """The arguments of the one call that was made of an original's method."""
    (call,) = getattr(original, name).call_args_list
    return dict(inspect.signature(getattr(original, name)).bind(*call.args, **call.kwargs).arguments)


CALLS = [name for name in sorted(public_names(Client)) if inspect.iscoroutinefunction(getattr(Client, name))]


@pytest.mark.parametrize("name", [*(name for name in CALLS if name != "close"), "new_id", "lock_owner"])
def test_every_argument_is_handed_on(client: SyncClient, name: str) -> None:
    """And the answer is handed back."""
    answer = object()
    getattr(client._client, name).return_value = answer
    given = distinct(getattr(Client, name))
    assert getattr(client, name)(**given) is answer
    received = heard(client._client, name)
    assert received | received.pop("fields", {}) == given


def test_a_lock_is_asked_for_and_renewed_as_told(client: SyncClient) -> None:
    """Locks are made at once, and asked on the loop."""
    original = create_autospec(Lock, instance=True)
    client._client.lock.return_value = original  # type: ignore[attr-defined]  # of a mock
    given = distinct(Client.lock)
    lock = client.lock(**given)
    assert heard(client._client, "lock") == given
    lock.renew(ttl=7.0)
    assert heard(original, "renew") == {"ttl": 7.0}
    original.release.return_value = True
    assert lock.release() is True


@pytest.mark.parametrize("name", ["history", "history_pages"])
def test_history_is_asked_for_as_told(client: SyncClient, name: str) -> None:
    """By pages, too."""

    async def nothing() -> AsyncIterator[Entry]:
        for entry in ENTRIES[:0]:
            yield entry

    client._client.history.return_value = nothing()  # type: ignore[attr-defined]  # of a mock
    given = distinct(Client.history)
    assert list(getattr(client, name)(**given)) == []
    assert heard(client._client, "history") == given


def test_history_is_read_as_it_is_asked_for(client: SyncClient) -> None:
    """A page when its first entry is."""
    read: list[Entry] = []

    async def reading(*_: object, **__: object) -> AsyncIterator[Entry]:
        for entry in ENTRIES:
            read.append(entry)
            yield entry

    client._client.history.side_effect = reading  # type: ignore[attr-defined]  # of a mock
    entries = client.history("a", page=3)
    assert read == []
    assert [next(entries) for _ in range(3)] == read == ENTRIES[:3]
    assert next(entries) == ENTRIES[3] and read == ENTRIES[:6]
    assert list(entries) == ENTRIES[4:]
    assert [len(page) for page in client.history_pages("a", page=3)] == [3, 3, 1]


def test_a_client_is_made_as_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """By `connect`, by way of `SyncClient`."""
    maker = create_autospec(Client)
    monkeypatch.setattr(sync, "Client", maker)
    given = distinct(Client)
    connect(**given).close()
    (call,) = maker.call_args_list
    assert dict(inspect.signature(Client).bind(*call.args, **call.kwargs).arguments) == given
    maker.return_value.__aenter__.assert_awaited_once_with()
    maker.return_value.close.assert_awaited_once_with()
