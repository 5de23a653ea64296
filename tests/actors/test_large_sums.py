"""Sums beyond 64 bits, of which split accounts have the only ones: whoever asks is told, and no node stops."""

from __future__ import annotations

import pytest

from protocol import frames
from protocol.client import Transfer
from protocol.errors import ErrorCode, ProtocolError, Refused
from protocol.status import AMOUNT_MAX, Status
from tests.actors.quiet import World, play

SHARDS = 5  # their shares, each as full as it can be, add up to more than 2^64
LEGS = 8  # that want more than 2^64


def test_an_integer_beyond_64_bits_is_not_packed() -> None:
    """Just within them it is."""
    for number in (2**64 - 1, -(2**63)):
        assert frames.unpack(frames.pack([number])) == [number]
    for number in (2**64, -(2**63) - 1):
        with pytest.raises(ProtocolError, match="beyond 64 bits: expected -2"):
            frames.pack([number])


async def payers(world: World) -> list[str]:
    """One a shard, without a limit."""
    names = [world.name_in(group, "payer") for group in range(1, SHARDS + 1)]
    await world.client.create_accounts([[name, "EUR", None, None, "", b""] for name in names])
    return names


def test_a_transaction_that_wants_more_than_there_can_be() -> None:
    """By whatever node it comes, its legs' sum is asked of the other shares."""

    async def story(world: World) -> None:
        names = await payers(world)
        await world.client.create_account("shop", "EUR", split=True)
        for name in names:
            with pytest.raises(Refused) as refused:
                await world.client.transaction([Transfer("shop", name, AMOUNT_MAX)] * LEGS)
            assert refused.value.status == Status.insufficient_funds.name
        assert len((await world.client.cluster()).up) == 3

    play(story, shards=SHARDS)


def test_a_balance_that_no_answer_can_hold() -> None:
    """Its shares go on, and pay as before."""

    async def story(world: World) -> None:
        names = await payers(world)
        await world.client.create_account("shop", "EUR", split=True)
        for name in names:
            await world.client.transfer(name, "shop", AMOUNT_MAX)
        for read in (world.client.account("shop"), world.client.snapshot(["shop"])):
            with pytest.raises(ProtocolError, match="the answer has an integer beyond 64 bits") as told:
                await read
            assert told.value.code is ErrorCode.bad_request
        await world.client.transfer("shop", names[0], AMOUNT_MAX)
        await world.client.transfer("shop", names[1], AMOUNT_MAX)
        assert (await world.client.account("shop")).posted == (SHARDS - 2) * AMOUNT_MAX
        assert (await world.client.audit()).balanced and len((await world.client.cluster()).up) == 3

    play(story, shards=SHARDS)
