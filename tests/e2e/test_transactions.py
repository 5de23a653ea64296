"""Holds that end in one step and linked legs on real processes, within a shard and between shards."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from protocol.client import Capture, Client, Hold, Transfer, Void
from protocol.errors import ProtocolError, Refused
from protocol.status import Status
from scripts.local import LocalCluster
from tests.e2e.nodes import running

SHARDS = 4
PAIRS = [("{a}:payer", "{a}:shop"), ("{a}:payer", "{d}:shop")]
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
        for account in ("{a}:payer", "{a}:shop", "{d}:shop", "{c}:fees"):
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


async def posted(client: Client, *accounts: str) -> list[int]:
    """At one cut."""
    return [account.posted for account in await client.snapshot(list(accounts))]


@IN_AND_BETWEEN
async def test_a_capture_and_its_fee(client: Client, payer: str, shop: str) -> None:
    """All legs or none, over three shards; sent again they happen once."""
    before = await posted(client, payer, shop, "{c}:fees")
    hold = await client.hold(payer, shop, 400, ttl=600)
    legs = [Capture(hold.id, 300, final=True), Transfer(shop, "{c}:fees", 9, reference="fee"), Void(hold.id)]
    with pytest.raises(
        Refused, match="leg 2: hold_already_captured: expected a hold of which something is left"
    ) as refused:
        await client.transaction(legs)
    assert refused.value.leg == 2
    assert await posted(client, payer, shop, "{c}:fees") == before
    ids = [client.new_id(), client.new_id()]
    receipt = await client.transaction(legs[:2], ids=ids)
    assert (receipt.status, receipt.ids) == (Status.created, tuple(ids))
    assert (await client.transaction(legs[:2], ids=ids)).status == Status.exists
    after = await posted(client, payer, shop, "{c}:fees")
    assert [now - then for now, then in zip(after, before, strict=True)] == [-300, 291, 9]
    assert await client.outcome(ids[0], payer) == Status.created
    with pytest.raises(Refused, match="leg 0: exists: expected an id of its own for each leg"):
        await client.transaction(legs[:2], ids=[ids[0], client.new_id()])


@IN_AND_BETWEEN
async def test_legs_of_all_kinds(client: Client, payer: str, shop: str) -> None:
    """A hold gives way to a smaller one, and what is free is swept away."""
    old = await client.hold(payer, shop, 900, ttl=600)
    legs = [Void(old.id, amount=900), Hold(payer, shop, 100, ttl=600), Transfer(payer, "{c}:fees", 900, code=7)]
    receipt = await client.transaction(legs, commit="3pc")
    account = await client.account(payer)
    assert (account.posted, account.held) == (100, 100)
    await client.transaction([Capture(receipt.ids[1], 100)])
    assert (await client.account(payer)).posted == 0
    with pytest.raises(Refused, match="leg 1: insufficient_funds") as refused:
        await client.transaction([Transfer("world", payer, 10), Transfer(payer, shop, 11)])
    assert (refused.value.leg, refused.value.is_repeat) == (1, False)


async def test_a_transaction_whose_outcome_is_asked_for_first_never_happens(client: Client) -> None:
    """The first id settles all of it."""
    ids = [client.new_id(), client.new_id()]
    legs = [Transfer("{a}:payer", "{d}:shop", 10), Transfer("{a}:payer", "{c}:fees", 10)]
    assert await client.outcome(ids[0], "{a}:payer") == Status.cancelled
    with pytest.raises(Refused, match="leg 0: cancelled: this id was refused before") as refused:
        await client.transaction(legs, ids=ids)
    assert refused.value.is_repeat and refused.value.leg == 0
    assert (await client.account("{a}:payer")).posted == 1_000


@IN_AND_BETWEEN
async def test_legs_carry_what_transfers_do(client: Client, payer: str, shop: str) -> None:
    """A currency that is checked, metadata, what is given back, and amounts that follow from what is there: a sweep."""
    paid = await client.transaction([
        Transfer(payer, shop, 300, currency="EUR", metadata={"order": "A-17", "items": 3}),
        Transfer(payer, "{c}:fees", 5),
    ])  # fmt: skip
    found = await client.find(paid.ids[0])
    assert found is not None and found.metadata == {"order": "A-17", "items": 3}
    with pytest.raises(Refused, match="transfer_must_have_the_same_currency_as_accounts") as refused:
        await client.transaction([Transfer(payer, "{c}:fees", 5), Transfer(payer, shop, 1, currency="USD")])
    assert refused.value.leg == 1
    back = [
        Transfer(shop, payer, 100, reverses=paid.ids[0], metadata={"why": "broken"}),
        Transfer("{c}:fees", payer, 5),
    ]
    receipt = await client.transaction(back, ids=(ids := [client.new_id(), client.new_id()]))
    assert receipt.status is Status.created
    assert (await client.transaction(back, ids=ids)).status is Status.exists
    with pytest.raises(Refused, match="exceeds_reversible_amount") as refused:
        await client.transaction([Transfer(payer, "{c}:fees", 5), Transfer(shop, payer, 201, reverses=paid.ids[0])])
    assert refused.value.leg == 1
    swept = await client.transaction([Transfer(payer, shop, balancing="debit"), Transfer("world", payer, 1_000)])
    assert swept.legs[0].amount == 800
    assert (await client.account(payer)).posted == 1_000
