"""Several nodes' answers about the cluster become one status."""

from __future__ import annotations

from collections.abc import Sequence

from protocol.client.survey import combine
from protocol.placement import NodeAddress, Placement
from protocol.views import NodeClock, NodeState

NODES = tuple(NodeAddress(number, "localhost", 7100 + number) for number in (1, 2, 3))
PLACEMENT = Placement(1, 1, ((1, 2, 3), (1, 2, 3)), NODES)


def told(node: int, *replicas: tuple[int, int, int, bool], clocks: Sequence[Sequence[int | bool]] = ()) -> NodeState:
    """By a node: of each group its term, its leader, and whether the replica recovers; and what it knows of clocks."""
    rows = [[group, "follower", term, leader, 9, 9, 9, 0, lost] for group, term, leader, lost in replicas]
    return NodeState.unpack([PLACEMENT.pack(), [], node, [], rows, [0, False, 0, 7], [0, 0, 5, False], clocks])


def test_the_highest_term_tells_who_leads() -> None:
    """Whoever knows it, and the node that answers first may be the one that was away."""
    seen = combine([told(1, (0, 3, 1, False), (1, 4, 1, False)), told(2, (0, 5, 2, False), (1, 4, 1, True))])
    assert (seen.leaders, seen.coordinator, seen.up, seen.silent, seen.leaderless) == ((2, 1), 2, (1, 2), (3,), ())
    assert (seen.recovering, seen.rounds, seen.shed) == ({2: (1,)}, 7, 5)


def test_a_leader_that_does_not_answer_leads_nobody() -> None:
    """Its followers know no better for a while; in an election nobody is known."""
    seen = combine([told(2, (0, 3, 1, False), (1, 4, 2, False)), told(3, (0, 3, 1, False), (1, 5, 0, False))])
    assert (seen.leaderless, seen.silent) == ((0, 1), (1,))


def test_a_wrong_clock_is_told_once_anybody_knows_it() -> None:
    """The node that answers first may not have compared yet. Where no majority agrees, each node speaks of the others' distance."""
    late = [[1, 0, 0, False], [3, 3_600 * 10**9, 8 * 10**6, False]]
    sure = [[1, -(10**6), 2 * 10**6, False], [2, 0, 0, False], [3, 3_600 * 10**9, 9 * 10**6, True]]
    seen = combine([told(1, clocks=late), told(2, clocks=sure), told(3, clocks=[[3, 0, 0, False]])])
    assert seen.clocks == (
        NodeClock(1, -0.001, 0.002, False), NodeClock(2, 0.0, 0.0, False), NodeClock(3, 3_600.0, 0.009, True),
    )  # fmt: skip
    alone = combine([told(1, clocks=late), told(3, clocks=[[1, -3_600 * 10**9, 0, False], [3, 0, 0, False]])])
    assert alone.clocks == (NodeClock(1, 0.0, 0.0, False), NodeClock(3, 3_600.0, 0.008, False))
