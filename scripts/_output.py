"""How scripts print: a table for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130
PIPED_COLUMNS = 240  # a pipe has no width; nothing is cut off


def console() -> Console:
    """Standard output: colours and boxes on a terminal, plain text in a pipe."""
    return Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=PIPED_COLUMNS)


def show(rows: Sequence[Mapping[str, Any]], form: str) -> None:
    """Prints rows with the same keys, as a `table` or as `json`."""
    if form == "json":
        print(json.dumps(list(rows)))
        return
    if not rows:
        return
    table = Table(box=SIMPLE_HEAD if sys.stdout.isatty() else None, pad_edge=False)
    for name, value in rows[0].items():
        table.add_column(name, justify="right" if type(value) is int else "left", overflow="fold")
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    console().print(table)


def complain(text: str) -> None:
    """One message on standard error."""
    print(text, file=sys.stderr, flush=True)
