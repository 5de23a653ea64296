"""What `cluster logs` shows: the operator's logs of some nodes, or of all, as one story in the order of time.

A line of a log that is none of the node's own (a trace of the interpreter, the sentence of a refused start) stays where it stood.
"""

from __future__ import annotations

import inspect
import json
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from node import notices
from node.cli.output import OutputLost, say, visible
from node.notices import HEAD, Level, Notice, event_of, names_of
from protocol.placement import called

POLL_SECONDS = 0.2  # between two looks at logs that are followed
TIME_CHARACTERS = 27  # of a timestamp: ISO 8601 to the microsecond, as all commands show times
EVENT_CHARACTERS = 20  # most names are shorter; what follows a longer one is moved


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a log."""

    time: str  # UTC, as it stands there; of the line before where this one has none
    node: int
    text: str  # as it stands there
    told: Mapping[str, Any]  # empty where it is no notice

    def reaches(self, least: Level) -> bool:
        """Whether it is to be shown; what is no notice always is."""
        level = self.told.get("level")
        return level not in list(Level) or Level(level).reaches(least)

    def shown(self) -> str:
        """For a person; nothing that it quotes ends the line or commands a terminal."""
        when = f"{visible(self.time):{TIME_CHARACTERS}}"
        if not self.told:
            return f"{when}  node {self.node:<3} {visible(self.text)}"
        rest = {name: value for name, value in self.told.items() if name not in HEAD}
        fields = " ".join(_field(name, value) for name, value in rest.items())
        event = visible(str(self.told["event"]))
        level = visible(str(self.told["level"]))
        return f"{when}  node {self.node:<3} {level:7}  {event:{EVENT_CHARACTERS}}  {visible(fields)}".rstrip()


def _field(name: str, value: object) -> str:
    """`name=value`, but `shard 2` for the number of a group, `shards 1, 4` for several."""
    groups = value if name == "groups" else [value] if name == "group" else None
    if isinstance(groups, list) and groups and all(type(group) is int for group in groups):
        return called(*groups)
    return f"{name}={_value(value)}"


def _value(value: object) -> str:
    """Texts that are one word need no quotes."""
    is_word = isinstance(value, str) and value and not set(value) & set(" =\"'\\")
    return str(value) if is_word else json.dumps(value, ensure_ascii=False)


class Log:
    """One node's file, read from its beginning on; further as it grows."""

    def __init__(self, node: int, path: Path) -> None:
        self._node = node
        self._path = path
        self._time = ""
        self._rest = ""  # of a line that is not written whole yet
        self._file: TextIO | None = None

    def news(self) -> Iterator[Line]:
        """What has come since the last call. Raises OSError."""
        if self._file is None:
            self._file = self._path.open(encoding="utf-8", errors="replace", newline="\n")
        for text in self._file:
            whole = self._rest + text
            self._rest = "" if whole.endswith("\n") else whole
            if not self._rest:
                yield self._line(whole.rstrip("\n"))

    def _line(self, text: str) -> Line:
        told = _notice(text)
        self._time = str(told.get("timestamp", self._time))
        return Line(self._time, self._node, text, told)


def _notice(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) and all(name in found for name in HEAD) else {}


def show_logs(logs: Mapping[int, Path], lines: int, least: Level, form: str, *, follows: bool) -> None:
    """Prints the last lines of these nodes together, and goes on with what comes, until interrupted. Raises OutputLost and OSError."""
    opened = [Log(node, path) for node, path in logs.items()]
    try:
        _print(deque(_in_order(opened, least), maxlen=lines), form)
        while follows:
            time.sleep(POLL_SECONDS)
            _print(_in_order(opened, least), form)
    except OutputLost as lost:
        if not isinstance(lost.__cause__, BrokenPipeError):
            raise  # else whoever read has seen enough


def _in_order(logs: Sequence[Log], least: Level) -> list[Line]:
    """What has come; lines of one node stay in their order, whatever its clock shows."""
    news = [line for log in logs for line in log.news() if line.reaches(least)]
    return sorted(news, key=lambda line: line.time)


def _print(lines: Iterable[Line], form: str) -> None:
    for line in lines:
        say(line.text if form == "json" else line.shown())


def show_events() -> None:
    """Prints all events that there are, with their fields. Raises OutputLost."""
    for kind in map(vars(notices).get, notices.__all__):
        if isinstance(kind, type) and issubclass(kind, Notice) and kind is not Notice:
            say(f"{event_of(kind)} ({kind.level.value}): {', '.join(names_of(kind)) or 'no fields'}")
            say(f"    {inspect.getdoc(kind)}")
