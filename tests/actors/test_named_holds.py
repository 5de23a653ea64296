"""Holds that another client has opened: whoever names both accounts needs no other shard."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.client import Client
from protocol.errors import Refused, RingpayError, Unreachable
from protocol.operations import Operation
from tests.actors.quiet import World, play
from tests.simulation.cluster import BASE_PORT


def stranger() -> Client:
    """A client that has opened none of the holds."""
    return Client([f"127.0.0.1:{BASE_PORT + place}" for place in range(3)])


def refuse_to_find(client: Client) -> None:
    """As where a shard has no leader: a look-up by the id alone needs all of them."""
    ask = client._calls.ask

    async def asked(operation: Operation, *rest: object) -> object:
        if operation is Operation.find_by_id:
            raise Unreachable("shard 2 had no leader in time")
        return await ask(operation, *rest)  # type: ignore[arg-type]  # as they came

    client._calls.ask = asked  # type: ignore[method-assign,assignment]  # the network is cut


@pytest.mark.parametrize("far", [1, 2])
def test_who_names_both_accounts_asks_no_other_shard(far: int) -> None:
    """Who names one, or none, does. What is wrong in them, the shard that judges says, and the hold stays."""

    async def story(world: World) -> None:
        payer, shop, other = world.name_in(1, "payer"), world.name_in(far, "shop"), world.name_in(far, "other")
        await world.open(payer, shop, other, funds=1_000)
        hold = (await world.client.hold(payer, shop, 80, ttl=600)).id
        async with stranger() as client:
            refuse_to_find(client)
            halves: tuple[dict[str, Any], ...] = ({}, {"debit": payer}, {"credit": shop})
            for named in halves:
                with pytest.raises(RingpayError, match="had no leader"):
                    await client.capture(hold, 1, **named)
            with pytest.raises(Refused, match="hold_has_different_credit_account"):
                await client.capture(hold, 1, debit=payer, credit=other)
            with pytest.raises(Refused, match=r"hold_(not_found|has_different_debit_account)"):
                await client.void(hold, debit=other, credit=payer)
            await client.capture(hold, 30, debit=payer, credit=shop)
            await client.void(hold, debit=payer, credit=shop)
        account = await world.client.account(payer)
        assert (account.posted, account.held) == (970, 0)

    play(story, shards=2)
