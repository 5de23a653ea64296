"""The states of a hold: whatever is done to it, in whatever order, it moves by the table."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from node.core.ledger.holds import TRANSITIONS, HoldState, diagram
from node.core.machine import Statuses
from protocol.columns import Flag
from protocol.status import Status
from tests.core.ledger.driving import Driver, id_bytes
from tests.core.ledger.model import Transfer

HOLD = 10
STEPS = ("reserve a part", "reserve all", "reserve a void", "commit", "abort", "time passes", "capture", "void")
LIVES_SECONDS = 5


class Watched:
    """A ledger with one hold of 60, and what has become of it after each entry."""

    def __init__(self) -> None:
        self.driver = Driver()
        self.driver.accounts(("world", "EUR", None, None), ("a", "EUR", 0, None), ("b", "EUR", 0, None))
        hold = Transfer(HOLD, "a", "b", 60, flags=Flag.hold, ttl=LIVES_SECONDS)
        assert self.driver.transfers([Transfer(1, "world", "a", 100), hold]) == [0, 0]
        self.rounds = self.ids = 0
        self.is_open = False  # a round that takes of it
        self.may_happen = False  # as it has voted
        self.states = [self.state]

    @property
    def state(self) -> HoldState:
        """As it is now."""
        found = self.driver.ledger.books.holds.open.get(id_bytes(HOLD))
        return HoldState.ended if found is None else found.state

    def do(self, step: str) -> None:
        """One entry."""
        match step:
            case "reserve a part":
                self._reserve(Flag.capture, 20)
            case "reserve all":
                self._reserve(Flag.capture, 60)
            case "reserve a void":
                self._reserve(Flag.void, 0)
            case "commit" | "abort" if self.is_open:
                statuses: Statuses = np.array([0 if step == "commit" and self.may_happen else Status.retry], np.uint8)
                self.driver.ledger.decide(self.rounds, statuses, self.driver.at())
                self.is_open = False
            case "time passes":
                self.driver.command("expire", passed_ns=(LIVES_SECONDS + 1) * 10**9)
            case "capture":
                self.driver.transfers([self._transfer(Flag.capture, 20)])
            case "void":
                self.driver.transfers([self._transfer(Flag.void, 0)])
        self.states.append(self.state)

    def _transfer(self, flag: Flag, amount: int, side: int = 3) -> Transfer:
        self.ids += 1
        return Transfer(100 + self.ids, "a", "b", amount, flags=flag, hold_id=HOLD, side=side)

    def _reserve(self, flag: Flag, amount: int) -> None:
        if not self.is_open:
            self.rounds += 1
            self.may_happen = self.driver.prepare(self.rounds, [self._transfer(flag, amount)], 1) == [0]
            self.is_open = True


def reachable(before: HoldState) -> dict[HoldState, None]:
    """Where one entry may bring it: `lapsed` is none that an entry leaves behind."""
    steps = {state: [after for (at, _), after in TRANSITIONS.items() if at == state] for state in HoldState}
    found, seen = {before: None}, [before]
    while seen:
        for after in steps[seen.pop()]:
            if after not in found:
                found[after] = None
                seen.append(after)
    return found


@pytest.mark.parametrize("first", STEPS)
def test_a_hold_moves_by_its_table(first: str) -> None:
    """Four steps in every order."""
    for rest in product(STEPS, repeat=3):
        watched = Watched()
        for step in (first, *rest):
            watched.do(step)
        for before, after in zip(watched.states, watched.states[1:], strict=False):
            assert after in reachable(before), (first, rest, watched.states)
        assert HoldState.lapsed not in watched.states, "it ends in the entry in which its round does"


@pytest.mark.parametrize(
    ("steps", "state"),
    [
        ((), "open"),
        (("capture",), "open"),
        (("reserve a part",), "settling"),
        (("reserve a part", "abort"), "open"),
        (("reserve a part", "commit"), "open"),
        (("reserve all", "commit"), "ended"),
        (("reserve a void", "abort"), "open"),
        (("reserve a void", "commit"), "ended"),
        (("time passes",), "ended"),
        (("reserve a part", "time passes"), "lapsing"),
        (("reserve a part", "time passes", "void"), "lapsing"),
        (("reserve a part", "time passes", "abort"), "ended"),
        (("reserve a void", "time passes", "abort"), "ended"),
    ],
)
def test_where_it_stands(steps: tuple[str, ...], state: str) -> None:
    """Each state, and what brings it there."""
    watched = Watched()
    for step in steps:
        watched.do(step)
    assert watched.state == state


def test_the_table_leads_everywhere() -> None:
    """Every state but the last has a way on, and the diagram shows each."""
    assert list(reachable(HoldState.open)) and set(reachable(HoldState.open)) == set(HoldState)
    assert dict.fromkeys(before for before, _ in TRANSITIONS) == dict.fromkeys(
        state for state in HoldState if state is not HoldState.ended
    )
    assert all(f"--> {state}" in diagram() for state in HoldState)
