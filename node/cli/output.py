"""How programs print: a table for people, JSON for other programs, and complaints on standard error."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

EXIT_FAILED = 1
EXIT_OUTPUT_LOST = 6  # what was asked for is done, but standard output did not take the words
NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")
COLUMNS_MAX = 80  # of a line, where its cells leave that much: what terminals have at least
GAP, INDENT = "  ", "    "  # between columns; before lines that go on

Row = Mapping[str, Any]


class OutputLost(Exception):
    """Standard output did not take what a program has to say."""


def say(text: str) -> None:
    """A line on standard output, at once. Raises OutputLost."""
    write(text + "\n")


def write(text: str) -> None:
    """Text on standard output, at once. What its encoding lacks is escaped. Raises OutputLost."""
    if sys.stdout is None:
        raise OutputLost("standard output is closed")
    encoding = sys.stdout.encoding or "utf-8"
    try:
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
        sys.stdout.flush()
    except OSError as error:
        with suppress(OSError):  # what is left in the buffer would fail again when the program ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise OutputLost(f"standard output: {error.strerror}") from error


def program_name() -> str:
    """The first word of what a program says of itself."""
    return Path(sys.argv[0]).name


def complain(text: str) -> None:
    """One message on standard error, as far as there is one, behind the program's name."""
    if sys.stderr is not None:
        with suppress(OSError):
            lines = "\n".join(map(visible, text.split("\n")))
            print(f"{program_name()}: {lines}", file=sys.stderr, flush=True)


def visible(text: str) -> str:
    """Without what commands a terminal or hides: such characters are escaped."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def show(rows: Sequence[Row], form: str, breaks: Sequence[str] = ()) -> None:
    """Prints rows with the same keys, as a `table` or as `json`. Raises OutputLost, which repeats a single row.

    Where a table is too wide for a line, others begin before the columns of `breaks`, and where else they must.
    """
    show_pages([rows], form, breaks)


def show_pages(pages: Iterable[Sequence[Row]], form: str, breaks: Sequence[str] = ()) -> None:
    """The same, each page as soon as it is there."""
    table = Table(breaks)
    is_first = True
    for rows in pages:
        try:
            if form == "json":
                write(("[" if is_first else ", ") + json.dumps(list(rows))[1:-1])
            else:
                write(table.page(rows))
        except OutputLost as lost:
            said = "; ".join(", ".join(f"{name} {_cell(value)}" for name, value in row.items()) for row in rows[:2])
            raise OutputLost(f"{lost}; it was to say: {said}" if len(rows) == 1 else str(lost)) from lost
        is_first = False
    if form == "json":
        write("[]\n" if is_first else "]\n")


def show_record(row: Row) -> None:
    """Prints one row for people, a line for each of its values. Raises OutputLost."""
    width = max(map(len, row))
    write("".join(f"{name:<{width}}  {_cell(value)}".rstrip() + "\n" for name, value in row.items()))


class Table:
    """A table of pages that come one after the other. Nothing is cut off or folded: columns that do not fit in a line go on in the next."""

    def __init__(self, breaks: Sequence[str] = ()) -> None:
        self._breaks = breaks
        self._widths: dict[str, int] = {}
        self._numbers: set[str] = set()  # columns that are set to the right
        self._lines: list[list[str]] = []

    def page(self, rows: Sequence[Row]) -> str:
        """The lines of a page, with a head where there was none or columns have to go elsewhere than before."""
        from rich.cells import cell_len  # slow to import, and of no use to JSON

        if not rows:
            return ""
        cells = [{name: _cell(value) for name, value in row.items()} for row in rows]
        if not self._widths:
            self._widths = {name: cell_len(name) for name in cells[0]}
            self._numbers = {name for name, text in cells[0].items() if NUMBER.fullmatch(text)}
        for name in self._widths:
            self._widths[name] = max(self._widths[name], *(cell_len(row[name]) for row in cells))
        lines = self._arranged()
        if lines != self._lines:
            self._lines = lines
            cells.insert(0, {name: name for name in self._widths})

        def filled(row: Mapping[str, str], name: str) -> str:
            fill = " " * (self._widths[name] - cell_len(row[name]))
            return fill + row[name] if name in self._numbers else row[name] + fill

        texts = []
        for row in cells:
            first, *rest = (GAP.join(filled(row, name) for name in line).rstrip() for line in lines)
            while rest and not rest[-1]:  # nothing in its last lines
                rest.pop()
            texts += [first, *((INDENT + text).rstrip() for text in rest)]
        return "".join(text + "\n" for text in texts)

    def _arranged(self) -> list[list[str]]:
        """The columns of each line."""
        if sum(self._widths.values()) + len(GAP) * (len(self._widths) - 1) <= COLUMNS_MAX:
            return [list(self._widths)]
        lines: list[list[str]] = [[]]
        used = 0
        for name, width in self._widths.items():
            if lines[-1] and (used + len(GAP) + width > COLUMNS_MAX or name in self._breaks):
                lines.append([])
                used = len(INDENT)
            used += width + len(GAP) * bool(lines[-1])
            lines[-1].append(name)
        return lines


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(_cell, value))
    return "" if value is None else visible(str(value))
