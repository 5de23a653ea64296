"""What the digest of a shard and of group 0 can tell."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from node.core.machine import Machine, Part, digest_of
from node.daemon import CLUSTER_PARTS, SHARD_PARTS

BITS = 64


@pytest.mark.parametrize("make", [*SHARD_PARTS, *CLUSTER_PARTS])
def test_every_bit_of_what_came_before_counts(make: Callable[[], Part]) -> None:
    """A part hands all 64 bits of the others' digest on."""
    part = make()
    assert len({part.digest(0), *(part.digest(1 << bit) for bit in range(BITS))}) == BITS + 1


def test_a_digest_has_64_bits() -> None:
    """Of the state as of the seed; the upper half is used."""
    found = [digest_of([number], 0) for number in range(100)]
    assert len(set(found)) == len(found) and all(0 <= one < 1 << BITS for one in found)
    assert sum(one >= 1 << BITS // 2 for one in found) > 90
    assert Machine([]).digest() >= 0
