"""Split accounts on real processes: rounds that do not happen, funds of many shards, a killed leader, freezing, history."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from protocol.client import Client
from protocol.columns import Flag
from protocol.errors import ProtocolError, Refused
from protocol.operations import Operation
from protocol.placement import group_of
from protocol.status import AccountStatus, Status
from scripts.local import LocalCluster
from tests.e2e.nodes import running

SHARDS = 4
USERS = [f"user{number}" for number in range(24)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Three nodes."""
    with running(3, SHARDS) as cluster:
        yield cluster


@pytest.fixture
async def client(cluster: LocalCluster) -> AsyncIterator[Client]:
    """Connected, with users who have 1000 at least."""
    async with Client(",".join(cluster.addresses), timeout=20) as client:
        await client.create_account("world", "EUR", minimum_balance=None)
        await client.create_accounts([[user, "EUR", 0, None, "", b""] for user in USERS])
        await client.transfer_many(["world"] * len(USERS), USERS, [1_000] * len(USERS))
        yield client


async def rounds(cluster: LocalCluster) -> int:
    """Rounds that the nodes have run."""
    total = 0
    for address in cluster.addresses:
        async with Client(address) as client:
            total += (await client.cluster()).rounds
    return total


async def test_credits_from_many_shards_need_no_round(cluster: LocalCluster, client: Client) -> None:
    """One by one, as a batch, and from a client that has heard of the account only by connecting."""
    assert await client.create_account("shop:1", "EUR", split=True) == AccountStatus.created
    assert await client.create_account("shop:1", "EUR", split=True) == AccountStatus.exists
    async with Client(cluster.addresses[1]) as other:
        before = await rounds(cluster)
        for user in USERS[:8]:
            await client.transfer(user, "shop:1", 10)
            await other.transfer(user, "shop:1", 10)
        statuses = await client.transfer_many(USERS, ["shop:1"] * len(USERS), [5] * len(USERS))
        assert statuses == [Status.created] * len(USERS)
        assert await rounds(cluster) == before
    account = await client.account("shop:1")
    assert (account.posted, account.split) == (160 + 5 * len(USERS), True)
    whole, payer = await client.snapshot(["shop:1", "user0"])
    assert whole.posted == account.posted and not payer.split
    assert (await client.audit()).balanced


async def test_debits_find_the_funds_of_all_shares(client: Client) -> None:
    """More than any share holds; what the sum does not cover is refused for good."""
    await client.create_account("shop:2", "EUR", split=True)
    for user in USERS[:12]:
        await client.transfer(user, "shop:2", 50)
    too_much, first = client.new_id(), client.new_id()
    with pytest.raises(Refused) as refused:
        await client.transfer("shop:2", "user1", 601, id=too_much)
    assert refused.value.status == Status.insufficient_funds.name
    await client.transfer("shop:2", "user1", 590, id=first)
    assert (await client.transfer("shop:2", "user1", 590, id=first)).status == Status.exists
    hold = await client.hold("shop:2", "user2", 10, ttl=60)
    await client.transfer("user3", "shop:2", 700)
    with pytest.raises(Refused):
        await client.transfer("shop:2", "user1", 601, id=too_much)
    assert await client.outcome(too_much, "shop:2") == Status.insufficient_funds
    assert await client.outcome(first, "shop:2") == Status.created
    await client.capture(hold.id, 4)
    await client.void(hold.id)
    account = await client.account("shop:2")
    assert (account.posted, account.held) == (12 * 50 - 590 + 700 - 4, 0)
    entries = [entry async for entry in client.history("shop:2")]
    newest = [entry async for entry in client.history("shop:2", newest_first=True, page=3)]
    assert newest == entries[::-1]
    assert [entry.amount for entry in entries[:12]] == [50] * 12
    assert [entry.amount for entry in entries if Flag(entry.flags) == Flag.none][12:] == [590, 700]


async def test_a_sender_that_knows_nothing(cluster: LocalCluster, client: Client) -> None:
    """Its requests go to the home share, and everything comes out right nevertheless; a repeated payment happens once."""
    async with Client(cluster.addresses[2]) as other:
        await client.create_account("shop:3", "EUR", split=True)
        home = group_of("shop:3", SHARDS)
        far = next(user for user in USERS if group_of(user, SHARDS) != home)

        async def forget() -> None:
            await asyncio.sleep(0.1)
            other._calls.split.clear()

        await forget()
        await other.transfer(far, "shop:3", 30)
        first = other.new_id()
        await forget()
        await other.transfer("shop:3", far, 20, id=first)
        assert (await client.transfer("shop:3", far, 20, id=first)).status == Status.exists
        await forget()
        assert (await other.account("shop:3")).posted == 10
        await forget()
        assert [entry.amount async for entry in other.history("shop:3")] == [30, 20]
        await forget()
        assert await other.update_account("shop:3", status="frozen") == AccountStatus.updated
        with pytest.raises(Refused) as refused:
            await client.transfer(far, "shop:3", 1)
        assert refused.value.status == Status.credit_account_frozen.name
        await other.update_account("shop:3", status="open", owner="somebody")
        assert (await client.account("shop:3")).owner == "somebody"


async def test_what_split_accounts_cannot_do_is_refused_by_name(client: Client) -> None:
    """Each with what was expected."""

    async def refusal(call: object) -> str:
        with pytest.raises(Refused) as refused:
            await call  # type: ignore[misc]  # coroutines of several results
        assert "expected" in str(refused.value)
        return refused.value.status

    names = AccountStatus
    create, update = client.create_account, client.update_account
    await create("shop:4", "EUR", split=True)
    bounded = create("shop:5", "EUR", split=True, maximum_balance=9)
    assert await refusal(bounded) == names.split_account_must_have_no_maximum.name
    assert await refusal(create("shop:4", "EUR")) == names.exists_with_different_split.name
    assert await refusal(create("user1", "EUR", split=True)) == names.exists_with_different_split.name
    assert await refusal(update("shop:4", status="closed")) == names.split_account_must_stay_open.name
    assert await refusal(update("shop:4", if_version=3, owner="x")) == names.if_version_must_be_zero.name
    assert await refusal(update("shop:4", maximum_balance=3)) == names.split_account_must_have_no_maximum.name
    bottomless = update("shop:4", minimum_balance=None)
    assert await refusal(bottomless) == names.split_account_must_keep_having_a_minimum.name
    assert await refusal(client.transfer("shop:4", "user1", 5, if_version=3)) == Status.if_version_must_be_zero.name
    with pytest.raises(ProtocolError):
        await client._calls.call(Operation.history, -1, ["shop:4", None, 5, False, SHARDS + 1], None, None)


async def test_a_leader_dies_meanwhile(cluster: LocalCluster, client: Client) -> None:
    """Payments into and out of a split account go on; the books balance, and every acknowledged one is in the sum."""
    await client.create_account("shop:6", "EUR", split=True)
    await client.transfer("world", "shop:6", 1_000)
    gone, paid = 0, 0
    victim = (await client.cluster()).coordinator

    async def pay(number: int) -> None:
        nonlocal gone, paid
        for step in range(12):
            user = USERS[(number + step) % len(USERS)]
            await client.transfer(user, "shop:6", 3)
            paid += 3
            await client.transfer("shop:6", user, 20)
            gone += 20

    async def kill() -> None:
        await asyncio.sleep(0.1)
        cluster.kill(victim)

    await asyncio.gather(kill(), *(pay(number) for number in range(4)))
    cluster.start(victim)
    account = await client.account("shop:6")
    assert (account.posted, account.held) == (1_000 + paid - gone, 0)
    entries = [entry async for entry in client.history("shop:6")]
    assert len(entries) == 1 + 4 * 12 * 2
    async with asyncio.timeout(20):
        while not (await client.audit()).balanced:
            await asyncio.sleep(0.2)
