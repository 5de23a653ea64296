"""How a round's transfers are cut into the legs of each shard."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from node.core.machine import Body
from protocol.columns import Cutter, Flag, Transfers

DEBIT, CREDIT = 1, 2  # sides of a leg: which of the transfer's accounts live in the shard


@dataclass(frozen=True, slots=True)
class Legs:
    """What one shard is asked to prepare."""

    rows: NDArray[np.intp]  # of the round's batch
    sides: NDArray[np.uint8]
    body: Body  # the ledger's `legs` command


def number_transactions(batch: Transfers) -> NDArray[np.int32]:
    """A transaction number a row, from 0: linked rows share theirs with the next row."""
    linked = (batch.flag_bits() & Flag.linked) != 0
    starts = np.ones(len(batch), np.int32)
    starts[1:] = ~linked[:-1]
    return np.cumsum(starts, dtype=np.int32) - 1


def cut_legs(
    batch: Transfers, numbers: NDArray[np.int32], debit_groups: NDArray[np.int32], credit_groups: NDArray[np.int32]
) -> dict[int, Legs]:
    """The legs of each group, in the order of the batch; a transfer within one group is one leg with both sides."""
    size = int(max(debit_groups.max(), credit_groups.max())) + 1
    present = np.zeros(size, bool)
    present[debit_groups] = True
    present[credit_groups] = True
    legs: dict[int, Legs] = {}
    cutter = Cutter(batch)
    for group in np.flatnonzero(present).tolist():
        sides = np.where(debit_groups == group, np.uint8(DEBIT), np.uint8(0))
        sides |= np.where(credit_groups == group, np.uint8(CREDIT), np.uint8(0))
        rows = np.flatnonzero(sides)
        sides = sides[rows]
        body: Body = ["legs", cutter.take(rows).pack(), numbers[rows].astype("<i4").tobytes(), sides.tobytes()]
        legs[group] = Legs(rows, sides, body)
    return legs
