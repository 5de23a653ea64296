"""A shard and its group have one number wherever people read it, and one function says how it is called."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).parents[2]
NUMBERED = re.compile(r"\b(groups?|shard) $")
SOURCES = [path for folder in ("node", "protocol", "scripts") for path in sorted((ROOT / folder).rglob("*.py"))]


def test_texts_call_shards_by_one_function() -> None:
    """No text puts a number behind `group` or `shard` itself; `placement.called` does."""
    found = [f"{path.relative_to(ROOT)}: {text}" for path in SOURCES for text in numbered_in(path.read_text())]
    assert found == [], "use protocol.placement.called"


def test_numbering_is_found() -> None:
    """The search above sees what it looks for."""
    assert list(numbered_in('f"{what}: group {number} is lost"')) == ["group "]
    assert list(numbered_in('f"the {called(number)} is lost"')) == []


def numbered_in(source: str) -> Iterator[str]:
    """What stands before a value in formatted texts, where that is one of the two words."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            for before, value in pairwise(node.values):
                if isinstance(before, ast.Constant) and isinstance(value, ast.FormattedValue):
                    match = NUMBERED.search(str(before.value))
                    if match is not None:
                        yield match.group()
