"""Sends a batch of transfers where its rows belong."""

from __future__ import annotations

import asyncio

import numpy as np
from numpy.typing import NDArray

from protocol import ids as transfer_ids
from protocol.client.calls import SAMPLE, Calls
from protocol.columns import Cutter, Flag, Transfers
from protocol.errors import Busy, OutcomeUnknown
from protocol.operations import Operation
from protocol.placement import COORDINATOR, groups_of_transfers


async def send(calls: Calls, batch: Transfers, timeout: float | None) -> bytes:
    """A status a row. Raises Busy if nothing has happened, OutcomeUnknown if something may have.

    A batch goes straight to the shard that all its rows stay in. Where each stays in a shard of its own, and none is linked, its
    shards get their rows at once, without a round.
    """
    groups = _groups_of_rows(calls, batch)
    if groups is not None and (groups != groups[0]).any() and not _has_chains(batch):
        return await _scatter(calls, batch, groups, timeout)
    is_one = groups is not None and bool((groups == groups[0]).all())
    return await _send(calls, batch, int(groups[0]) if groups is not None and is_one else COORDINATOR, timeout)


async def _send(calls: Calls, batch: Transfers, group: int, timeout: float | None) -> bytes:
    first = transfer_ids.unpack(batch.ids[:16])
    (statuses,) = await calls.call(Operation.transfers, group, batch.pack(), timeout, first)
    assert isinstance(statuses, bytes)
    return statuses


def _has_chains(batch: Transfers) -> bool:
    return bool((batch.flag_bits() & Flag.linked).any()) if batch.flags else False


def _groups_of_rows(calls: Calls, batch: Transfers) -> NDArray[np.int32] | None:
    """The group that each row stays in; None if one needs two, or a lock, which only the coordinator asks for."""
    assert calls.placement is not None
    if batch.lock:
        return None
    shards = calls.placement.shards
    if shards == 1:
        return np.ones(1, np.int32)
    debits, credits = batch.debits(), batch.credits()

    def stays(count: int) -> NDArray[np.int32] | None:
        ids, giving, taking = batch.ids[: 16 * count], debits[:count], credits[:count]
        givers, takers = groups_of_transfers(ids, giving, taking, shards, calls.split)
        return None if (givers != takers).any() else givers

    if len(batch) > SAMPLE and stays(SAMPLE) is None:  # mostly the first rows tell
        return None
    return stays(len(batch))


async def _scatter(calls: Calls, batch: Transfers, groups: NDArray[np.int32], timeout: float | None) -> bytes:
    """Each shard's rows to its leader. A shard that is busy is asked again once another may have taken its rows."""
    deadline = calls.now() + (calls.timeout if timeout is None else timeout)
    cutter, statuses = Cutter(batch), np.zeros(len(batch), np.uint8)
    left = {group: np.flatnonzero(groups == group) for group in np.unique(groups).tolist()}
    is_first = True
    while left:
        seconds = max(0.001, deadline - calls.now())
        sent = [_send(calls, cutter.take(rows), group, seconds) for group, rows in left.items()]
        answers = await asyncio.gather(*sent, return_exceptions=True)
        refused: list[Busy] = []
        for (group, rows), answer in zip(list(left.items()), answers, strict=True):
            if isinstance(answer, Busy):
                refused.append(answer)
            elif isinstance(answer, BaseException):
                raise answer
            else:
                statuses[rows] = np.frombuffer(answer, np.uint8)
                del left[group]
        if refused and is_first and len(refused) == len(answers):
            raise refused[0]
        is_first = False
        if refused:
            pause = max(busy.retry_after for busy in refused)
            if calls.now() + pause >= deadline:
                raise OutcomeUnknown(transfer_ids.unpack(batch.ids[:16]), "some shards were busy until the deadline")
            await asyncio.sleep(pause)
    return statuses.tobytes()
