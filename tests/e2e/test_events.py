"""Subscriptions on real processes: all kinds, from any node, over kills and restarts, slow readers, and what cannot be gone on from."""

from __future__ import annotations

import asyncio
import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any

import pytest

from protocol.client import Client, Event, Subscription, SyncSubscription, connect
from protocol.client.events import Kind
from protocol.errors import Busy, CursorTooOld, OutcomeUnknown, ProtocolError, Refused, Unreachable
from protocol.events import OLDEST, Cursor, EventKind, Position, Series
from protocol.status import Status
from scripts.local.cluster import LocalCluster
from tests.e2e.nodes import running

SHARDS = 4
PATIENCE_SECONDS = 20.0  # of a test: it fails then instead of hanging
KINDS = list(EventKind)


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Three nodes."""
    with running(3, SHARDS) as cluster:
        yield cluster


def client_of(cluster: LocalCluster, node: int | None = None) -> Client:
    """Of all nodes, or of one that forwards what is not its own at first."""
    addresses = cluster.addresses if node is None else [cluster.addresses[node - 1]]
    return Client(addresses, timeout=20)


def named(events: list[Event], *names: str) -> list[Event]:
    return [event for event in events if event.name in names]


def place_of(event: Event) -> tuple[int, str, int]:
    """By which it is known, whoever tells it."""
    return event.shard, event.series, event.number


async def up_to_now(client: Client, kinds: Kind | Sequence[Kind] = KINDS, **options: Any) -> list[Event]:
    """All that there is."""
    return [event async for event in client.subscribe(kinds, follow=False, **options)]


async def test_every_kind_is_told(cluster: LocalCluster) -> None:
    """What a client does within shards and across them, each once, with what it was."""
    async with client_of(cluster) as client:
        await client.create_account("all:world", "EUR", minimum_balance=None, owner="the bank", metadata=b"\x00")
        await client.create_account("all:alice", "EUR", maximum_balance=10_000)
        await client.create_account("all:bob", "EUR")
        await client.update_account("all:bob", status="frozen")
        await client.update_account("all:bob", status="open")
        paid = await client.transfer("all:world", "all:alice", 5_000, code=7, reference="salary")
        noted: dict[str, str | int | bool] = {"month": "May", "net": True}
        back = await client.transfer("all:alice", "all:world", 50, reverses=paid.id, metadata=noted)
        first = await client.hold("all:alice", "all:bob", 1_000, ttl=600)
        part = await client.capture(first.id, 400)
        void = await client.void(first.id)
        second = await client.hold("all:alice", "all:bob", 300, ttl=600)
        rest = await client.capture(second.id, 300)
        third = await client.hold("all:alice", "all:bob", 200, ttl=1)
        with pytest.raises(Refused):
            await client.transfer("all:alice", "all:bob", 1_000_000)
        await client.set_allowance("all:alice", 500, zone="Europe/Berlin")
        async with client.lock("all:till", ttl=10) as lock:
            token = lock.token
        async for event in client.subscribe("holds", prefix="all:"):
            if event.data.get("reason") == "expired":
                break
        events = await up_to_now(client, prefix="all:")
    moved = sorted(((e.name, e.data["id"], e.data["amount"]) for e in events if e.series is Series.record), key=str)
    assert moved == sorted(
        [
            ("transfer", paid.id, 5_000), ("transfer", back.id, 50),
            ("hold", first.id, 1_000), ("capture", part.id, 400), ("void", void.id, 600),
            ("hold", second.id, 300), ("capture", rest.id, 300), ("hold", third.id, 200),
        ],
        key=str,
    )  # fmt: skip
    transfer, reversal = sorted(named(events, "transfer"), key=lambda event: event.data["amount"], reverse=True)
    assert (reversal.data["reverses"], reversal.data["metadata"]) == (paid.id, noted)
    assert transfer.data == {
        "id": paid.id, "debit": "all:world", "credit": "all:alice", "amount": 5_000, "currency": "EUR", "code": 7,
        "reference": "salary",
    }  # fmt: skip
    assert [event.data["hold"] for event in named(events, "capture", "void")] == [first.id, first.id, second.id]
    assert {event.data["currency"] for event in named(events, "hold", "capture", "void", "hold_ended")} == {"EUR"}
    ended = [(event.data["hold"], event.data["rest"], event.data["reason"]) for event in named(events, "hold_ended")]
    assert ended == [(first.id, 600, "voided"), (second.id, 0, "captured"), (third.id, 200, "expired")]
    opened = {event.data["account"]: event.data for event in named(events, "account_opened")}
    assert set(opened) == {"all:world", "all:alice", "all:bob"}
    assert (opened["all:world"]["minimum"], opened["all:world"]["owner"]) == (None, "the bank")
    assert (opened["all:alice"]["maximum"], opened["all:world"]["metadata"]) == (10_000, b"\x00")
    assert [event.data["status"] for event in named(events, "account_updated")] == ["frozen", "open"]
    (allowance,) = named(events, "allowance_set")
    assert allowance.data == {"account": "all:alice", "amount": 500, "zone": "Europe/Berlin"}
    locked = [(event.name, event.data["token"]) for event in events if event.kind is EventKind.locks]
    assert locked == [("lock_granted", token), ("lock_released", token)]
    guide = re.findall(r"[a-z_]+", Client.subscribe.__doc__ or "")
    assert {word for event in events for word in (event.name, *event.data)} <= set(guide)


# -- whatever dies ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def five() -> Iterator[LocalCluster]:
    """Five nodes, three replicas."""
    with running(5, SHARDS, replication=3) as cluster:
        yield cluster


PACE_SECONDS = 0.01  # between two payments of one payer: what counts is what dies meanwhile
PAYERS = [f"{{p{number}}}:payer" for number in range(8)]


async def pay(client: Client, generator: random.Random, over: asyncio.Event) -> set[int]:
    """Pays within shards and across them until it is over; the ids of what has happened."""
    happened = set[int]()
    doubts: dict[int, str] = {}
    while not over.is_set():
        payer, payee = generator.sample(PAYERS, 2)
        id = client.new_id()
        try:
            await client.transfer(payer, payee, 1, id=id, timeout=20)
            happened.add(id)
        except OutcomeUnknown:
            doubts[id] = payer
        except (Busy, Unreachable):
            pass
        await asyncio.sleep(PACE_SECONDS)
    outcomes = {id: await client.outcome(id, payer) for id, payer in doubts.items()}
    return happened | {id for id, status in outcomes.items() if status == Status.created}


async def follow(cluster: LocalCluster, slowness: float, enough: Callable[[list[int]], bool]) -> list[int]:
    """Follows transfers by clients that it leaves and replaces again and again; what it was told until that is enough."""
    told: list[int] = []
    numbers: dict[int, int] = {}
    cursor, generator = OLDEST, random.Random(slowness)
    while not enough(told):
        async with client_of(cluster) as client:
            events, left = client.subscribe("transfers", cursor=cursor, prefix="{p"), generator.randint(1, 400)
            async for event in events:
                assert numbers.get(event.shard, -1) < event.number, (
                    "in order, and nothing that the cursor has behind it"
                )
                numbers[event.shard] = event.number
                told.append(event.data["id"])
                cursor, left = events.cursor, left - 1
                await asyncio.sleep(slowness)
                if not left or enough(told):
                    break
    return told


async def kill_some(cluster: LocalCluster, client: Client) -> None:
    """The coordinator and leaders, one after another; each comes back."""
    for group in (0, 1, 2):
        await asyncio.sleep(0.5)
        victim = (await client.cluster(timeout=20)).leaders[group]
        if victim:
            cluster.kill(victim)
            await asyncio.sleep(1)
            cluster.start(victim)
            await cluster.wait_until_serving()


async def test_readers_over_kills(five: LocalCluster) -> None:
    """Leaders and the coordinator die; a quick reader and a slow one, who come back with their cursors, are told of each payment once."""
    halt, happened = asyncio.Event(), set[int]()

    def enough(told: list[int]) -> bool:
        return bool(happened) and happened <= set(told)

    async with client_of(five) as client:
        await client.create_accounts([(name, "EUR", None, None, "", b"") for name in PAYERS])
        readers = [asyncio.create_task(follow(five, slowness, enough)) for slowness in (0, 0.002)]
        payers = [asyncio.create_task(pay(client, random.Random(seed), halt)) for seed in range(8)]
        await kill_some(five, client)
        halt.set()
        happened |= set[int]().union(*await asyncio.gather(*payers))
        last = set()
        while not all(reader.done() for reader in readers):  # whoever waits for news is woken
            last.add((await client.transfer(PAYERS[0], PAYERS[1], 1)).id)
            await asyncio.sleep(0.1)
        for reader in readers:
            told = reader.result()
            assert len(told) == len(set(told))
            assert set(told) - last == happened
    assert len(happened) > 100


# -- readers that are slow, late, or wrong ------------------------------------------------------------------------


async def test_a_slow_reader_is_waited_for_by_nobody(cluster: LocalCluster) -> None:
    """It stands still while full batches are paid from another client; then it is told of all of them, in columns too."""
    batches, size = 6, 8_192
    async with client_of(cluster) as client, client_of(cluster, 2) as reader:
        await client.create_accounts([(f"{{slow}}:{n}", "EUR", None, None, "", b"") for n in range(2)])
        events = reader.subscribe("transfers", prefix="{slow}", cursor="newest")
        following = events.__aiter__()
        await events.begin()
        await client.transfer("{slow}:0", "{slow}:1", 7)
        assert (await anext(following)).data["amount"] == 7
        for batch in range(batches):
            columns = (["{slow}:0"] * size, ["{slow}:1"] * size, [batch + 1] * size)
            assert set(await client.transfer_many(*columns)) == {Status.created}
        cursor = events.cursor
        amounts = [(await anext(following)).data["amount"] for _ in range(batches * size)]
        assert amounts == [batch + 1 for batch in range(batches) for _ in range(size)]
        again = reader.subscribe("transfers", prefix="{slow}", cursor=cursor, follow=False)
        told = [batch.transfers async for batch in again.batches()]
    assert [amount for columns in told if columns is not None for amount in columns.amounts().tolist()] == amounts
    assert {name for columns in told if columns is not None for name in columns.debits()} == {"{slow}:0"}


def test_the_synchronous_twin(cluster: LocalCluster) -> None:
    """A plain iterator; its cursor goes on in another client, and at another node."""
    with connect(cluster.addresses) as client:
        client.create_account("twin:world", "EUR", minimum_balance=None)
        client.create_account("twin:alice", "EUR")
        paid = [client.transfer("twin:world", "twin:alice", amount).id for amount in range(1, 6)]
        told = []
        events = client.subscribe("transfers", prefix="twin:")
        for event in events:
            told.append(event.data["id"])
            if len(told) == 2:
                break
        cursor = events.cursor
    with connect(cluster.addresses[2]) as other:
        told += [
            event.data["id"] for event in other.subscribe("transfers", prefix="twin:", cursor=cursor, follow=False)
        ]
    assert told == paid


# -- readers that are ended, and that keep their place ------------------------------------------------------------


def reading(events: SyncSubscription) -> Future[list[int]]:
    """The amounts that a thread has been told when its reading ends, or the error that it ends with."""
    told = Future[list[int]]()

    def read() -> None:
        try:
            told.set_result([event.data["amount"] for event in events])
        except BaseException as error:
            told.set_exception(error)

    threading.Thread(target=read, daemon=True).start()
    return told


def test_a_reader_whose_client_is_closed(cluster: LocalCluster) -> None:
    """By another thread, while it waits for news, or for a lock: it is told so."""
    with connect(cluster.addresses) as other, other.lock("ended:till"):
        client = connect(cluster.addresses)
        events = client.subscribe("transfers", cursor="newest")
        idle = iter(client.subscribe("accounts"))
        other.create_account("ended:any", "EUR")
        next(idle)
        events.begin()
        told, claim = reading(events), Future[None]()

        def acquire() -> None:
            try:
                claim.set_result(client.lock("ended:till").acquire())
            except BaseException as error:
                claim.set_exception(error)

        threading.Thread(target=acquire, daemon=True).start()
        time.sleep(0.5)
        client.close()
        for ended in (told, claim):
            with pytest.raises(ProtocolError, match="the client is closed"):
                ended.result(PATIENCE_SECONDS)
        with pytest.raises(ProtocolError, match="the client is closed"):
            list(idle)  # what has come already, and then the error
        events.close()


async def test_a_reader_whose_client_is_closed_in_its_loop(cluster: LocalCluster) -> None:
    """As in threads."""
    async with client_of(cluster) as client:
        events = client.subscribe("transfers", cursor="newest")
        await events.begin()
        told = asyncio.ensure_future(anext(aiter(events)))
        await asyncio.sleep(0.5)
        await client.close()
        with pytest.raises(ProtocolError, match="the client is closed"):
            await asyncio.wait_for(told, PATIENCE_SECONDS)


def test_a_subscription_is_closed(cluster: LocalCluster) -> None:
    """While a thread reads it, or by the end of its `with`: it ends there, its cursor goes on, and its client is as good as before."""
    with connect(cluster.addresses) as client:
        client.create_account("closed:a", "EUR", minimum_balance=None)
        client.create_account("closed:b", "EUR")
        for amount in (1, 2, 3):
            client.transfer("closed:a", "closed:b", amount)
        with client.subscribe("transfers", prefix="closed:") as events:
            assert next(iter(events)).data["amount"] == 1
        assert list(events) == [] and list(events.batches()) == []
        with pytest.raises(ProtocolError, match="the subscription is closed: expected one that is open"):
            events.begin()
        with client.subscribe("transfers", prefix="closed:", cursor=events.cursor) as events:
            amounts = []
            for event in events:
                amounts.append(event.data["amount"])
                events.close()
            assert amounts == [2]
        events = client.subscribe("transfers", prefix="closed:", cursor=events.cursor)
        events.begin()
        told = reading(events)
        time.sleep(0.5)
        events.close()
        events.close()
        assert told.result(PATIENCE_SECONDS) == [3]
        assert client.transfer("closed:a", "closed:b", 4).amount == 4


async def test_a_subscription_is_closed_by_another_task(cluster: LocalCluster) -> None:
    """While it begins, waits, or stands still at an event."""
    async with client_of(cluster) as client:
        for name in ("tasks:a", "tasks:b"):
            await client.create_account(name, "EUR", minimum_balance=None)
        await client.transfer("tasks:a", "tasks:b", 1)

        async def read(events: Subscription, told: list[int]) -> None:
            async for event in events:
                told.append(event.data["amount"])

        told: list[int] = []
        for seconds in (0, 0.001, 0.5):
            told.clear()
            async with client.subscribe("transfers", prefix="tasks:") as events:
                reader = asyncio.create_task(read(events, told))
                await asyncio.sleep(seconds)
            await asyncio.wait_for(reader, PATIENCE_SECONDS)
        assert told == [1]
        async with client.subscribe("transfers", prefix="tasks:") as events:
            following = aiter(events)
            await anext(following)
        assert [event async for event in following] == [event async for event in events] == []


async def test_a_place_is_kept_before_the_first_event(cluster: LocalCluster) -> None:
    """What was asked for; then where it began, from which a later reader misses nothing."""
    async with client_of(cluster) as client:
        for name in ("kept:a", "kept:b", "{kept}:a", "{kept}:b"):
            await client.create_account(name, "EUR", minimum_balance=None)
        await client.transfer("kept:a", "kept:b", 1)
        given = Cursor(client.cluster_name, {1: Position(0, 0)}).pack()
        for asked in ("oldest", "newest", given, Cursor(client.cluster_name, {}).pack()):
            assert client.subscribe("transfers", cursor=asked).cursor == asked
            assert Client(cluster.addresses).subscribe("transfers", cursor=asked).cursor == asked
            events = client.subscribe("transfers", cursor=asked)
            await events.begin()
            assert len(Cursor.unpack(events.cursor).positions) == SHARDS
        events = client.subscribe("transfers", cursor="newest")
        await events.begin()
        kept = events.cursor
        await client.transfer("kept:a", "kept:b", 2)
        await client.transfer("{kept}:a", "{kept}:b", 3)
        async with client_of(cluster, 2) as later:
            told = await up_to_now(later, "transfers", cursor=kept)
        assert sorted(event.data["amount"] for event in told) == [2, 3]
        following = aiter(events)
        assert sorted([(await anext(following)).data["amount"] for _ in range(2)]) == [2, 3]


async def test_a_restart_loses_no_event(cluster: LocalCluster) -> None:
    """All nodes at once: what was told is told again from any cursor, and nothing else."""
    async with client_of(cluster) as client:
        for name in ("again:a", "again:b"):
            await client.create_account(name, "EUR", minimum_balance=None)
        for amount in range(1, 30):
            await client.transfer("again:a", "again:b", amount)
            if amount % 10 == 0:
                await client.void((await client.hold("again:b", "again:a", amount, ttl=600)).id)
        before = await up_to_now(client, prefix="again:")
        events = client.subscribe("transfers", prefix="again:")
        async for event in events:
            if event.data["amount"] == 15:
                break
        cursor = events.cursor
    for number in cluster.numbers:
        cluster.kill(number)
    for number in cluster.numbers:
        cluster.start(number)
    await cluster.wait_until_serving()
    async with client_of(cluster) as client:
        assert sorted(await up_to_now(client, prefix="again:"), key=place_of) == sorted(before, key=place_of)
        rest = await up_to_now(client, "transfers", prefix="again:", cursor=cursor)
    assert [event.data["amount"] for event in rest] == list(range(16, 30))


async def test_cursors_that_lead_nowhere(cluster: LocalCluster) -> None:
    """Each is refused with what would have done, before anything is told."""
    async with client_of(cluster) as client:
        for kinds, expected in (
            ([], "at least one of accounts"),
            ("orders", "one of accounts"),
            (3, "some of accounts"),
        ):
            with pytest.raises(ProtocolError, match=expected):
                client.subscribe(kinds)  # type: ignore[arg-type]  # as it may come
        good = Cursor(client.cluster_name, {1: Position(0, 0)}).pack()
        for cursor in ("", "tomorrow", good[:-1], good[1:], good + "é", 7):
            with pytest.raises(ProtocolError, match="expected oldest, newest, or the cursor"):
                client.subscribe("accounts", cursor=cursor)  # type: ignore[arg-type]  # as it may come
        for positions, expected in (
            ({1: Position(10**9, 0)}, "ahead of row 1000000000 and fact 0, of shard 1"), ({1: Position(0, 10**9)}, "ahead of row 0"),
            ({SHARDS + 1: Position(0, 0)}, f"shards of 0 to {SHARDS}"),
        ):  # fmt: skip
            with pytest.raises(ProtocolError, match=expected):
                await up_to_now(client, cursor=Cursor(client.cluster_name, positions).pack())
        with pytest.raises(ProtocolError, match=f"of cluster other/1: expected one of {client.cluster_name}"):
            await up_to_now(client, cursor=Cursor("other/1", {1: Position(0, 0)}).pack())


def keep_little(cluster: LocalCluster) -> None:
    path = cluster.folder / "cluster.toml"
    text = path.read_text()
    assert "facts_kept = 1000000" in text
    path.write_text(text.replace("facts_kept = 1000000", "facts_kept = 100"))


@pytest.fixture
def forgetful() -> Iterator[LocalCluster]:
    """Three nodes of two shards, each of which keeps a hundred facts, so a page of them and a part of the next."""
    with running(3, 2, prepare=keep_little) as cluster:
        yield cluster


async def test_what_is_not_kept_is_told_by_name(forgetful: LocalCluster) -> None:
    """A reader that comes too late hears which cursor is the oldest, and can go on from that; transfers stay for ever."""
    async with client_of(forgetful) as client:
        names = [f"account{number}" for number in range(3_000)]
        for start in range(0, len(names), 500):
            await client.create_accounts([(name, "EUR", None, None, "", b"") for name in names[start : start + 500]])
        paid = [(await client.transfer(names[0], names[1], 1)).id for _ in range(5)]
        cursor = Cursor(client.cluster_name, dict.fromkeys((1, 2), Position(0, 0))).pack()
        with pytest.raises(CursorTooOld, match=r"shard 1 has forgotten fact 0 .* expected 1024 or later") as raised:
            await up_to_now(client, "accounts", cursor=cursor)
        told = {event.data["account"] for event in await up_to_now(client, "accounts", cursor=raised.value.oldest)}
        assert told == {event.data["account"] for event in await up_to_now(client, "accounts")}
        assert len(told) == len(names) - 2 * 1_024
        assert [event.data["id"] for event in await up_to_now(client, "transfers", cursor=cursor)] == paid
