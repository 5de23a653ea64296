"""How much of earlier transfers has been given back: by reversals that happened, and by those of open rounds.

A counter is in memory while an open round touches it, or it has changed since the oldest segment of the window was begun; the store has
those of all transfers that were ever reversed, by their place in the record. What leaves the memory was seen by no leader whose batch is
not stale (`Books.is_stale`), so what a leader finds in the store, and logs, is right where nothing newer is in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from node.core.ledger.limits import WINDOW_SEGMENTS

Key = TypeVar("Key")
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Reversed:
    """What was given back of one transfer, in minor units."""

    place: int  # of the transfer in the record: segment << POSITION_BITS | position
    amount: int
    undecided: int  # by open rounds
    segment: int  # the one that was being filled at the last change


class Reversals:
    """Counters by the id of the reversed transfer."""

    def __init__(self) -> None:
        self.recent: dict[bytes, Reversed] = {}
        self.unsaved: dict[int, int] = {}  # amount by place
        self.saving: dict[int, int] = {}

    def put(self, id: bytes, counter: Reversed) -> Callable[[], None]:
        """The counter as it is now. What is returned takes that back, before anything else has changed it."""
        before, unsaved = self.recent.get(id), self.unsaved.get(counter.place)
        self.recent[id] = counter
        self.unsaved[counter.place] = counter.amount

        def undo() -> None:
            _put_back(self.recent, id, before)
            _put_back(self.unsaved, counter.place, unsaved)

        return undo

    def settle(self, id: bytes, amount: int, segment: int, *, happens: bool) -> None:
        """The decision about so much that an open round was giving back."""
        counter = self.recent[id]
        given = amount if happens else 0
        undecided = counter.undecided - amount
        self.put(id, replace(counter, amount=counter.amount + given, undecided=undecided, segment=segment))

    def unstored(self, place: int) -> int | None:
        """What was given back, where the store may not hold it yet."""
        return self.unsaved.get(place, self.saving.get(place))

    def seal(self, sealed: int) -> None:
        """Moves the window on with the history's."""
        first = sealed - WINDOW_SEGMENTS
        self.recent = {id: each for id, each in self.recent.items() if each.segment >= first or each.undecided}

    def pack(self) -> list[Any]:
        """What is in memory, for a checkpoint."""
        return [[id, each.place, each.amount, each.undecided, each.segment] for id, each in sorted(self.recent.items())]

    def load(self, packed: list[Any]) -> None:
        """Reads `pack`."""
        self.recent = {id: Reversed(*fields) for id, *fields in packed}


def _put_back(kept: dict[Key, Value], key: Key, before: Value | None) -> None:
    if before is None:
        del kept[key]
    else:
        kept[key] = before
