"""Calls that go over other nodes: what nodes believe of each other may be old."""

from __future__ import annotations

from node.actors.actor import Reply
from node.actors.router import Call
from node.actors.routes import LINKS_MAX, Routes
from node.core.machine import Body
from node.ports import Clock
from protocol.operations import Operation
from tests.actors.desk_world import Time

CLOCK: Clock = Time()


class Wire:
    """A link whose calls arrive at another node's routes at once, or at nobody's."""

    def __init__(self, *, is_up: bool, reach: dict[int, int]) -> None:
        self.is_up = is_up
        self.reach = reach
        self.calls = 0
        self.far_end: Routes | None = None

    def call(self, operation: str, group: int, left_ms: int, version: int, body: Body, reply: Reply) -> None:
        """Counts it, and passes it on."""
        self.calls += 1
        assert self.calls <= LINKS_MAX, "it goes round in circles"
        if self.far_end is not None:
            self.far_end.relay(Call(group, operation, body, CLOCK.monotonic() + left_ms / 1000, reply, 1))


def test_a_call_that_nobody_can_deliver_ends() -> None:
    """Each of two nodes believes that the other still reaches a third one, to which both their links are silent."""
    there, back = (Wire(is_up=True, reach={3: 1}) for _ in range(2))
    silent = [Wire(is_up=False, reach={}) for _ in range(2)]
    first = Routes(1, {2: there, 3: silent[0]}, CLOCK)  # type: ignore[dict-item]  # all that Routes asks of a link
    second = Routes(2, {1: back, 3: silent[1]}, CLOCK)  # type: ignore[dict-item]  # the same
    there.far_end, back.far_end = second, first
    first.call(3, Operation.balances.value, 1, 1_000, 0, ["a"], print)
    assert there.calls + back.calls < LINKS_MAX
    assert sum(link.calls for link in silent) == 1, "the last of them tries the link itself"
