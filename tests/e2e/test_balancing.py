"""Amounts up to what is there, or owed, on real processes, within a shard and between shards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from protocol.client import Capture, Client, Transfer
from protocol.client.balancing import Balancing
from protocol.columns import Flag
from protocol.errors import Refused
from protocol.status import Status
from scripts.local import LocalCluster
from tests.e2e.nodes import running

SHARDS = 4
IN_AND_BETWEEN = pytest.mark.parametrize("there", ["{a}", "{d}"], ids=["within a shard", "between shards"])


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Three nodes."""
    with running(3, SHARDS) as cluster:
        yield cluster


@pytest.fixture
async def client(cluster: LocalCluster) -> AsyncIterator[Client]:
    """Connected."""
    async with Client(",".join(cluster.addresses), timeout=20) as client:
        await client.create_account("world", "EUR", minimum_balance=None)
        yield client


async def opened(client: Client, name: str, posted: int, minimum: int | None = 0) -> str:
    """A new account with a balance."""
    account = f"{name}:{client.new_id():x}"
    await client.create_account(account, "EUR", minimum_balance=minimum)
    if posted > 0:
        await client.transfer("world", account, posted)
    elif posted:
        await client.transfer(account, "world", -posted)
    return account


async def posted(client: Client, account: str) -> int:
    """Its balance."""
    return (await client.account(account)).posted


@IN_AND_BETWEEN
async def test_up_to_what_is_there(client: Client, there: str) -> None:
    """The limit where there is more; a repeat tells what was moved; nothing is refused by name."""
    payer, shop = await opened(client, "{a}", 100, -20), await opened(client, there, 0)
    assert (await client.transfer(payer, shop, 30, balancing="debit")).amount == 30
    await client.hold(payer, shop, 40, ttl=600)
    receipt = await client.transfer(payer, shop, 1_000, balancing="debit")
    assert (receipt.status, receipt.amount) == (Status.created, 50)
    again = await client.transfer(payer, shop, 1_000, balancing="debit", id=receipt.id)
    assert (again.status, again.amount) == (Status.exists, 50)
    with pytest.raises(Refused, match="exists_with_different_amount"):
        await client.transfer(payer, shop, 49, balancing="debit", id=receipt.id)
    with pytest.raises(Refused, match="exists_with_different_flags"):
        await client.transfer(payer, shop, 50, id=receipt.id)
    with pytest.raises(Refused, match="insufficient_funds"):
        await client.transfer(payer, shop, balancing="debit")
    assert await posted(client, shop) == 80
    entries = [entry.amount async for entry in client.history(payer, newest_first=True, limit=1)]
    assert entries == [50] and await client.outcome(receipt.id, payer) == Status.created
    with pytest.raises(Refused, match="balancing_needs_limit"):
        await client.transfer("world", shop, balancing="debit")


@IN_AND_BETWEEN
async def test_up_to_what_is_owed(client: Client, there: str) -> None:
    """And up to both."""
    payer, debtor = await opened(client, "{a}", 100), await opened(client, there, -30, -500)
    assert (await client.transfer(payer, debtor, balancing="credit")).amount == 30
    with pytest.raises(Refused, match="nothing_owed: expected a credit account with a balance below 0"):
        await client.transfer(payer, debtor, balancing="credit")
    await client.transfer(debtor, "world", 500)
    with pytest.raises(Refused, match="insufficient_funds"):
        await client.transfer(payer, debtor, balancing="credit")
    assert (await client.transfer(payer, debtor, 60, balancing="both")).amount == 60
    assert (await client.transfer(payer, debtor, balancing="both")).amount == 10
    assert (await posted(client, payer), await posted(client, debtor)) == (0, -430)


@IN_AND_BETWEEN
async def test_all_that_is_left_of_a_hold(client: Client, there: str) -> None:
    """By a capture that names no amount; in a transaction, with what is free besides: the account is swept."""
    payer, shop = await opened(client, "{a}", 100), await opened(client, there, 0)
    hold = await client.hold(payer, shop, 40, ttl=600)
    await client.capture(hold.id, 15)
    receipt = await client.capture(hold.id)
    assert (receipt.status, receipt.amount) == (Status.created, 25)
    assert (await client.capture(hold.id, id=receipt.id)).amount == 25
    with pytest.raises(Refused, match="hold_already_captured"):
        await client.capture(hold.id)
    hold = await client.hold(payer, shop, 20, ttl=600)
    swept = await client.transaction([Capture(hold.id), Transfer(payer, shop, balancing="debit")])
    assert [leg.amount for leg in swept.legs] == [20, 40]
    assert (await posted(client, payer), await posted(client, shop)) == (0, 100)


async def test_accounts_that_are_split_do_not_balance(client: Client) -> None:
    """Neither as the one who pays nor as the one who owes."""
    await client.create_account("{s}:split", "EUR", minimum_balance=-1_000, split=True)
    payer = await opened(client, "{a}", 100)
    for debit, credit, balancing in (("{s}:split", payer, "debit"), (payer, "{s}:split", "credit")):
        with pytest.raises(Refused, match="split_account_must_not_balance"):
            await client.transfer(debit, credit, 5, balancing=balancing)  # type: ignore[arg-type]


@pytest.mark.parametrize("balancing", ["debit", "credit"])
async def test_many_at_one_account(client: Client, balancing: Balancing) -> None:
    """Whoever comes first takes what is there; the sum is exact, over three shards, beside ordinary payments."""
    payer = await opened(client, "{a}", 100 if balancing == "debit" else 1_000)
    shops = [await opened(client, name, 0 if balancing == "debit" else -100, -100) for name in ("{a}", "{d}", "{c}")]

    async def pay(shop: str, amount: int, how: Balancing | None) -> int:
        try:
            return (await client.transfer(payer, shop, amount, balancing=how)).amount or 0
        except Refused as refused:
            assert refused.status in ("insufficient_funds", "nothing_owed")
            return 0

    sweeps = [pay(shop, 60, balancing) for shop in shops * 2]
    moved = await asyncio.gather(*sweeps, *(pay(shop, 1, None) for shop in shops))
    assert sum(moved[:6]) in (range(97, 101) if balancing == "debit" else range(297, 301))
    assert await posted(client, payer) == (100 if balancing == "debit" else 1_000) - sum(moved)
    if balancing == "debit":
        assert sum(moved) == 100
    else:
        assert all([await posted(client, shop) in (0, 1) for shop in shops])
    assert (await client.audit()).balanced


async def test_in_a_batch(client: Client) -> None:
    """In the order of the rows."""
    payer, near, far = await opened(client, "{a}", 100), await opened(client, "{a}", 0), await opened(client, "{d}", 0)
    flags = [0, int(Flag.balancing_debit), 0, 0]
    statuses = await client.transfer_many([payer] * 4, [near] * 4, [30, 50, 25, 20], flags=flags)
    assert statuses == [Status.created, Status.created, Status.insufficient_funds, Status.created]
    await client.transfer("world", payer, 100)
    flags = [0, int(Flag.balancing_debit), 0]
    statuses = await client.transfer_many([payer] * 3, [far, far, near], [30, 0, 1], flags=flags)
    assert statuses[0] == Status.created and Status.insufficient_funds not in statuses[:2]
    assert await posted(client, payer) == 0


async def test_the_amount_is_found_by_the_id(client: Client) -> None:
    """Also where the answer has room for a status alone: in a batch, within a shard and between two, and when it is settled."""
    payer, near, far = await opened(client, "{a}", 100), await opened(client, "{a}", 0), await opened(client, "{d}", 0)
    ids, flags = [client.new_id(), client.new_id()], [int(Flag.balancing_debit)] * 2
    assert await client.transfer_many([payer] * 2, [near, far], [30, 0], ids=ids, flags=flags) == [Status.created] * 2
    assert [await client.outcome(id, payer) for id in ids] == [Status.created] * 2
    found = [await client.find(id) for id in ids]
    assert [entry and entry.amount for entry in found] == [30, 70]
