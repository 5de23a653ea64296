"""The operator's log as lines of JSON, and its twin in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TextIO

import structlog

from node.notices import HEAD, Level, Notice, event_of, fields_of, line_of

TEXT_CHARACTERS_MAX = 4_000  # of one field: what a peer can say is shorter, a trace of a broken invariant may not be
LINES_KEPT = 2_000  # of one node by the twin: some minutes of a run with faults


class JsonLines:
    """Implements `OperatorLog`: one line a notice, ASCII, so that nothing that it quotes ends a line or commands a terminal."""

    def __init__(self, file: TextIO, node: int, least: Level = Level.info) -> None:
        """`node` is in every line; less than `least` is left out."""
        self.least = least
        processors: list[Any] = [
            structlog.processors.TimeStamper(fmt="iso"),
            _in_order,
            structlog.processors.JSONRenderer(),
        ]
        self._logger: Any = structlog.wrap_logger(
            structlog.WriteLogger(file), processors, structlog.BoundLogger, cache_logger_on_first_use=True, node=node
        )

    def tell(self, notice: Notice) -> None:
        """Writes it at once. A log that takes nothing, of a full disk for one, is no reason to stop: the line is lost."""
        if notice.level.reaches(self.least):
            told = {name: _shortened(value) for name, value in fields_of(notice).items()}
            with suppress(OSError):
                self._logger.msg(event_of(type(notice)), level=notice.level.value, **told)


def _shortened(value: object) -> object:
    """The end of a trace says most, the beginning of anything else does, and both say enough."""
    if not isinstance(value, str) or len(value) <= TEXT_CHARACTERS_MAX:
        return value
    half = TEXT_CHARACTERS_MAX // 2
    return f"{value[:half]} ... {value[-half:]}"


def _in_order(_: object, __: str, told: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: told[name] for name in (*HEAD, *told)}


@dataclass(frozen=True, slots=True)
class Told:
    """A notice and when it was told."""

    seconds: float
    notice: Notice

    def line(self, node: int) -> str:
        """As text."""
        return f"{self.seconds:10.3f} s  node {node}  {line_of(self.notice)}"


class MemoryOperatorLog:
    """Implements `OperatorLog`: keeps the last lines."""

    def __init__(self, now: Callable[[], float]) -> None:
        """`now` gives seconds."""
        self.told: deque[Told] = deque(maxlen=LINES_KEPT)
        self._now = now

    def tell(self, notice: Notice) -> None:
        """Keeps it, whatever its level."""
        self.told.append(Told(self._now(), notice))
