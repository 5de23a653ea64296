"""Reads the published scenario files: a command with arguments, input lines, `----`, and the expected output."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

_ARGUMENT = re.compile(r"([a-z-]+)=(\([^)]*\)|\S+)|(\S+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Case:
    """One command of a file."""

    name: str
    words: tuple[str, ...]
    options: dict[str, str]
    input: str
    expected: str
    line: int

    def numbers(self, option: str) -> tuple[int, ...]:
        """The numbers in an option such as `voters=(1,2,3)`."""
        return tuple(int(number) for number in re.findall(r"\d+", self.options.get(option, "")))


def data_folder() -> Path:
    """The folder with the published files; skips the test where it is missing."""
    for parent in Path(__file__).resolve().parents:
        folder = parent / "shared" / "data" / "etcd-raft"
        if folder.is_dir():
            return folder
    pytest.skip("the published raft scenario files are not on this machine")


def cases(path: Path) -> Iterator[Case]:
    """The commands of a file, in order."""
    lines = path.read_text().split("\n")
    position = 0
    while position < len(lines):
        line = lines[position]
        if not line.strip() or line.startswith("#"):
            position += 1
            continue
        start = position
        while lines[position] != "----":
            position += 1
        end = position + 1
        while end < len(lines) and lines[end].strip():
            end += 1
        yield _case(line, "\n".join(lines[start + 1 : position]), "\n".join(lines[position + 1 : end]), start + 1)
        position = end


def _case(command: str, text: str, expected: str, line: int) -> Case:
    name, _, rest = command.partition(" ")
    words, options = [], {}
    for key, value, word in _ARGUMENT.findall(rest):
        if key:
            options[key] = value
        else:
            words.append(word)
    return Case(name, tuple(words), options, text, expected, line)
