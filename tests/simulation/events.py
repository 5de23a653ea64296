"""Whether readers were told what has happened: no gap, nothing twice, in the order of the log, the same to everybody."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from node.core.machine import Answer, Machine
from protocol.answers import FactsTold
from protocol.client import Event
from protocol.events import OLDEST, ROWS_MAX, EventKind
from tests.simulation.records import Records, Transfer

NAMES = {
    "plain": "transfer",
    "hold": "hold",
    "capture": "capture",
    "void": "void",
}  # of events, by the kind of a transfer

OF_TIME = ("hold_ended", "lock_granted", "lock_released")  # what happens although nobody asks for it


@dataclass(frozen=True, slots=True)
class Told:
    """An event as a reader keeps it."""

    shard: int
    series: str
    number: int
    name: str
    about: tuple[tuple[str, Any], ...]

    @property
    def place(self) -> tuple[int, str, int]:
        """By which it is known."""
        return self.shard, self.series, self.number

    def __str__(self) -> str:
        return f"{self.name} {self.number} of the {self.series} of shard {self.shard}"


def told_of(event: Event) -> Told:
    """What is kept of an event."""
    return Told(event.shard, event.series.value, event.number, event.name, tuple(event.data.items()))


def in_log(group: int, machine: Machine) -> list[Told]:
    """What a machine that has applied the whole log, and keeps all in memory, has to tell."""
    kinds = [kind.value for kind in EventKind]
    told: list[Told] = []
    position: Any = OLDEST
    while True:
        answer = machine.query("machine", ["facts", kinds, "", position, ROWS_MAX], {})
        assert isinstance(answer, Answer), "all is in memory"
        answered = FactsTold.unpack(answer.body)
        told += [told_of(event) for event, _ in answered.batch(group).walk()]
        if answered.following == answered.start:
            return told
        position = answered.following.pack()


def check_reader(name: str, told: Sequence[Told], truth: Sequence[Told]) -> list[str]:
    """One that went on from its cursor each time, up to the end: per shard it was told the log, event by event.

    What only time has done since is left out.
    """
    broken = []
    for shard in dict.fromkeys(one.shard for one in (*told, *truth)):
        seen = [one for one in told if one.shard == shard]
        expected = [one for one in truth if one.shard == shard]
        later = expected[len(seen) :]
        if seen != expected[: len(seen)] or any(one.name not in OF_TIME for one in later):
            broken.append(f"{name}, of shard {shard}: {_difference(seen, expected)}")
    return broken


def _difference(seen: Sequence[Told], expected: Sequence[Told]) -> str:
    """Where it begins."""
    places = {one.place for one in seen}
    for place, one in enumerate(seen):
        if place and one.place in {other.place for other in seen[:place]}:
            return f"was told twice of {one}"
        if place >= len(expected):
            return f"was told of {one}, which is not in the log"
        if one != expected[place]:
            missing = expected[place]
            word = "not told" if missing.place not in places else "told out of order"
            return f"was {word} of {missing}, but then of {one}"
    return f"was not told of {expected[len(seen)]}"


def check_prefix(name: str, told: Sequence[Told], truth: Sequence[Told]) -> list[str]:
    """One that has read up to some time: per shard a beginning of the log."""
    counts: dict[int, int] = {}
    for one in told:
        counts[one.shard] = counts.get(one.shard, 0) + 1
    begun: list[Told] = []
    for one in truth:
        if counts.get(one.shard, 0) > 0:
            counts[one.shard] -= 1
            begun.append(one)
    return check_reader(name, told, begun)


def check_against_bank(records: Records) -> list[str]:
    """Each of the bank's transfers that happened is told once, with what it was, and no other one is."""
    told: dict[int, list[Told]] = {}
    for one in records.events:
        if one.name in NAMES.values():
            told.setdefault(dict(one.about)["id"], []).append(one)
    broken = []
    for transfer in records.transfers.values():
        events = told.get(transfer.id, [])
        if len(events) != transfer.is_created:
            verdict = "happened" if transfer.is_created else "did not happen"
            broken.append(f"transfer {transfer.id:032x} {verdict}, and was told {len(events)} times")
        elif events and (wrong := _wrong(transfer, events[0])):
            broken.append(f"transfer {transfer.id:032x} was told with another {wrong}")
    names = [dict(one.about)["account"] for one in records.events if one.name == "account_opened"]
    broken += [
        f"account {name} was told {names.count(name)} times" for name in records.accounts if names.count(name) != 1
    ]
    return broken


def _wrong(transfer: Transfer, told: Told) -> str:
    about = dict(told.about)
    found: list[object] = [about["debit"], about["credit"], told.name]
    expected: list[object] = [transfer.debit, transfer.credit, NAMES[transfer.kind]]
    if transfer.kind != "void":
        found, expected = [*found, about["amount"]], [*expected, transfer.amount]
    names = ("debit", "credit", "name", "amount")
    return ", ".join(name for name, mine, other in zip(names, found, expected, strict=False) if mine != other)


def check_events(records: Records, logs: dict[int, Machine]) -> list[str]:
    """All of it, at the end."""
    if not records.readers:
        return []
    truth = [one for group, machine in sorted(logs.items()) for one in in_log(group, machine)]
    broken = check_reader("the last reader", records.events, truth)
    for number, told in enumerate(records.readers):
        is_lasting = number == 0  # the others were not asked to read up to the end
        broken += (check_reader if is_lasting else check_prefix)(f"reader {number}", told, truth)
    for told in records.readings:
        broken += check_prefix("a reader from the beginning", told, truth)
    return broken + check_against_bank(records)
