"""A lock whose release is cancelled."""

from __future__ import annotations

import asyncio

import pytest

from tests.actors.quiet import World, play


def test_a_release_that_is_cancelled_is_sent_nevertheless() -> None:
    """Here before it was: it waited for a renewal to end."""

    async def story(world: World) -> None:
        lock = world.client.lock("till", ttl=600)
        await lock.acquire()
        lock._begin_renewal()
        await asyncio.sleep(0)
        releasing = asyncio.ensure_future(lock.release())
        await asyncio.sleep(0)
        releasing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await releasing
        async with world.client.lock("till", wait=0):
            pass

    play(story)
