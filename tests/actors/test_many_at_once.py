"""A client that is given far more than the nodes bear: it sends what they bear, and says honestly what it has not sent."""

from __future__ import annotations

import asyncio

import pytest

from node.actors import admission
from protocol.client import Receipt
from protocol.errors import Busy
from tests.actors.quiet import World, play

PAYMENTS = 3_000


@pytest.mark.parametrize("requests_max", [admission.REQUESTS_MAX, 64])
def test_thousands_of_payments_at_once(monkeypatch: pytest.MonkeyPatch, requests_max: int) -> None:
    """Each is acknowledged, or has surely not happened; none is in doubt, on nodes that take all of it or very little."""
    monkeypatch.setattr(admission, "REQUESTS_MAX", requests_max)

    async def story(world: World) -> None:
        await world.open("a", "b", funds=PAYMENTS)
        payments = [world.client.transfer("a", "b", 1) for _ in range(PAYMENTS)]
        answers = await asyncio.gather(*payments, return_exceptions=True)
        paid = sum(isinstance(answer, Receipt) for answer in answers)
        assert [answer for answer in answers if not isinstance(answer, (Receipt, Busy))] == []
        assert paid and (await world.client.account("b")).posted == PAYMENTS + paid
        assert paid == PAYMENTS or requests_max < PAYMENTS

    play(story)
