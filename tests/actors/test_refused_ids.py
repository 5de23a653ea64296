"""A refused id keeps its refusal, and its repeat says so: when it was first refused, and that paying anew takes a new id."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from protocol.client import Client
from protocol.errors import Refused
from protocol.operations import Operation
from protocol.placement import group_of
from protocol.status import Status
from tests.actors.quiet import World, play


async def refusal(client: Client, debit: str, credit: str, amount: int, id: int | None = None) -> Refused:
    """What a payment that is refused is told."""
    with pytest.raises(Refused) as told:
        await client.transfer(debit, credit, amount, id=id)
    return told.value


@pytest.mark.parametrize("shard", [1, 2])
def test_a_repeat_says_when_it_was_first_refused(shard: int) -> None:
    """Within a shard and across, when there is plenty by now; a new id pays."""

    async def story(world: World) -> None:
        client, payer, shop = world.client, world.name_in(1, "payer"), world.name_in(shard, "shop")
        await world.open(payer, shop)
        id = client.new_id()
        first = await refusal(client, payer, shop, 40, id)
        assert not first.is_repeat and first.first_refused_at is None
        assert str(first) == "insufficient_funds: expected an amount within the debit account's available balance"
        when = datetime.fromtimestamp(world.cluster.hosts[world.leader(1)].clock.wall_ns() / 1e9, UTC)
        till = next(name for name in (f"{{{number}}}world" for number in range(99)) if group_of(name, 2) == 1)
        await client.transfer(till, payer, 100)
        again = await refusal(client, payer, shop, 40, id)
        assert again.is_repeat and again.status == Status.insufficient_funds.name
        assert again.first_refused_at is not None and again.first_refused_at.utcoffset() == timedelta(0)
        assert abs(again.first_refused_at - when) < timedelta(seconds=1)
        assert "was refused before at " in str(again) and "use a new id" in str(again)
        assert (await client.transfer(payer, shop, 40)).status == Status.created
        assert await client.transfer_many([payer], [shop], [40], ids=[id]) == [Status.insufficient_funds]

    play(story, shards=2)


@pytest.mark.parametrize("what", ["a version", "a repeat"])
def test_a_refusal_does_not_wait_for_its_details(what: str) -> None:
    """It is known by the coordinator's word; the debit's leader, which nobody can reach any more, has only more to tell."""

    async def story(world: World) -> None:
        client, payer, shop = world.client, world.name_in(1, "payer"), world.name_in(2, "shop")
        await world.open(payer, shop, funds=10)
        id = client.new_id()
        await refusal(client, payer, shop, 40, id)
        honest, leader = client._calls.ask, world.leader(1)

        async def ask(operation: Operation, *arguments: Any) -> list[Any]:
            for other in (world.owner.host, *world.followers(1)):
                world.network.block(other, leader)
            return await honest(operation, *arguments)

        with pytest.MonkeyPatch.context() as patch, pytest.raises(Refused) as told:
            patch.setattr(client._calls, "ask", ask)
            began = world.loop.time()
            if what == "a version":
                await client.transfer(payer, shop, 40, if_version=1, timeout=30.0)
            else:
                await client.transfer(payer, shop, 40, id=id, timeout=30.0)
        assert world.loop.time() - began < 1.0
        assert told.value.is_repeat == (what == "a repeat")
        assert told.value.version is None and told.value.first_refused_at is None

    play(story, shards=2)


def test_the_shape_of_a_request_is_no_refusal_on_record() -> None:
    """The same id may pay once its request is right."""

    async def story(world: World) -> None:
        client, payer, shop = world.client, world.name_in(1, "payer"), world.name_in(1, "shop")
        await world.open(payer, shop, funds=100)
        id = client.new_id()
        for _ in range(2):
            assert not (await refusal(client, payer, payer, 40, id)).is_repeat
        assert (await client.transfer(payer, shop, 40, id=id)).status == Status.created

    play(story, shards=2)
