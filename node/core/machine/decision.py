"""The decision of a round: one status a transaction, merged from votes and packed so that a round where all went well takes a few bytes."""

from __future__ import annotations

import msgpack
import numpy as np

from node.core.machine.docket import Int32s, Statuses
from node.core.machine.part import NO_ROWS
from protocol.status import Status


def first_failures(first: Statuses, second: Statuses) -> Statuses:
    """The smaller non-zero status of the two, place by place; 0 where both are 0."""
    merged: Statuses = np.where((first == 0) | ((second != 0) & (second < first)), second, first)
    return merged


def pack_decision(statuses: Statuses, failed: Int32s = NO_ROWS) -> bytes:
    """`[count, positions (int32 bytes), statuses (bytes), rows (int32 bytes)]` of the transactions that do not commit.

    The rows are those at which they failed, left out where every transaction is one transfer.
    """
    places = np.flatnonzero(statuses)
    columns = [places.astype("<i4").tobytes(), statuses[places].tobytes()]
    if len(failed):
        columns.append(failed[places].astype("<i4").tobytes())
    packed: bytes = msgpack.packb([len(statuses), *columns])
    return packed


def unpack_decision(packed: bytes) -> Statuses:
    """One status a transaction of the round."""
    count, positions, failures, *_ = msgpack.unpackb(packed)
    statuses = np.zeros(count, np.uint8)
    statuses[np.frombuffer(positions, "<i4")] = np.frombuffer(failures, np.uint8)
    return statuses


def status_of(packed: bytes, number: int, row: int) -> int:
    """What becomes of the transfer in this row of the round (-1 where each transaction is one), which is of transaction `number`.

    A transaction fails at one of its transfers; the others have failed only with it.
    """
    status, failed = int(unpack_decision(packed)[number]), unpack_failed(packed)
    has_failed = bool(status) and status < Status.elsewhere
    is_elsewhere = has_failed and row >= 0 and len(failed) > 0 and int(failed[number]) != row
    return int(Status.linked_event_failed) if is_elsewhere else status


def unpack_failed(packed: bytes) -> Int32s:
    """The row of the round at which each transaction failed, -1 where it did not; empty where each is one transfer."""
    count, positions, _, *rows = msgpack.unpackb(packed)
    if not rows:
        return NO_ROWS
    failed = np.full(count, -1, np.int32)
    failed[np.frombuffer(positions, "<i4")] = np.frombuffer(rows[0], "<i4")
    return failed
