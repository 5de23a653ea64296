"""How `scripts/pay` tells of a refused payment: now, or that its id has been refused before and keeps that."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from _output import EXIT_FAILED, complain, show

from protocol import ids
from protocol.errors import Refused

EXIT_REFUSED_BEFORE = 5


def show_refused(error: Refused, id: int, form: str, arguments: Sequence[str]) -> int:
    """Says why; for a repeat when it was first refused, and the command that pays anew. The exit code."""
    if form == "json":
        first = None if error.first_refused_at is None else error.first_refused_at.isoformat()
        row = {"id": ids.format(id), "status": error.status, "is_repeat": error.is_repeat, "first_refused_at": first}
        show([row], form)
    if not error.is_repeat:
        complain(f"pay: {error}")
        return EXIT_FAILED
    command = shlex.join(["scripts/pay", *_without_id(arguments)])
    complain(f"pay: {ids.format(id)}: {error}: {command}")
    return EXIT_REFUSED_BEFORE


def _without_id(arguments: Sequence[str]) -> list[str]:
    left = [argument for argument in arguments if not argument.startswith("--id=")]
    while "--id" in left:
        place = left.index("--id")
        del left[place : place + 2]
    return left
