"""Whether a history of appends to lists and reads of them can be explained, after Elle (Kingsbury, Alvaro, 2020).

Each element is appended once, so a list that was read tells who wrote before whom. Per key, all reads must be prefixes of
one order; what was acknowledged is there, what was refused is not, nothing is there twice, and order respects real time.
Over all keys, the dependencies that follow must have no cycle: *ww* from an append to the next one of its key, *wr* from
an append to the reads that end with it, *rw* from a read to the append that it did not see, and, where asked for, *rt* from
each transaction to those invoked after it had returned.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tests.simulation.linearizability import Outcome

CYCLES_MAX = 3  # named in one report


@dataclass(frozen=True, slots=True)
class Transaction:
    """One call: it appended one element to each of some lists, or read some whole lists, or both (reads come first)."""

    invoked: float
    returned: float
    appended: Mapping[str, int] = field(default_factory=dict)  # key -> element
    read: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    outcome: Outcome = Outcome.done

    def __str__(self) -> str:
        words = [f"append {element} to {key}" for key, element in self.appended.items()]
        words += [f"read {list(elements)} of {key}" for key, elements in self.read.items()]
        return f"{{{', '.join(words)} from {self.invoked:.4f} to {self.returned:.4f} s}}"


def check_lists(transactions: Sequence[Transaction], *, is_real_time: bool = True) -> list[str]:
    """What is wrong with the history. `is_real_time`: whether transactions on different keys must respect real time too."""
    writers: dict[tuple[str, int], Transaction] = {}
    broken = []
    for one in transactions:
        for key, element in one.appended.items():
            assert (key, element) not in writers, f"the history appends {element} to {key} twice"
            writers[key, element] = one
    reads: dict[str, list[tuple[Transaction, tuple[int, ...]]]] = {}
    for one in transactions:
        for key, elements in one.read.items() if one.outcome is Outcome.done else ():
            reads.setdefault(key, []).append((one, elements))
    orders: dict[str, tuple[int, ...]] = {}
    for key in dict.fromkeys([*reads, *(key for key, _ in writers)]):
        own = reads.get(key, [])
        orders[key] = max((elements for _, elements in own), key=len, default=())
        broken += _check_reads(key, orders[key], own, writers)
        broken += _check_times(key, orders[key], own, writers)
    return broken or _check_cycles(transactions, orders, writers, is_real_time=is_real_time)


def _check_reads(
    key: str,
    order: tuple[int, ...],
    reads: Sequence[tuple[Transaction, tuple[int, ...]]],
    writers: Mapping[tuple[str, int], Transaction],
) -> list[str]:
    broken = []
    for element, count in Counter(order).items():
        if count > 1:
            broken.append(f"{key}: {element} is there {count} times")
    for read, elements in reads:
        if elements != order[: len(elements)]:
            broken.append(f"{key}: {read} does not agree with {list(order)}")
    for element in dict.fromkeys(element for _, elements in reads for element in elements):
        writer = writers.get((key, element))
        if writer is None:
            broken.append(f"{key}: {element} was read and never appended")
        elif writer.outcome is Outcome.failed:
            broken.append(f"{key}: {element} was read, but its append was refused")
    return broken


def _check_times(
    key: str,
    order: tuple[int, ...],
    reads: Sequence[tuple[Transaction, tuple[int, ...]]],
    writers: Mapping[tuple[str, int], Transaction],
) -> list[str]:
    """Reads see what was acknowledged before them and nothing that began after them; so do appends."""
    broken = []
    done = [(element, one) for (of, element), one in writers.items() if of == key and one.outcome is Outcome.done]
    for read, elements in reads:
        there = dict.fromkeys(elements)
        for element, append in done:
            if append.returned < read.invoked and element not in there:
                what = "is stale, it misses" if element in order else "shows the loss of"
                broken.append(f"{key}: {read} {what} {element}, acknowledged at {append.returned:.4f} s")
        for element in elements:
            writer = writers.get((key, element))
            if writer is not None and read.returned < writer.invoked:
                broken.append(f"{key}: {read} saw {element}, appended from {writer.invoked:.4f} s on")
    latest = (float("-inf"), 0)
    for element in order:
        writer = writers.get((key, element))
        if writer is None:
            continue
        latest = max(latest, (writer.invoked, element))
        if writer.outcome is Outcome.done and writer.returned < latest[0]:
            broken.append(f"{key}: {element} comes after {latest[1]}, which was appended later")
    return broken


# -- dependencies -----------------------------------------------------------------------------------------------------

Edges = dict[int, dict[int, str]]  # from -> to -> kind; numbers beyond the transactions are instants


def _check_cycles(
    transactions: Sequence[Transaction],
    orders: Mapping[str, tuple[int, ...]],
    writers: Mapping[tuple[str, int], Transaction],
    *,
    is_real_time: bool,
) -> list[str]:
    numbers = {id(one): number for number, one in enumerate(transactions)}
    edges = _dependencies(transactions, orders, {key: numbers[id(one)] for key, one in writers.items()})
    if is_real_time:
        _add_real_time(transactions, edges)
    broken = []
    for members in _components(edges)[:CYCLES_MAX]:
        cycle = _shortest_cycle(members, edges)
        words = []
        for place, number in enumerate(cycle):
            kind = edges[number][cycle[(place + 1) % len(cycle)]]
            words.append(f"{transactions[number]} -{kind}->" if number < len(transactions) else "")
        broken.append(f"cycle of dependencies: {' '.join(word for word in words if word)} the first")
    return broken


def _dependencies(
    transactions: Sequence[Transaction], orders: Mapping[str, tuple[int, ...]], writers: Mapping[tuple[str, int], int]
) -> Edges:
    edges: Edges = {}

    def add(source: int | None, target: int | None, kind: str) -> None:
        if source is not None and target is not None and source != target:
            edges.setdefault(source, {}).setdefault(target, kind)

    unseen: dict[str, list[int]] = {}
    for (key, element), number in writers.items():
        if transactions[number].outcome is Outcome.done and element not in orders[key]:
            unseen.setdefault(key, []).append(number)
    for key, order in orders.items():
        for first, second in pairwise(order):
            add(writers.get((key, first)), writers.get((key, second)), "ww")
        for later in unseen.get(key, ()) if order else ():
            add(writers.get((key, order[-1])), later, "ww")
    for number, one in enumerate(transactions):
        for key, elements in one.read.items() if one.outcome is Outcome.done else ():
            order = orders[key]
            if elements:
                add(writers.get((key, elements[-1])), number, "wr")
            if len(elements) < len(order):
                add(number, writers.get((key, order[len(elements)])), "rw")
            else:
                for later in unseen.get(key, ()):
                    add(number, later, "rw")
    return edges


def _add_real_time(transactions: Sequence[Transaction], edges: Edges) -> None:
    """Through a chain of instants, one at each return: so edges grow with the history and not with its square."""
    returns = sorted(
        (one.returned, number) for number, one in enumerate(transactions) if one.outcome is not Outcome.unknown
    )
    times = [time for time, _ in returns]
    base = len(transactions)
    for place, (_, number) in enumerate(returns):
        edges.setdefault(number, {}).setdefault(base + place, "rt")
        if place + 1 < len(returns):
            edges.setdefault(base + place, {})[base + place + 1] = "rt"
    for number, one in enumerate(transactions):
        before = bisect_left(times, one.invoked)
        if before:
            edges.setdefault(base + before - 1, {})[number] = "rt"


def _components(edges: Edges) -> list[list[int]]:
    """The strongly connected components with more than one member (Tarjan, without recursion)."""
    order: dict[int, int] = {}
    low: dict[int, int] = {}
    path: list[int] = []
    on_path: dict[int, None] = {}
    found: list[list[int]] = []
    for root in list(edges):
        if root in order:
            continue
        work = [(root, iter(edges.get(root, ())))]
        order[root] = low[root] = len(order)
        path.append(root)
        on_path[root] = None
        while work:
            node, rest = work[-1]
            for other in rest:
                if other not in order:
                    order[other] = low[other] = len(order)
                    path.append(other)
                    on_path[other] = None
                    work.append((other, iter(edges.get(other, ()))))
                    break
                if other in on_path:
                    low[node] = min(low[node], order[other])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == order[node]:
                    members = path[path.index(node) :]
                    del path[len(path) - len(members) :]
                    for member in members:
                        del on_path[member]
                    if len(members) > 1:
                        found.append(members)
    return found


def _shortest_cycle(members: Sequence[int], edges: Edges) -> list[int]:
    inside = dict.fromkeys(members)
    best: list[int] = []
    for start in members:
        came: dict[int, int] = {}
        queue = deque([start])
        while queue and start not in came:
            node = queue.popleft()
            for other in edges.get(node, ()):
                if other in inside and other not in came:
                    came[other] = node
                    queue.append(other)
        cycle = [start]
        while came[cycle[-1]] != start:
            cycle.append(came[cycle[-1]])
        cycle.append(start)
        cycle = cycle[1:][::-1]
        if not best or len(cycle) < len(best):
            best = cycle
    return best
