"""Finds the project's own files, for tests that look at all of them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("node", "protocol", "scripts", "tests", ".ci")
TEXT_SUFFIXES = ("", ".css", ".html", ".js", ".json", ".lock", ".md", ".py", ".sh", ".svg", ".toml", ".txt")


@cache
def files() -> tuple[Path, ...]:
    """Every text file that belongs to the project, in a fixed order."""
    found = [path for path in ROOT.iterdir() if path.is_file()]
    for folder in FOLDERS:
        found += [path for path in (ROOT / folder).rglob("*") if path.is_file()]
    return tuple(sorted(path for path in found if path.suffix in TEXT_SUFFIXES and not _is_cache(path)))


def _is_cache(path: Path) -> bool:
    return any(part == "__pycache__" or part.endswith("_cache") for part in path.relative_to(ROOT).parts[:-1])


@cache
def text_of(path: Path) -> str:
    """The file's text; a binary file is a mistake and raises UnicodeDecodeError."""
    return path.read_text(encoding="utf-8")


@cache
def python_files() -> tuple[Path, ...]:
    """Every module."""
    return tuple(path for path in files() if path.suffix == ".py")


@cache
def tree_of(path: Path) -> ast.Module:
    """The file's syntax tree."""
    return ast.parse(text_of(path), filename=str(path))


def imports_of(path: Path) -> Iterator[tuple[str, int]]:
    """Absolute names that a file imports, `package.module.name` for a from-import, each with its line."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 0:
            for alias in node.names:
                yield f"{node.module}.{alias.name}", node.lineno


def place(path: Path, line: int = 0) -> str:
    """How a finding names its place."""
    return f"{path.relative_to(ROOT)}:{line}" if line else str(path.relative_to(ROOT))


def programs() -> list[Path]:
    """What a person runs: the executable files in scripts/."""
    return [path for path in files() if path.parent == ROOT / "scripts" and path.stat().st_mode & 0o100]
