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


def show(rows: Sequence[Row], form: str) -> None:
    """Prints rows with the same keys, as a `table` or as `json`. Raises OutputLost, which repeats a single row."""
    show_pages([rows], form)


def show_pages(pages: Iterable[Sequence[Row]], form: str) -> None:
    """The same, each page as soon as it is there."""
    widths: dict[str, int] = {}
    is_first = True
    for rows in pages:
        try:
            if form == "json":
                write(("[" if is_first else ", ") + json.dumps(list(rows))[1:-1])
            else:
                write(_table(rows, widths))
        except OutputLost as lost:
            said = "; ".join(", ".join(f"{name} {_cell(value)}" for name, value in row.items()) for row in rows[:2])
            raise OutputLost(f"{lost}; it was to say: {said}" if len(rows) == 1 else str(lost)) from lost
        is_first = False
    if form == "json":
        write("[]\n" if is_first else "]\n")


def _table(rows: Sequence[Row], widths: dict[str, int]) -> str:
    """Lines of a table; with a head where `widths`, which it keeps for the next page, is empty. Nothing is cut off or folded."""
    from rich.cells import cell_len  # slow to import, and of no use to JSON

    if not rows:
        return ""
    head = [] if widths else [{name: name for name in rows[0]}]
    cells = [{name: _cell(value) for name, value in row.items()} for row in [*head, *rows]]
    for name in rows[0]:
        widths[name] = max(widths.get(name, 0), *(cell_len(row[name]) for row in cells))
    is_number = {name: NUMBER.fullmatch(_cell(value)) is not None for name, value in rows[0].items()}

    def line(row: Mapping[str, str]) -> str:
        fills = {name: " " * (widths[name] - cell_len(text)) for name, text in row.items()}
        return "  ".join(fills[name] + text if is_number[name] else text + fills[name] for name, text in row.items())

    return "".join(line(row).rstrip() + "\n" for row in cells)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else visible(str(value))
