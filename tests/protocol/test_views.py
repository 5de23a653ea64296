"""What the client makes of answers."""

from __future__ import annotations

import pytest

from protocol.status import Status
from protocol.views import Trace

YES, NO, AGAIN = int(Status.created), int(Status.insufficient_funds), int(Status.retry)
Times = tuple[int | None, int | None, int | None]  # prepared, precommitted, carried out

DECIDED: dict[str, tuple[str, int | None, int | None, list[Times], int | None]] = {
    "2pc: with the last vote": ("2pc", YES, None, [(10, None, 90), (30, None, 60)], 30),
    "2pc: refused with the last vote": ("2pc", NO, None, [(10, None, 90), (30, None, 60)], 30),
    "2pc: known before it is carried out": ("2pc", YES, None, [(10, None, None), (30, None, None)], 30),
    "2pc: recorded as a shard was late": ("2pc", YES, 50, [(10, None, 90), (30, None, None)], 30),
    "2pc: recorded as a vote was missing": ("2pc", AGAIN, 50, [(10, None, 60), (None, None, 70)], 50),
    "2pc: given up, though all votes came": ("2pc", AGAIN, 50, [(10, None, 60), (20, None, 70)], 50),
    "2pc: an orphan that somebody never prepared": ("2pc", AGAIN, None, [(10, None, 60), (None, None, 70)], 60),
    "2pc: a shard does not answer": ("2pc", YES, None, [(10, None, 60), (None, None, None)], None),
    "3pc: with a majority of two": ("3pc", YES, None, [(10, 40, 90), (30, 50, 80)], 50),
    "3pc: with a majority of three": ("3pc", YES, None, [(10, 40, 90), (30, 50, 80), (20, 60, 70)], 50),
    "3pc: with a majority of four": ("3pc", YES, None, [(1, 40, 90), (2, 50, 80), (3, 60, 70), (4, None, 70)], 60),
    "3pc: precommits are forgotten": ("3pc", YES, None, [(10, 40, 90), (30, None, 80)], None),
    "3pc: nothing is agreed": ("3pc", AGAIN, None, [(10, None, 60), (30, None, 70)], 60),
    "undecided": ("2pc", None, None, [(10, None, None), (None, None, None)], None),
}


@pytest.mark.parametrize("name", DECIDED)
def test_when_a_decision_stood(name: str) -> None:
    """Not when shards carried it out, which may be later."""
    protocol, decision, recorded_ns, shards, expected = DECIDED[name]
    participants = [
        [group, 1, None if times[0] is None else YES, *times] for group, times in enumerate(shards, start=1)
    ]
    row = [Status.undecided if decision is None else decision, None, protocol, 7, 7, 1, recorded_ns, decision]
    assert Trace.unpack(5, [*row, participants]).decided_ns == expected
