"""What clients may be told about an id: only what its debit account's shard has on record."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from protocol.columns import Flag
from protocol.errors import OutcomeUnknown, Refused
from protocol.placement import group_of
from protocol.status import Status
from tests.actors.quiet import World, play

SHARDS = 6


def places(world: World) -> tuple[int, int]:
    """A debit's group that the coordinator's node does not lead, and a credit's group of another leader."""
    coordinator = world.leader(0)
    giving = next(group for group in range(1, SHARDS + 1) if world.leader(group) != coordinator)
    taking = next(group for group in range(1, SHARDS + 1) if world.leader(group) != world.leader(giving))
    return giving, taking


@contextmanager
def cut(world: World, group: int) -> Iterator[None]:
    """The coordinator's node and the group's leader do not hear each other; everybody else hears both."""
    coordinator, leader = world.leader(0), world.leader(group)
    world.network.block(coordinator, leader)
    world.network.block(leader, coordinator)
    yield
    world.network.heal()


def test_a_refusal_is_told_only_once_it_is_on_record() -> None:
    """The credit's shard refuses while the debit's shard is hard to reach: refused for good, or unknown."""

    async def story(world: World) -> None:
        giving, taking = places(world)
        payer, shop = world.name_in(giving, "payer"), world.name_in(taking, "shop")
        await world.open(payer, shop, funds=100)
        await world.client.update_account(shop, status="frozen")
        id = world.client.new_id()
        told = ""
        with cut(world, giving):
            try:
                await world.client.transfer(payer, shop, 40, id=id, timeout=6.0)
            except (Refused, OutcomeUnknown) as error:
                told = error.status if isinstance(error, Refused) else ""
        await world.client.update_account(shop, status="open")
        settled = await world.client.outcome(id, payer)
        assert settled.name == told if told else settled in (Status.cancelled, Status.credit_account_frozen)
        assert (await world.client.account(shop)).posted == 100

    play(story, shards=SHARDS)


@pytest.mark.parametrize("reason", ["frozen", "lock"])
def test_a_payment_that_happened_is_never_said_to_be_refused(reason: str) -> None:
    """Its repeat is refused by everybody else by now, and its debit's shard is silent."""

    async def story(world: World) -> None:
        giving, taking = places(world)
        payer, shop = world.name_in(giving, "payer"), world.name_in(taking, "shop")
        await world.open(payer, shop, funds=100)
        id = world.client.new_id()
        async with world.client.lock("settlement", ttl=5) as lock:
            await world.client.transfer(payer, shop, 40, id=id, lock=lock)
        if reason == "frozen":
            await world.client.update_account(shop, status="frozen")
        with cut(world, giving), suppress(OutcomeUnknown):
            again = await world.client.transfer(payer, shop, 40, id=id, lock=lock, timeout=6.0)
            assert again.status == Status.exists
        assert (await world.client.transfer(payer, shop, 40, id=id, lock=lock)).status == Status.exists

    play(story, shards=SHARDS)


@pytest.mark.parametrize("groups", [(1, 1, 1, 1), (1, 2, 2, 1), (1, 2, 1, 2)], ids=["one shard", "two", "two again"])
def test_a_failed_chain_is_answered_alike_and_leaves_its_other_ids_free(groups: tuple[int, int, int, int]) -> None:
    """Within a shard and across: the same statuses in the same places, also when its first row would fail by now."""

    async def story(world: World) -> None:
        names = [world.name_in(group, stem) for group, stem in zip(groups, ("a", "b", "poor", "sink"), strict=True)]
        a, b, poor, sink = names
        await world.open(*names)
        home = group_of(a, 2)
        funds = next(name for name in (f"{{{number}}}world" for number in range(100)) if group_of(name, 2) == home)
        await world.client.transfer(funds, a, 100)
        first, second, third = (world.client.new_id() for _ in range(3))
        chain = {"debit": [a, poor], "credit": [b, sink], "amount": [10, 10], "flags": [Flag.linked, 0]}
        expected = [Status.linked_event_failed, Status.insufficient_funds]
        assert await world.client.transfer_many(**chain, ids=[first, second]) == expected  # type: ignore[arg-type]
        await world.client.update_account(a, status="frozen")
        assert await world.client.transfer_many(**chain, ids=[first, second]) == expected  # type: ignore[arg-type]
        await world.client.update_account(a, status="open")
        chain["debit"], chain["credit"] = [a, a], [b, sink]
        created = [Status.created, Status.created]
        assert await world.client.transfer_many(**chain, ids=[first, third]) == created  # type: ignore[arg-type]

    play(story, shards=2)


def test_an_id_pays_once_from_a_split_account() -> None:
    """Its credits may be in any shard: the second one is refused by name, alone and in a batch."""

    async def story(world: World) -> None:
        names = [world.name_in(group, stem) for group, stem in ((1, "one"), (2, "two"), (3, "three"))]
        await world.client.create_account("platform", "EUR", minimum_balance=None, split=True)
        for name in names:
            await world.client.create_account(name, "EUR")
        for first in range(3):
            id = world.client.new_id()
            await world.client.transfer("platform", names[first], 10, id=id)
            others = [name for name in names if name != names[first]]
            for other in others:
                with pytest.raises(Refused, match="exists_with_different_credit_account"):
                    await world.client.transfer("platform", other, 10, id=id)
            statuses = await world.client.transfer_many(["platform"], [others[0]], [10], ids=[id])
            assert statuses == [Status.exists_with_different_credit_account]
        assert (await world.client.account("platform")).posted == -30

    play(story, shards=3)


def test_a_node_that_has_not_heard_of_a_split_account_records_a_refusal_where_the_id_lives() -> None:
    """A copy that comes when everybody knows gets the same refusal."""

    async def story(world: World) -> None:
        client = world.client
        await client.create_account("platform", "EUR", minimum_balance=None, split=True)
        shop = world.name_in(2 if group_of("platform", 2) == 1 else 1, "shop")
        await client.create_account(shop, "EUR")
        await client.update_account(shop, status="frozen")
        id = client.new_id()
        for number in world.cluster.hosts:
            world.node(number).router.split.clear()
        client._calls.split.clear()
        for _ in range(2):
            with pytest.raises(Refused, match="credit_account_frozen"):
                await client.transfer("platform", shop, 10, id=id)
            await client.update_account(shop, status="open")
            client._calls.split["platform"] = None

    play(story, shards=2)
