"""Answers: how they travel, and what is made of them."""

from __future__ import annotations

from typing import Any, Protocol

import pytest

from protocol import frames
from protocol.answers import FactsAhead, FactsTold, FactsTooOld, LockTold, Replacement, Transferred, facts_of
from protocol.errors import ProtocolError
from protocol.events import Event, EventKind, JournalFact, Position, Series, TransferEvents
from protocol.status import LockStatus

ID = b"0123456789abcdef"
COLUMNS = [7, b"", ID, "ann", "bob", (5).to_bytes(8, "little"), bytes(8), b"", b"", "", b"", b"", "", "EUR"]
ENDED = [9, 8, 123, "holds", "hold_ended", ["ann", "bob"], {"hold": ID, "rest": 5}]


class Packed(Protocol):
    """An answer."""

    def pack(self) -> list[Any]: ...


ANSWERS: list[tuple[Packed, list[Any]]] = [
    (Transferred(b"\0\1"), [b"\0\1"]),
    (LockTold(LockStatus.granted, 5, 6, 7), [0, 5, 6, 7]),
    (LockTold(LockStatus.waiting), [int(LockStatus.waiting), 0, 0, 0]),
    (Replacement(77, 2, {0: "voter", 3: ""}), [77, 2, [[0, "voter"], [3, ""]]]),
    (
        FactsTold(
            Position(7, 9),
            Position(8, 10),
            Position(20, 10),
            TransferEvents.unpack(COLUMNS),
            [JournalFact.unpack(ENDED)],
        ),
        ["told", [7, 9], [8, 10], [20, 10], COLUMNS, [ENDED]],
    ),
    (FactsTold(Position(1, 2), Position(1, 2), Position(1, 2), None, []), ["told", [1, 2], [1, 2], [1, 2], None, []]),
    (FactsTooOld(Position(1, 2), Position(1, 1_024)), ["too_old", [1, 2], [1, 1_024]]),
    (FactsAhead(Position(9, 0), Position(8, 3)), ["ahead", [9, 0], [8, 3]]),
]


@pytest.mark.parametrize(("answer", "body"), ANSWERS, ids=str)
def test_bodies(answer: Packed, body: list[Any]) -> None:
    """What travels, to the byte, and what is made of it."""
    packed = frames.pack(answer.pack())
    assert packed == frames.pack(body)
    read = facts_of if isinstance(answer, FactsTold | FactsTooOld | FactsAhead) else type(answer).unpack  # type: ignore[attr-defined]  # each class has it
    assert read(frames.unpack(packed)) == answer


@pytest.mark.parametrize("body", [[], ["gone", [0, 0]], ["ahead", [0, 0]], [5]])
def test_what_is_no_answer_about_facts(body: list[Any]) -> None:
    """Of a node of another kind, perhaps."""
    with pytest.raises(ProtocolError, match="facts: expected told, too_old or ahead"):
        facts_of(body)


def test_facts_are_told_as_events() -> None:
    """In one order, each with the position behind it."""
    told = FactsTold.unpack(["told", [7, 9], [8, 10], [20, 10], COLUMNS, [ENDED]])
    (transfer, behind_transfer), (ended, behind_ended) = told.batch(3).walk()
    assert (transfer.name, transfer.number, behind_transfer) == ("transfer", 7, Position(8, 9))
    data = {"hold": int.from_bytes(ID, "big"), "rest": 5}
    assert ended == Event(EventKind.holds, "hold_ended", 3, Series.journal, 9, 123, data)
    assert behind_ended == told.following


@pytest.mark.parametrize(
    ("start", "end", "is_before"),
    [
        ((1, 1), (1, 1), False),
        ((1, 1), (2, 1), True),
        ((1, 1), (1, 2), True),
        ((2, 1), (1, 2), True),
        ((2, 2), (1, 1), False),
    ],
)
def test_positions(start: tuple[int, int], end: tuple[int, int], is_before: bool) -> None:
    """As long as one of the two series has more, there is something to read."""
    assert Position(*start).is_before(Position(*end)) == is_before
