"""Keys of transfer ids: 64 bits that order roughly by time, kept sorted, so that a batch is checked with few C calls.

A key is 40 bits of the id's millisecond timestamp above 24 bits mixed from all of it. Equal ids have equal keys; equal
keys only make two ids worth comparing in full. The mixing keeps ids that count upwards apart.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from node.core.ledger.limits import INTERVALS, Keys

MIX_LOW = 0x9E3779B97F4A7C15  # odd numbers without structure: multiplying spreads close ids over the upper bits
MIX_HIGH = 0xC2B2AE3D27D4EB4F
MASK = 2**64 - 1
NO_KEYS: Keys = np.zeros(0, np.uint64)


def keys_of(ids: bytes) -> Keys:
    """The key of each packed 16-byte id."""
    pairs = np.frombuffer(ids, ">u8").astype(np.uint64)
    high, low = pairs[0::2], pairs[1::2]
    mixed = (low * np.uint64(MIX_LOW)) ^ (high * np.uint64(MIX_HIGH))
    keys: Keys = ((high >> np.uint64(16)) << np.uint64(24)) | (mixed >> np.uint64(40))
    return keys


@lru_cache(maxsize=1_024)  # a lone transfer is asked for its key thrice, from its resolving to its record
def key_of(id: bytes) -> int:
    """The key of one id."""
    high, low = int.from_bytes(id[:8], "big"), int.from_bytes(id[8:], "big")
    mixed = ((low * MIX_LOW) & MASK) ^ ((high * MIX_HIGH) & MASK)
    return ((high >> 16 << 24) & MASK) | mixed >> 40


@dataclass(slots=True)
class Run:
    """Sorted keys with their range as plain integers."""

    keys: Keys
    lowest: int = field(init=False)
    highest: int = field(init=False)

    def __post_init__(self) -> None:
        self.lowest = int(self.keys[0]) if len(self.keys) else MASK
        self.highest = int(self.keys[-1]) if len(self.keys) else 0

    def has(self, key: int) -> bool:
        """Whether an id with this key may be here."""
        if key < self.lowest or key > self.highest:
            return False
        value = np.uint64(key)
        return bool(self.keys[self.keys.searchsorted(value)] == value)

    def common(self, batch: Run) -> Keys:
        """Keys of the batch that are here too."""
        if batch.highest < self.lowest or batch.lowest > self.highest or not len(batch.keys):
            return NO_KEYS
        bounds = np.array([self.lowest, self.highest], np.uint64)
        first = int(batch.keys.searchsorted(bounds[0], "left"))
        last = int(batch.keys.searchsorted(bounds[1], "right"))
        part: Keys = batch.keys[first:last]
        found = self.keys.take(self.keys.searchsorted(part), mode="clip")
        common: Keys = part[found == part]
        return common


def sorted_run(ids: bytes) -> tuple[Keys, Run]:
    """Keys of packed ids as they come, and sorted."""
    keys = keys_of(ids)
    ordered = keys.copy()
    ordered.sort()
    return keys, Run(ordered)


def merged(first: Run, second: Run) -> Run:
    """One run of both."""
    keys = np.concatenate((first.keys, second.keys))
    keys.sort()
    return Run(keys)


def intervals_of(keys: Keys) -> list[tuple[int, int]]:
    """The sorted keys' range, cut at its widest gaps into at most `INTERVALS` parts."""
    if not len(keys):
        return []
    gaps = np.diff(keys)
    cuts = np.zeros(0, np.intp)
    if len(gaps):
        widest = max(0, len(gaps) - (INTERVALS - 1))
        least = np.partition(gaps, widest)[widest]  # the value is the same on every machine, places of ties are not
        cuts = np.flatnonzero(gaps >= least)[: INTERVALS - 1]
    starts = [0, *(cuts + 1).tolist()]
    ends = [*cuts.tolist(), len(keys) - 1]
    return [(int(keys[start]), int(keys[end])) for start, end in zip(starts, ends, strict=True)]
