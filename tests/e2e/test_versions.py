"""Transfers and updates at a version, through a real node, within a shard and across shards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from protocol.client import Client
from protocol.columns import Flag
from protocol.errors import ErrorCode, ProtocolError, Refused
from protocol.placement import group_of
from protocol.status import Status
from scripts.local import LocalCluster
from tests.e2e.nodes import running

SHARDS = 4


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """One node that leads all shards."""
    with running(1, SHARDS) as cluster:
        yield cluster


@pytest.fixture
async def client(cluster: LocalCluster) -> AsyncIterator[Client]:
    """Connected."""
    async with Client(cluster.addresses[0]) as client:
        yield client


def fresh(prefix: str) -> tuple[str, str, str]:
    """A payer, an account of the same shard, and one of another shard."""
    payer = f"{{{prefix}}}:payer"
    shard = group_of(payer, SHARDS)
    names = (f"{prefix}:{number}" for number in range(99))
    other = next(name for name in names if group_of(name, SHARDS) != shard)
    return payer, f"{{{prefix}}}:near", other


async def opened(client: Client, prefix: str) -> tuple[str, str, str]:
    """The three accounts, 1000 at the payer."""
    names = fresh(prefix)
    for name in (*names, "world:EUR"):
        await client.create_account(name, "EUR", minimum_balance=None if name == "world:EUR" else 0)
    await client.transfer("world:EUR", names[0], 1000)
    return names


async def test_a_transfer_at_a_version(client: Client) -> None:
    """It happens once at a version, near and far; the refusal says which version there is now."""
    payer, near, far = await opened(client, "once")
    for payee in (near, far):
        version = (await client.account(payer)).version
        await client.transfer(payer, payee, 5, if_version=version)
        with pytest.raises(Refused) as refused:
            await client.transfer(payer, payee, 5, if_version=version)
        now = (await client.account(payer)).version
        assert (refused.value.status, refused.value.version) == ("version_conflict", now) and now > version
        assert str(now) in str(refused.value)
    assert [(await client.account(name)).posted for name in (payer, near, far)] == [990, 5, 5]


async def test_a_refused_transfer_leaves_the_version(client: Client) -> None:
    """Also where another shard had agreed to it already."""
    payer, _, far = await opened(client, "refused")
    await client.update_account(far, maximum_balance=3)
    version = (await client.account(payer)).version
    with pytest.raises(Refused, match="exceeds_maximum_balance"):
        await client.transfer(payer, far, 5)
    await client.transfer(payer, far, 3, if_version=version)


async def test_one_of_many_wins(client: Client) -> None:
    """Of transfers that saw the same version, near and far at once, exactly one happens."""
    payer, near, far = await opened(client, "race")
    for _ in range(5):
        before = await client.account(payer)
        tries = (client.transfer(payer, payee, 1, if_version=before.version) for payee in (near, far) * 10)
        outcomes = await asyncio.gather(*tries, return_exceptions=True)
        lost = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        after = await client.account(payer)
        assert len(outcomes) - len(lost) == 1 and after.posted == before.posted - 1, lost
        assert all(isinstance(error, Refused) and error.version == after.version for error in lost), lost


async def test_holds_and_many(client: Client) -> None:
    """A hold, its capture and its void look at the payer; so do rows of a batch, each at its own version or all at one."""
    payer, near, far = await opened(client, "holds")
    version = (await client.account(payer)).version
    hold = await client.hold(payer, far, 10, ttl=60, if_version=version)
    for ended in (client.capture(hold.id, 4, if_version=version), client.void(hold.id, if_version=version)):
        with pytest.raises(Refused, match="version_conflict"):
            await ended
    await client.capture(hold.id, 4, if_version=(await client.account(payer)).version)
    await client.void(hold.id, if_version=(await client.account(payer)).version)
    version = (await client.account(payer)).version
    linked = [int(Flag.linked), 0]
    once = await client.transfer_many([payer, payer], [near, far], [1, 2], flags=linked, if_version=version)
    again = await client.transfer_many([payer, payer], [near, far], [1, 2], if_version=[version, 0])
    assert once == [Status.created] * 2 and again == [Status.version_conflict, Status.created]
    assert (await client.account(payer)).posted == 1000 - 4 - 3 - 2


async def test_an_update_at_a_version(client: Client) -> None:
    """A conflict changes nothing and names the version."""
    payer, _, _ = await opened(client, "update")
    version = (await client.account(payer)).version
    await client.update_account(payer, owner="first", if_version=version)
    with pytest.raises(Refused) as refused:
        await client.update_account(payer, owner="second", if_version=version)
    now = await client.account(payer)
    assert (refused.value.status, refused.value.version, now.owner) == ("version_conflict", now.version, "first")
    await client.update_account(payer, owner="second", if_version=refused.value.version)


async def test_what_cannot_be_asked(client: Client) -> None:
    """The client says what was expected before it sends anything."""
    for commit in ("2pc", "3pc"):
        with pytest.raises(ProtocolError, match="if_version 0") as raised:
            await client.transfer("a", "b", 1, if_version=0, commit=commit)
        assert raised.value.code == ErrorCode.bad_request
    with pytest.raises(ProtocolError, match="expected 2pc or 3pc"):
        await client.transfer_many(["a"], ["b"], [1], commit="1pc")
    with pytest.raises(ProtocolError, match="if_version -1"):
        await client.update_account("a", owner="x", if_version=-1)
