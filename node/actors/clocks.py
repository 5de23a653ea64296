"""This node's wall clock among the others': compares them, says who is far off, and gives the time that the majority agrees on.

Has no task: it asks every peer about once a second, the first time as soon as its link is up. The rules are in `node.core.clocks`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from node.actors.actor import Failed, Outcome
from node.actors.peers import Link
from node.actors.router import Call
from node.core.clocks import SKEW_NS_MAX, Comparison, Reading, compare
from node.notices import ClockAgrees, ClockDiffers, ClockFarOff
from node.ports import Clock, OperatorLog
from protocol.operations import PeerOperation
from protocol.placement import COORDINATOR

ASK_SECONDS = 1.0  # between two questions to a peer: a clock that jumps is noticed so soon; a hundred bytes each
MOVED_NS = 1_000_000  # of this node's clock, after which it is compared again: far less than anybody is told of
SHOWN_NS = 500_000_000  # a skew that a time service does not leave is told in the log


@dataclass(frozen=True, slots=True)
class ClockStatistics:
    """A node's wall clock as seen from here."""

    node: int
    ahead_ns: int  # of the time that a majority agrees on; of this node's where none does
    error_ns: int  # at most so much of it is the network's, on the ways of both readings
    is_far_off: bool


class Clocks:
    """One a node."""

    def __init__(self, node: int, nodes: int, clock: Clock, links: Mapping[int, Link], operator: OperatorLog) -> None:
        self._node = node
        self._operator = operator
        self._nodes = nodes
        self._clock = clock
        self._links = links
        self._readings: dict[int, Reading] = {}  # of the peers
        self._comparison = Comparison(None)
        self._compared_ns = 0  # this node's own clock, as it was compared last
        self._ask_at: dict[int, float] = {}
        self._told: dict[int, bool] = {}  # nodes whose skew is in the log, and whether it was called far off there

    def _monotonic_ns(self) -> int:
        return int(self._clock.monotonic() * 1e9)

    def true_ns(self) -> int:
        """Nanoseconds since 1970: by this node's clock, unless a majority says that it is far off."""
        agreed = self._comparison.agreed
        if agreed is not None and self.is_far_off(self._node):
            return agreed.epoch_ns + self._monotonic_ns()
        return self._clock.wall_ns()

    def is_far_off(self, node: int) -> bool:
        """Whether a majority's clocks say that this one is wrong."""
        return node in self._comparison.far_off

    # -- asking ---------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Looks at this node's clock again, and asks the others if it is time."""
        now = self._clock.monotonic()
        for peer, link in self._links.items():
            if link.is_up and now >= self._ask_at.get(peer, 0.0):
                self._ask_at[peer] = now + ASK_SECONDS
                self._ask(peer, link)
        if abs(self._own().epoch_ns - self._compared_ns) > MOVED_NS:
            self._compare()

    def _ask(self, peer: int, link: Link) -> None:
        asked_ns = self._monotonic_ns()

        def answered(outcome: Outcome) -> None:
            if not isinstance(outcome, Failed):
                (wall_ns,) = outcome
                self._read(peer, wall_ns, asked_ns, self._monotonic_ns())

        link.call(PeerOperation.clock, COORDINATOR, int(ASK_SECONDS * 1000), 0, [], answered)

    def answer(self, call: Call) -> None:
        """A peer asks: `[nanoseconds since 1970]`."""
        call.reply([self._clock.wall_ns()])

    def _read(self, peer: int, wall_ns: int, asked_ns: int, answered_ns: int) -> None:
        reading = Reading(wall_ns - (asked_ns + answered_ns) // 2, (answered_ns - asked_ns) // 2)
        known = self._readings.get(peer)
        if known is None or reading.is_better_than(known):
            self._readings[peer] = reading
            self._compare()

    # -- judging --------------------------------------------------------------------------------------------------

    def _all_readings(self) -> dict[int, Reading]:
        return {**self._readings, self._node: self._own()}

    def _own(self) -> Reading:
        return Reading(self._clock.wall_ns() - self._monotonic_ns(), 0)

    def _compare(self) -> None:
        readings = self._all_readings()
        self._comparison, self._compared_ns = compare(readings, self._nodes), readings[self._node].epoch_ns
        for row in self.statistics():
            self._tell(row)

    def _tell(self, row: ClockStatistics) -> None:
        """Once when a clock leaves the others, once when it is called far off, and once when it is back."""
        told = self._told.get(row.node)
        is_skewed = abs(row.ahead_ns) - row.error_ns > SHOWN_NS
        ahead_seconds = row.ahead_ns / 1e9
        if row.is_far_off and not told:
            self._told[row.node] = True
            self._operator.tell(ClockFarOff(row.node, ahead_seconds, SKEW_NS_MAX / 1e9))
        elif is_skewed and told is None:
            self._told[row.node] = False
            self._operator.tell(ClockDiffers(row.node, ahead_seconds))
        elif told is not None and not is_skewed:
            del self._told[row.node]
            self._operator.tell(ClockAgrees(row.node, ahead_seconds))

    def statistics(self) -> list[ClockStatistics]:
        """All clocks that are known, this node's among them."""
        readings = self._all_readings()
        agreed = self._comparison.agreed or readings[self._node]
        return [
            ClockStatistics(
                node, reading.epoch_ns - agreed.epoch_ns, reading.error_ns + agreed.error_ns, self.is_far_off(node)
            )
            for node, reading in sorted(readings.items())
        ]
