"""What a line of the operator's log is, whatever it tells."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from enum import StrEnum, unique
from typing import ClassVar

HEAD = ("timestamp", "level", "node", "event")  # of each line of the log, in this order; then the notice's own fields
SECONDS_DIGITS = 3  # nobody on call reads microseconds


@unique
class Level(StrEnum):
    """How much a line asks of whoever reads it; a later one asks for more."""

    debug = "debug"  # for whoever looks for something; left out unless it is asked for
    info = "info"  # what has changed, as it should
    warning = "warning"  # something is wrong that may heal by itself
    error = "error"  # somebody has to do something

    def reaches(self, least: Level) -> bool:
        """Whether it asks for at least as much."""
        order = list(Level)
        return order.index(self) >= order.index(least)


@dataclass(frozen=True, slots=True)
class Notice:
    """One line. Its class names the event, its fields say what of it; a field that is None has nothing to say and is left out."""

    level: ClassVar[Level] = Level.info


def event_of(kind: type[Notice]) -> str:
    """The event's name in the log: `peer refused` for PeerRefused."""
    return re.sub(r"(?<!^)(?=[A-Z])", " ", kind.__name__).lower()


def names_of(kind: type[Notice]) -> tuple[str, ...]:
    """The names of its fields, in order."""
    return tuple(field.name for field in fields(kind))


def fields_of(notice: Notice) -> dict[str, object]:
    """Names and values of what it says, in order."""
    values = {name: getattr(notice, name) for name in names_of(type(notice))}
    return {
        name: round(value, SECONDS_DIGITS) if isinstance(value, float) else value
        for name, value in values.items()
        if value is not None
    }


def line_of(notice: Notice) -> str:
    """The whole notice in one line of text, for reports of tests; whatever it quotes cannot end the line."""
    told = " ".join(f"{name}={value!r}" for name, value in fields_of(notice).items())
    return f"{notice.level.value:7} {event_of(type(notice))} {told}".rstrip()
