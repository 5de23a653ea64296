"""Sealed segments in the store."""

from __future__ import annotations

from node.core.ledger.segment import Segment
from node.core.machine.part import Loaded

SEGMENTS = "ledger_segments"


def stored_segment(number: int, loaded: Loaded) -> Segment:
    """A segment that was read for a `Need`."""
    packed = loaded[SEGMENTS, number]
    assert packed is not None, f"segment {number} is not in the store"
    return Segment.unpack(number, packed)
