"""The decision of a round: one status a transaction, merged from votes and packed so that a round where all went well takes a few bytes."""

from __future__ import annotations

import msgpack
import numpy as np

from node.core.machine.part import Statuses

SETTLED = 0x80  # in a row's status of the debit side: the id has an outcome or waits for one, so nobody else's objection counts


def first_failures(first: Statuses, second: Statuses) -> Statuses:
    """The smaller non-zero status of the two, place by place; 0 where both are 0."""
    merged: Statuses = np.where((first == 0) | ((second != 0) & (second < first)), second, first)
    return merged


def pack_decision(statuses: Statuses) -> bytes:
    """`[count, positions (int32 bytes), statuses (bytes)]` of the transactions that do not commit."""
    failed = np.flatnonzero(statuses)
    packed: bytes = msgpack.packb([len(statuses), failed.astype("<i4").tobytes(), statuses[failed].tobytes()])
    return packed


def unpack_decision(packed: bytes) -> Statuses:
    """One status a transaction of the round."""
    count, positions, failures = msgpack.unpackb(packed)
    statuses = np.zeros(count, np.uint8)
    statuses[np.frombuffer(positions, "<i4")] = np.frombuffer(failures, np.uint8)
    return statuses
