"""Whether the history of a register is linearizable: Wing and Gong's search, with Lowe's memory of what was tried.

A register holds one value. Reads, writes and compare-and-set (`cas`) overlap in time; the history is linearizable if each
can be given one instant between its invocation and its return such that, in that order, every answer is right. An
operation whose outcome nobody knows may take effect at any time after its invocation, or never.

The search is depth first over "which operations have taken effect so far", and never visits the same set with the same
value twice (Lowe, "Testing for linearizability", 2017). It is made for one key at a time, which is enough: a history is
linearizable if that of each key is.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from enum import Enum

STEPS_MAX = 2_000_000  # of one search: seconds; beyond it a history counts as undecided, which is reported

Value = Hashable


class Outcome(Enum):
    """What the caller knows."""

    done = "done"
    failed = "failed"  # a cas that was refused because the value was another one; a write that surely did not happen
    unknown = "unknown"


@dataclass(frozen=True, slots=True)
class Operation:
    """One call. Times in seconds; `value` is what a read gave, or what a write or cas puts; `expected` is a cas's."""

    kind: str  # read, write or cas
    invoked: float
    returned: float
    value: Value
    expected: Value = None
    outcome: Outcome = Outcome.done

    def after(self, state: Value) -> tuple[bool, Value]:
        """Whether it can take effect, with its answer, on this value, and the value afterwards."""
        if self.kind == "read":
            return state == self.value, state
        if self.kind == "write":
            return True, self.value
        if self.outcome is Outcome.failed:
            return state != self.expected, state
        return state == self.expected, self.value

    def __str__(self) -> str:
        what = f"{self.expected!r} to {self.value!r}" if self.kind == "cas" else repr(self.value)
        return f"{self.kind} {what} {self.outcome.value} from {self.invoked:.4f} to {self.returned:.4f} s"


class _Node:
    """The call or the return of an operation, in a list in order of time from which calls are lifted and put back."""

    __slots__ = ("after", "before", "is_call", "number", "partner")

    def __init__(self, number: int, *, is_call: bool) -> None:
        self.number = number
        self.is_call = is_call
        self.partner: _Node | None = None  # of a call: its return, None while the outcome is unknown
        self.before: _Node | None = None
        self.after: _Node | None = None

    def lift(self) -> None:
        for node in (self, self.partner):
            if node is not None:
                assert node.before is not None
                node.before.after = node.after
                if node.after is not None:
                    node.after.before = node.before

    def unlift(self) -> None:
        for node in (self.partner, self):
            if node is not None:
                assert node.before is not None
                node.before.after = node
                if node.after is not None:
                    node.after.before = node


def check_register(name: str, initial: Value, operations: Sequence[Operation]) -> list[str]:
    """What is wrong with the history of one register; empty if it is linearizable."""
    relevant = [one for one in operations if _matters(one)]
    stuck = _search(initial, relevant)
    if stuck is None:
        return []
    if stuck < 0:
        return [f"{name}: {len(relevant)} operations could not be put in order within {STEPS_MAX} steps"]
    return [f"{name}: not linearizable: no order explains {relevant[stuck]}, {_around(relevant, stuck)}"]


def _matters(operation: Operation) -> bool:
    """Unanswered reads and refused writes say nothing about the register."""
    if operation.kind == "read":
        return operation.outcome is Outcome.done
    return operation.kind == "cas" or operation.outcome is not Outcome.failed


def _around(operations: Sequence[Operation], number: int) -> str:
    one = operations[number]
    near = [str(other) for other in operations if other.returned >= one.invoked and other.invoked <= one.returned]
    near = [text for text in near if text != str(one)]
    return f"among {'; '.join(near[-6:])}" if near else "alone"


def _search(initial: Value, operations: Sequence[Operation]) -> int | None:
    """None if an order exists, else the operation that no order got past; -1 if the search was given up."""
    head, returns = _timeline(operations)
    state, done, steps = initial, 0, 0
    tried: dict[tuple[int, Value], None] = {(0, initial): None}
    stack: list[tuple[_Node, Value]] = []
    deepest, stuck = -1, -1
    node = head.after
    while returns:
        steps += 1
        if steps > STEPS_MAX:
            return -1
        assert node is not None, "a return that is left is always met"
        if node.is_call:
            holds, value = operations[node.number].after(state)
            key = (done | 1 << node.number, value)
            if holds and key not in tried:
                tried[key] = None
                stack.append((node, state))
                done, state = key
                returns -= node.partner is not None
                node.lift()
                node = head.after
            else:
                node = node.after
            continue
        if len(stack) > deepest:
            deepest, stuck = len(stack), node.number
        if not stack:
            return stuck
        node, state = stack.pop()
        done &= ~(1 << node.number)
        returns += node.partner is not None
        node.unlift()
        node = node.after
    return None


def _timeline(operations: Sequence[Operation]) -> tuple[_Node, int]:
    """The list's head, and how many returns are in it. At one instant, calls come before returns."""
    events: list[tuple[float, int, int, _Node]] = []
    returns = 0
    for number, operation in enumerate(operations):
        call = _Node(number, is_call=True)
        events.append((operation.invoked, 0, number, call))
        if operation.outcome is not Outcome.unknown:
            call.partner = _Node(number, is_call=False)
            events.append((operation.returned, 1, number, call.partner))
            returns += 1
    head = last = _Node(-1, is_call=False)
    for *_, node in sorted(events, key=lambda event: event[:3]):
        last.after, node.before = node, last
        last = node
    return head, returns


def check_versions(name: str, seen: Sequence[tuple[int, Value]]) -> list[str]:
    """Pairs of a version and the value that was read or put with it: one version never names two values."""
    known: dict[int, Value] = {}
    broken = []
    for version, value in seen:
        if known.setdefault(version, value) != value:
            broken.append(f"{name}: version {version} was {known[version]!r} and {value!r}")
    return broken
