"""Which clock is wrong: only what a majority of all nodes says for sure."""

from __future__ import annotations

import pytest

from node.core.clocks import SKEW_NS_MAX, Reading, compare

SECOND_NS = 10**9
LIMIT = SKEW_NS_MAX // SECOND_NS

CASES = {
    "alone": ([0], 1, 0, ()),
    "two agree": ([0, 1], 2, 1, ()),
    "two differ: nobody knows who is right": ([0, 3_600], 2, None, ()),
    "one of three is ahead": ([3_600, 0, 1], 3, 1, (1,)),
    "one of three is behind": ([0, -3_600, 1], 3, 1, (2,)),
    "three that all differ": ([0, 3_600, -3_600], 3, None, ()),
    "two of three that are known differ": ([0, 3_600], 3, None, ()),
    "two of three that are known agree": ([0, 1], 3, 1, ()),
    "a majority is together, though both are wrong": ([0, 60, 61], 3, 61, (1,)),
    "two of five are off, on both sides": ([0, 1, 2, 3_600, -60], 5, 1, (4, 5)),
    "two of five are off together": ([0, 1, 2, 60, 60], 5, 1, (4, 5)),
    "within the limit of the nearest of the majority": ([0, LIMIT - 1, 2 * LIMIT - 2], 3, LIMIT - 1, ()),
    "three known of five, of which two agree": ([0, 0, 60], 5, None, ()),
}


@pytest.mark.parametrize(("clocks", "nodes", "agreed", "far_off"), CASES.values(), ids=CASES)
def test_a_majority_decides(clocks: list[int], nodes: int, agreed: int | None, far_off: tuple[int, ...]) -> None:
    """Clocks in seconds of nodes 1 and up, of so many nodes; the agreed time, and who is far off."""
    readings = {node: Reading(clock * SECOND_NS, 0) for node, clock in enumerate(clocks, 1)}
    found = compare(readings, nodes)
    assert found.far_off == far_off
    assert found.agreed == (None if agreed is None else Reading(agreed * SECOND_NS, 0))


def test_nobody_is_accused_for_a_slow_network() -> None:
    """A reading that may be right within its error is no proof."""
    good = {1: Reading(0, 0), 2: Reading(0, 0)}
    assert compare(good | {3: Reading(60 * SECOND_NS, 56 * SECOND_NS)}, 3).far_off == ()
    assert compare(good | {3: Reading(60 * SECOND_NS, 50 * SECOND_NS)}, 3).far_off == (3,)


def test_a_reading_gives_way_to_a_better_one() -> None:
    """To a sharper one, and to one that shows that the clock was moved; not to a blurred one that says nothing new."""
    sharp = Reading(0, 10)
    assert Reading(5, 5).is_better_than(sharp)
    assert Reading(100, 50).is_better_than(sharp)
    assert not Reading(30, 50).is_better_than(sharp)
    assert not Reading(55, 50).is_better_than(sharp), "that one's error may be the other way"
