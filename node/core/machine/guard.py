"""Guards of a round's transactions, as the coordinator asks for them and the part with the locks judges them: packed and unpacked here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from node.core.machine.operation import Body


class Guard(NamedTuple):
    """A transaction of a round that happens only while the token holds the lock. As many as a round's rows, so no dataclass."""

    number: int  # of the transaction
    lock: str
    token: int


def guards_command(guards: Sequence[Guard]) -> Body:
    """For a PREPARE."""
    return ["guards", [list(guard) for guard in guards]]


def is_guards(body: Body) -> bool:
    """Whether `guards_command` has made it."""
    kind, *_ = body
    return bool(kind == "guards")


def guards_of(body: Body) -> list[Guard]:
    """Reads `guards_command`."""
    _, rows = body
    return [Guard(*row) for row in rows]
