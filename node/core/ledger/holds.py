"""Open holds, and what became of those that have ended."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b

import msgpack

from node.core.ledger.limits import WINDOW_SEGMENTS
from protocol.status import Status


class HoldState(StrEnum):
    """Where a hold stands; it follows from its fields."""

    open = "open"
    settling = "settling"  # an open round captures of it or voids it
    lapsing = "lapsing"  # its time has passed meanwhile: it ends with the round
    lapsed = "lapsed"  # the round is over: it ends in the same entry
    ended = "ended"  # captured, voided or expired


class HoldEvent(StrEnum):
    """What moves it."""

    taken = "taken"  # a round has reserved something of it, or all
    released = "released"  # nothing of it is reserved any more: the round is decided
    lapsed = "lapsed"  # its time has passed
    ended = "ended"


TRANSITIONS = {
    (HoldState.open, HoldEvent.taken): HoldState.settling,
    (HoldState.open, HoldEvent.ended): HoldState.ended,
    (HoldState.settling, HoldEvent.taken): HoldState.settling,
    (HoldState.settling, HoldEvent.released): HoldState.open,
    (HoldState.settling, HoldEvent.lapsed): HoldState.lapsing,
    (HoldState.lapsing, HoldEvent.released): HoldState.lapsed,
    (HoldState.lapsed, HoldEvent.ended): HoldState.ended,
}
"""One without a round that takes of it ends at once when its time has passed."""


def diagram() -> str:
    """The table as a Mermaid state diagram."""
    lines = [f"    {before} --> {after}: {event}" for (before, event), after in TRANSITIONS.items()]
    return "\n".join(["stateDiagram-v2", "    [*] --> open", *lines, "    ended --> [*]"])


@dataclass(slots=True)
class Hold:
    """Money set aside. `rest` is what captures may still take; `undecided` is what open rounds are taking."""

    serial: int
    id: bytes
    debit: int  # row
    credit: int  # row, or -2: an account of another shard, named in `other`
    other: str
    amount: int  # that it was opened with
    rest: int
    expiry_ns: int  # in counted time
    undecided: int = 0
    voiding: int = 0  # of the rest, all that an open round is giving back
    expired: bool = False  # its time has passed while a round was open: it ends with the round

    @property
    def state(self) -> HoldState:
        """By what is reserved of it, and its time."""
        if self.is_reserved:
            return HoldState.lapsing if self.expired else HoldState.settling
        return HoldState.lapsed if self.expired else HoldState.open

    def take(self, amount: int) -> None:
        """A round is to capture so much."""
        before = self.state
        self.rest -= amount
        self.undecided += amount
        self._step(before, HoldEvent.taken)

    def take_rest(self) -> int:
        """A round is to give back what is left: how much that is."""
        before = self.state
        self.voiding = self.rest
        self._step(before, HoldEvent.taken)
        return self.rest

    def release(self, amount: int, *, happens: bool) -> None:
        """A round that took so much is decided. Other rows of it may have taken more."""
        before = self.state
        self.undecided -= amount
        self.rest += 0 if happens else amount
        if not self.is_reserved:
            self._step(before, HoldEvent.released)

    def release_rest(self) -> None:
        """The round that was to give back the rest is decided."""
        before = self.state
        self.voiding = 0
        if not self.is_reserved:
            self._step(before, HoldEvent.released)

    def lapse(self) -> None:
        """Its time has passed while a round takes of it."""
        before = self.state
        self.expired = True
        self._step(before, HoldEvent.lapsed)

    def _step(self, before: HoldState, event: HoldEvent) -> None:
        after = TRANSITIONS.get((before, event))
        assert after is self.state, f"a hold that is {before} would be {self.state} once {event}"

    @property
    def is_reserved(self) -> bool:
        """Whether an open round takes of it."""
        return bool(self.undecided or self.voiding)

    def pack(self) -> bytes:
        """All fields as bytes."""
        packed: bytes = msgpack.packb([
            self.serial, self.id, self.debit, self.credit, self.other, self.amount, self.rest, self.expiry_ns,
            self.undecided, self.voiding, self.expired,
        ])  # fmt: skip
        return packed


@dataclass(frozen=True, slots=True)
class EndedHold:
    """A hold, what was left of it, and how it ended."""

    hold: Hold
    rest: int
    status: Status


def stored_key(id: bytes) -> int:
    """Where an ended hold is stored. A digest, because a row's key has 63 bits; the row repeats the id."""
    return int.from_bytes(blake2b(id, digest_size=8).digest(), "big") >> 1


class Holds:
    """Open holds by id. Ended ones stay in memory while the segment of their end is in the window."""

    def __init__(self) -> None:
        self.open: dict[bytes, Hold] = {}
        self.ended: list[dict[bytes, int]] = [{}]  # by segment of their end, the oldest first
        self.unsaved_ended: dict[bytes, int] = {}
        self.saving_ended: dict[bytes, int] = {}
        self.changed: dict[int, bytes] = {}  # serial -> id
        self.next_serial = 0
        self._expiries: list[tuple[int, bytes]] = []
        self.untold: list[EndedHold] = []  # the other parts do not know yet

    def add(self, id: bytes, debit: int, credit: int, other: str, amount: int, expiry_ns: int) -> None:
        """Opens a hold."""
        hold = Hold(self.next_serial, id, debit, credit, other, amount, amount, expiry_ns)
        self.next_serial += 1
        self.open[id] = hold
        self.changed[hold.serial] = id
        heapq.heappush(self._expiries, (hold.expiry_ns, hold.id))

    def remove(self, id: bytes) -> None:
        """Takes back an `add` of the same chain."""
        self.changed[self.open.pop(id).serial] = id

    def end(self, id: bytes, status: Status) -> None:
        """Closes a hold; from now on it answers `status`."""
        hold = self.open.pop(id)
        assert (hold.state, HoldEvent.ended) in TRANSITIONS, f"a hold ends that is {hold.state}"
        self.changed[hold.serial] = id
        self.ended[-1][id] = int(status)
        self.unsaved_ended[id] = int(status)
        self.untold.append(EndedHold(hold, hold.rest, status))

    def reopen(self, hold: Hold) -> None:
        """Takes back an `end` of the same chain."""
        self.open[hold.id] = hold
        self.changed[hold.serial] = hold.id
        del self.ended[-1][hold.id]
        del self.unsaved_ended[hold.id]
        self.untold.pop()  # journals are undone from their ends

    def touch(self, hold: Hold) -> None:
        """Marks a hold as changed."""
        self.changed[hold.serial] = hold.id

    def ended_status(self, id: bytes) -> int:
        """What became of a hold that ended lately, 0 if none is known."""
        for ended in self.ended:
            if id in ended:
                return ended[id]
        return 0

    def unstored_status(self, id: bytes) -> int:
        """The same for those whose row the store may not hold yet."""
        return self.unsaved_ended.get(id) or self.saving_ended.get(id, 0)

    def seal(self) -> None:
        """Moves the window on with the history's."""
        self.ended.append({})
        if len(self.ended) > WINDOW_SEGMENTS + 1:
            del self.ended[0]

    def earliest_ns(self) -> int | None:
        """When the next hold expires that has not been marked as expired, whether an open round touches it or not; None: never."""
        while self._expiries:
            expiry_ns, id = self._expiries[0]
            hold = self.open.get(id)
            if hold is not None and hold.expiry_ns == expiry_ns and not hold.expired:
                return expiry_ns
            heapq.heappop(self._expiries)
        return None

    def take_due(self, elapsed_ns: int) -> list[Hold]:
        """Holds whose time has passed, in id order; they are not looked at again."""
        due: dict[bytes, Hold] = {}
        while (earliest := self.earliest_ns()) is not None and earliest <= elapsed_ns:
            _, id = heapq.heappop(self._expiries)
            due[id] = self.open[id]
        return [due[id] for id in sorted(due)]

    def load(self, packed: bytes) -> None:
        """Reads an open hold of a checkpoint."""
        hold = Hold(*msgpack.unpackb(packed))
        self.open[hold.id] = hold
        if not hold.expired:
            heapq.heappush(self._expiries, (hold.expiry_ns, hold.id))
