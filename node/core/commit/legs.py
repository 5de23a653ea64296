"""How a round's transfers are cut into the legs of each shard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgpack
import numpy as np
from numpy.typing import NDArray

from node.core.machine import Body, Guard, guards_command
from protocol.columns import SEPARATOR, Cutter, Flag, Transfers

LOCKS_GROUP = 0  # the cluster's own group keeps the locks
DEBIT, CREDIT = 1, 2  # sides of a leg: which of the transfer's accounts live in the shard


@dataclass(frozen=True, slots=True)
class Legs:
    """What one shard is asked to prepare."""

    rows: NDArray[np.intp]  # of the round's batch
    sides: NDArray[np.uint8]  # 0 for rows that a lock guards
    part: str
    body: Body  # the part's command

    def layout(self, numbers: NDArray[np.int32]) -> bytes:
        """Where the legs stand in the round, for who has to merge its votes later. A lone transfer's is its side alone."""
        if len(numbers) == 1:
            return self.sides.tobytes()
        columns = [self.rows.astype("<i4").tobytes(), numbers[self.rows].astype("<i4").tobytes(), self.sides.tobytes()]
        packed: bytes = msgpack.packb([self.part, *columns])
        return packed


def legs_of(layouts: Mapping[int, bytes]) -> tuple[dict[int, Legs], NDArray[np.int32]]:
    """The legs of each group, without bodies, and the transaction of each row of the round."""
    if all(len(layout) == 1 for layout in layouts.values()):
        lone = np.zeros(1, np.intp)
        parts = {group: "locks" if group == LOCKS_GROUP else "ledger" for group in layouts}
        sides = {group: np.frombuffer(layout, np.uint8) for group, layout in layouts.items()}
        return {group: Legs(lone, sides[group], parts[group], []) for group in layouts}, np.zeros(1, np.int32)
    legs: dict[int, Legs] = {}
    known: list[tuple[NDArray[np.int32], NDArray[np.int32]]] = []
    for group, layout in layouts.items():
        part, packed_rows, packed_numbers, sides = msgpack.unpackb(layout)
        rows = np.frombuffer(packed_rows, "<i4")
        known.append((rows, np.frombuffer(packed_numbers, "<i4")))
        legs[group] = Legs(rows.astype(np.intp), np.frombuffer(sides, np.uint8), part, [])
    numbers = np.zeros(max(int(rows[-1]) for rows, _ in known) + 1, np.int32)
    for rows, mine in known:
        numbers[rows] = mine
    return legs, numbers


def number_transactions(batch: Transfers) -> NDArray[np.int32]:
    """A transaction number a row, from 0: linked rows share theirs with the next row."""
    if not batch.flags:
        return np.arange(len(batch), dtype=np.int32)
    linked = (batch.flag_bits() & Flag.linked) != 0
    starts = np.ones(len(batch), np.int32)
    starts[1:] = ~linked[:-1]
    return np.cumsum(starts, dtype=np.int32) - 1


def cut_legs(
    batch: Transfers,
    numbers: NDArray[np.int32],
    debit_groups: NDArray[np.int32],
    credit_groups: NDArray[np.int32],
    tried: NDArray[np.int64] | None = None,
) -> dict[int, Legs]:
    """The legs of each group, in the order of the batch; a transfer within one group is one leg with both sides.

    `tried` are the amounts that the round tries for balancing rows, where there are any.
    """
    legs: dict[int, Legs] = {}
    if len(batch) == 1:
        _cut_one(legs, batch, int(debit_groups[0]), int(credit_groups[0]))
    else:
        _cut_many(legs, batch, numbers, debit_groups, credit_groups)
    if tried is not None:
        for leg in legs.values():
            leg.body.append(tried[leg.rows].astype("<i8").tobytes())
    if batch.lock:
        _add_guards(legs, batch, numbers)
    return legs


def _cut_one(legs: dict[int, Legs], batch: Transfers, debit_group: int, credit_group: int) -> None:
    """A lone transfer: the columns as they are, for either side."""
    columns, rows = batch.pack(), np.zeros(1, np.intp)
    sides = {debit_group: DEBIT}
    sides[credit_group] = sides.get(credit_group, 0) | CREDIT
    for group in sorted(sides):
        body: Body = ["legs", columns, bytes(4), bytes([sides[group]]), b""]
        legs[group] = Legs(rows, np.array([sides[group]], np.uint8), "ledger", body)


def _cut_many(
    legs: dict[int, Legs],
    batch: Transfers,
    numbers: NDArray[np.int32],
    debit_groups: NDArray[np.int32],
    credit_groups: NDArray[np.int32],
) -> None:
    size = int(max(debit_groups.max(), credit_groups.max())) + 1
    present = np.zeros(size, bool)
    present[debit_groups] = True
    present[credit_groups] = True
    cutter, has_chains = Cutter(batch), int(numbers[-1]) + 1 < len(batch)
    for group in np.flatnonzero(present).tolist():
        sides = np.where(debit_groups == group, np.uint8(DEBIT), np.uint8(0))
        sides |= np.where(credit_groups == group, np.uint8(CREDIT), np.uint8(0))
        rows = np.flatnonzero(sides)
        sides = sides[rows]
        round_rows = rows.astype("<i4").tobytes() if has_chains else b""
        body: Body = [
            "legs",
            cutter.take(rows).pack(),
            numbers[rows].astype("<i4").tobytes(),
            sides.tobytes(),
            round_rows,
        ]
        legs[group] = Legs(rows, sides, "ledger", body)


def _add_guards(legs: dict[int, Legs], batch: Transfers, numbers: NDArray[np.int32]) -> None:
    """Rows with a lock."""
    names, tokens = batch.lock.split(SEPARATOR), np.frombuffer(batch.token or bytes(8 * len(batch)), "<u8")
    rows = np.flatnonzero([name != "" for name in names])
    if len(rows):
        guards = [Guard(int(numbers[row]), names[row], int(tokens[row])) for row in rows.tolist()]
        legs[LOCKS_GROUP] = Legs(rows, np.zeros(len(rows), np.uint8), "locks", guards_command(guards))
