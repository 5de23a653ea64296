"""Holds that end in one step and linked legs on real processes, within a shard and between shards."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from protocol.client import Client
from protocol.errors import ProtocolError, Refused
from scripts.local import LocalCluster
from tests.e2e.nodes import running

SHARDS = 4
PAIRS = [("{a}:payer", "{a}:shop"), ("{a}:payer", "{b}:shop")]
IN_AND_BETWEEN = pytest.mark.parametrize(("payer", "shop"), PAIRS, ids=["within a shard", "between shards"])


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Three nodes."""
    with running(3, SHARDS) as cluster:
        yield cluster


@pytest.fixture
async def client(cluster: LocalCluster) -> AsyncIterator[Client]:
    """Connected; the payer has 1,000 to spend, whatever was before."""
    async with Client(",".join(cluster.addresses), timeout=20) as client:
        await client.create_account("world", "EUR", minimum_balance=None)
        for account in ("{a}:payer", "{a}:shop", "{b}:shop", "{c}:fees"):
            await client.create_account(account, "EUR")
        if missing := 1_000 - (await client.account("{a}:payer")).posted:
            await client.transfer("world", "{a}:payer", missing)
        yield client


@IN_AND_BETWEEN
async def test_a_final_capture_gives_the_rest_back(client: Client, payer: str, shop: str) -> None:
    """In the same step; sent again it is the same, and nothing is left to capture."""
    hold = await client.hold(payer, shop, 400, ttl=600)
    receipt = await client.capture(hold.id, 100, final=True, debit=payer, credit=shop)
    account = await client.account(payer)
    assert (account.posted, account.held) == (900, 0)
    assert (await client.capture(hold.id, 100, final=True, id=receipt.id)).status.name == "exists"
    with pytest.raises(Refused, match="hold_already_captured"):
        await client.capture(hold.id, 1)


@IN_AND_BETWEEN
async def test_what_is_named_of_a_hold_is_checked(client: Client, payer: str, shop: str) -> None:
    """Each has a status of its own; the hold stays as it is."""
    hold = await client.hold(payer, shop, 400, ttl=600)
    wrong: tuple[tuple[dict[str, Any], str], ...] = (
        ({"debit": shop}, "hold_has_different_debit_account: expected the debit account of the hold"),
        ({"credit": payer}, "hold_has_different_credit_account"),
        ({"amount": 399}, "hold_has_different_amount: expected no amount for a void, or the one"),
    )
    for named, text in wrong:
        with pytest.raises(Refused, match=text):
            await client.void(hold.id, **named)
    for named, text in wrong[:2]:
        with pytest.raises(Refused, match=text):
            await client.capture(hold.id, 1, **named)
    with pytest.raises(ProtocolError, match="amount 0: expected the amount that the hold was opened with"):
        await client.void(hold.id, amount=0)
    assert (await client.account(payer)).held == 400
    await client.void(hold.id, debit=payer, credit=shop, amount=400)
    assert (await client.account(payer)).held == 0
