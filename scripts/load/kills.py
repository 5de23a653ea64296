"""Kills a group's leader again and again, and measures how long the client got no answer, and how soon the node is back."""

from __future__ import annotations

import asyncio
import bisect
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass

from scripts.local import LocalCluster, until

CALM_SECONDS = 1.0  # of load before each kill, and after all is as it was
ANSWER_SECONDS = 30.0  # without any answer: the load is stuck
BUSY_GROUP = 1  # every shard of the load is as busy as any other
COORDINATOR_GROUP = 0


@dataclass(frozen=True, slots=True)
class Kill:
    """One killed leader."""

    node: int
    gap_ms: float  # the longest time between two answers until its node was started again
    return_gap_ms: float  # the same from then on until all was as before
    answers_ms: float  # from its start until the node answered


async def kill_leaders(cluster: LocalCluster, group: int, answered: Sequence[float], count: int) -> list[Kill]:
    """Kills the group's leader `count` times, starting it again each time. The times of all answers are added to `answered`."""
    kills = []
    await until(lambda: bool(answered), ANSWER_SECONDS)
    await cluster.wait_until_at_home()
    began = time.monotonic()
    for _ in range(count):
        await asyncio.sleep(CALM_SECONDS)
        node = (await cluster.wait_until_serving()).leaders[group]
        killed_at = time.monotonic()
        await asyncio.to_thread(cluster.kill, node)
        await _until_answered(answered, killed_at + CALM_SECONDS)
        started_at = time.monotonic()
        cluster.start(node)
        await cluster.wait_until_answering(node)
        answers_ms = (time.monotonic() - started_at) * 1000
        await cluster.wait_until_caught_up()
        await cluster.wait_until_at_home()
        await _until_answered(answered, ended := time.monotonic() + CALM_SECONDS)
        gaps = longest_gap_ms(answered, began, started_at), longest_gap_ms(answered, started_at, ended)
        kills.append(Kill(node, *gaps, answers_ms))
        began = ended
    return kills


async def _until_answered(answered: Sequence[float], moment: float) -> None:
    """Returns at the first answer after the moment. Raises TimeoutError when there is none."""
    await until(lambda: answered[-1] >= moment, ANSWER_SECONDS + moment - time.monotonic())


def longest_gap_ms(answered: Sequence[float], begin: float, end: float) -> float:
    """The longest time between two acknowledgements whose middle lies in the given time."""
    first = max(bisect.bisect(answered, begin) - 1, 0)
    near = itertools.pairwise(answered[first : bisect.bisect(answered, end) + 1])
    return (
        max((later - earlier for earlier, later in near if begin <= (earlier + later) / 2 <= end), default=0.0) * 1000
    )
