"""Drives a single part in a test as the machine would."""

from __future__ import annotations

from node.core.machine import Alone, Asking, At, Body, Judged, Loaded, Part, judge
from node.core.machine.answers import judged


def asking(now_ns: int = 0, loaded: Loaded | None = None) -> Asking:
    """What a leader hands out, without other parts."""
    return Asking(now_ns, loaded or {}, {})


def carry_out(part: Part, resolved: Alone | Judged, at: At) -> Body:
    """What an entry with this command alone answers."""
    if isinstance(resolved, Alone):
        return part.apply(resolved.body, at)
    docket = part.open(resolved.commands[0][1], at, None)
    return judged(docket.close(judge([docket], resolved.count)))


def prepare(part: Part, round_id: int, resolved: Alone | Judged, count: int, at: At) -> tuple[bytes, bytes]:
    """The votes on a round, and what else the coordinator is told."""
    assert isinstance(resolved, Judged)
    docket = part.open(resolved.commands[0][1], at, round_id)
    votes = judge([docket], count)
    return votes.tobytes(), docket.close(votes)
