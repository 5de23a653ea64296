"""What a hold promises its creditor, whose account lives in another shard: the money, not the room for it."""

from __future__ import annotations

import pytest

from protocol.errors import Refused
from protocol.status import Status
from tests.actors.quiet import World, play


def test_a_creditor_may_close_and_the_money_goes_back() -> None:
    """The capture is refused for good; the hold stays, and voiding it needs nothing of the creditor."""

    async def story(world: World) -> None:
        client, payer, shop = world.client, world.name_in(1, "payer"), world.name_in(2, "shop")
        await world.open(payer, funds=100)
        await world.open(shop)
        hold = await client.hold(payer, shop, 60, ttl=600)
        with pytest.raises(Refused, match="account_not_empty"):
            await client.update_account(payer, status="closed")
        await client.update_account(shop, status="closed")
        with pytest.raises(Refused, match="credit_account_closed"):
            await client.capture(hold.id, 60)
        assert (await client.account(payer)).held == 60
        assert (await client.void(hold.id)).status == Status.created
        assert ((await client.account(payer)).posted, (await client.account(payer)).held) == (100, 0)

    play(story, shards=2)


def test_more_than_the_creditors_maximum_can_be_held() -> None:
    """What is captured is judged by the room that there is then."""

    async def story(world: World) -> None:
        client, payer, shop = world.client, world.name_in(1, "payer"), world.name_in(2, "shop")
        await world.open(payer, funds=100)
        await client.create_account(shop, "EUR", maximum_balance=50)
        hold = await client.hold(payer, shop, 60, ttl=600)
        with pytest.raises(Refused, match="exceeds_maximum_balance"):
            await client.capture(hold.id, 60)
        await client.capture(hold.id, 50)
        await client.update_account(shop, maximum_balance=None)
        await client.capture(hold.id, 10)
        assert (await client.account(shop)).posted == 60

    play(story, shards=2)
