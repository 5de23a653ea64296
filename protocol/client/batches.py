"""Sends a batch of transfers where its rows belong."""

from __future__ import annotations

import asyncio

import numpy as np
from numpy.typing import NDArray

from protocol.answers import Transferred
from protocol.client.calls import SAMPLE, Calls, Deed
from protocol.columns import Cutter, Flag, Transfers
from protocol.errors import Busy, OutcomeUnknown, RingpayError
from protocol.operations import Operation
from protocol.placement import COORDINATOR, groups_of_transfers

ONLY_GROUP = np.ones(1, np.int32)  # of any rows, where there is one shard


async def send(calls: Calls, batch: Transfers, deadline: float) -> bytes:
    """A status a row. Raises OutcomeUnknown, with the ids of all rows, if any of them may have happened; else nothing has.

    A batch goes straight to the shard that all its rows stay in. Where each stays in a shard of its own, and none is linked, its
    shards get their rows at once, without a round.
    """
    placement = calls.placement or await calls.table(calls.left(deadline))
    groups = _groups_of_rows(calls, batch, placement.shards)
    if groups is None:
        return await _send(calls, batch, COORDINATOR, deadline)
    if len(groups) == 1 or (groups == groups[0]).all():
        return await _send(calls, batch, int(groups[0]), deadline)
    if _has_chains(batch):
        return await _send(calls, batch, COORDINATOR, deadline)
    return await _scatter(calls, batch, groups, deadline)


async def _send(calls: Calls, batch: Transfers, group: int, deadline: float) -> bytes:
    deed = Deed("transfer", batch.ids)
    answer = await calls.call_until(Operation.transfers, group, batch.pack(), deadline, deed)
    return Transferred.unpack(answer).statuses


def _has_chains(batch: Transfers) -> bool:
    return bool((batch.flag_bits() & Flag.linked).any()) if batch.flags else False


def _groups_of_rows(calls: Calls, batch: Transfers, shards: int) -> NDArray[np.int32] | None:
    """The group that each row stays in; None if one needs two, or a lock, which only the coordinator asks for."""
    if batch.lock:
        return None
    if shards == 1:
        return ONLY_GROUP
    debits, credits, flags = batch.debits(), batch.credits(), batch.flag_bits() if batch.flags else None

    def stays(count: int) -> NDArray[np.int32] | None:
        some = None if flags is None else flags[:count]
        debit_groups, credit_groups = groups_of_transfers(debits[:count], credits[:count], shards, calls.split, some)
        return None if (debit_groups != credit_groups).any() else debit_groups

    if len(batch) > SAMPLE and stays(SAMPLE) is None:  # mostly the first rows tell
        return None
    return stays(len(batch))


async def _scatter(calls: Calls, batch: Transfers, groups: NDArray[np.int32], deadline: float) -> bytes:
    """Each shard's rows to its leader. A shard that is busy is asked again once another may have taken its rows."""
    cutter, statuses = Cutter(batch), np.zeros(len(batch), np.uint8)
    left = {group: np.flatnonzero(groups == group) for group in np.unique(groups).tolist()}
    has_begun = False  # whether any row may have happened
    while True:
        sent = [_send(calls, cutter.take(rows), group, deadline) for group, rows in left.items()]
        answers = await asyncio.gather(*sent, return_exceptions=True)
        failures: list[RingpayError] = []
        for (group, rows), answer in zip(list(left.items()), answers, strict=True):
            if isinstance(answer, bytes):
                statuses[rows] = np.frombuffer(answer, np.uint8)
                del left[group]
            elif isinstance(answer, RingpayError):
                failures.append(answer)
            else:
                raise answer
        if not failures:
            return statuses.tobytes()
        has_begun = has_begun or len(failures) < len(answers)
        worst = _worst(failures)
        if not has_begun and not isinstance(worst, OutcomeUnknown):
            raise worst
        pause = worst.retry_after if isinstance(worst, Busy) else 0.0
        if not isinstance(worst, Busy) or calls.now() + pause >= deadline:
            raise Deed("transfer", batch.ids).unknown(f"other shards have taken their rows: {worst}") from worst
        await asyncio.sleep(pause)


def _worst(failures: list[RingpayError]) -> RingpayError:
    """A doubt before an end, an end before `busy`, and of these the longest."""
    busy = [failure for failure in failures if isinstance(failure, Busy)]
    ends = [failure for failure in failures if not isinstance(failure, Busy)]
    doubts = [failure for failure in ends if isinstance(failure, OutcomeUnknown)]
    return (doubts or ends or [max(busy, key=lambda failure: failure.retry_after)])[0]
