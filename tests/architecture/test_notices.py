"""The events of the operator's log are a closed list, each explains itself, and a test brings each about."""

from __future__ import annotations

import ast
import re
from dataclasses import fields
from pathlib import Path

import pytest

import node.notices
from node.notices import Notice, event_of, fields_of, names_of
from tests.architecture.sources import ROOT, imports_of, place, python_files, text_of, tree_of

PACKAGE = ROOT / "node" / "notices"
MODULES = sorted(path for path in PACKAGE.glob("*.py") if path.name not in ("__init__.py", "notice.py"))
TESTS = [path for path in python_files() if path.is_relative_to(ROOT / "tests") and path != Path(__file__)]
SECRETS = re.compile(r"token|secret|account|amount|balance|owner", re.IGNORECASE)

KINDS: list[type[Notice]] = [
    kind
    for kind in map(vars(node.notices).get, node.notices.__all__)
    if isinstance(kind, type) and issubclass(kind, Notice) and kind is not Notice
]


def classes() -> dict[str, tuple[Path, ast.ClassDef]]:
    """All notices of the package's files, by name."""
    return {
        item.name: (path, item)
        for path in MODULES
        for item in tree_of(path).body
        if isinstance(item, ast.ClassDef) and any(ast.unparse(base) == "Notice" for base in item.bases)
    }


def test_the_list_is_whole() -> None:
    """What is defined is exported; no two have one name in the log."""
    assert sorted(classes()) == sorted(kind.__name__ for kind in KINDS)
    events = [event_of(kind) for kind in KINDS]
    assert len(set(events)) == len(events)
    assert event_of(node.notices.PeerReachedThrough) == "peer reached through"


@pytest.mark.parametrize("kind", KINDS, ids=event_of)
def test_each_explains_itself(kind: type[Notice]) -> None:
    """One sentence or two say when it is told; no field is named after what does not belong in a log."""
    _, found = classes()[kind.__name__]
    text = ast.get_docstring(found)
    assert text and text.endswith(".") and "\n" not in text
    assert not [name for name in names_of(kind) if SECRETS.search(name)]


def test_a_name_means_one_thing() -> None:
    """Groups, peers, terms and times are called the same everywhere, with units last."""
    names = {field.name for kind in KINDS for field in fields(kind)}
    assert not {name for name in names if name.endswith(("_s", "_ms", "_ns")) or name in ("node", "shard", "time")}
    assert {"group", "peer", "term", "reason", "seconds"} <= names


@pytest.mark.parametrize("kind", KINDS, ids=event_of)
def test_a_test_brings_each_about(kind: type[Notice]) -> None:
    """Some test names it; whether that is told as it should be is that test's business."""
    pattern = re.compile(rf"\b{kind.__name__}\b|\"{event_of(kind)}\"")
    assert any(pattern.search(text_of(path)) for path in TESTS), f"no test of {event_of(kind)}"


def test_people_are_told_in_one_way() -> None:
    """Only the adapter knows structlog, nobody knows logging, and a node prints nothing but why it did not start."""
    mine = [path for path in python_files() if path.is_relative_to(ROOT / "node")]
    found = {
        (place(path), name.split(".")[0])
        for path in mine
        for name, _ in imports_of(path)
        if name.split(".")[0] in ("structlog", "logging")
    }
    assert found == {("node/adapters/operator_log.py", "structlog")}
    printing = [
        place(path)
        for path in mine
        for item in ast.walk(tree_of(path))
        if isinstance(item, ast.Call)
        and ast.unparse(item.func) == "print"
        and not path.is_relative_to(ROOT / "node/cli")
    ]
    assert printing == ["node/start.py"]


def test_the_readme_says_where_the_log_is() -> None:
    """And how to read it."""
    readme = text_of(ROOT / "README.md")
    assert all(word in readme for word in ("operator's log", "`node-N.log`", "`cluster logs`", "`logs --events`"))


def test_values_are_plain() -> None:
    """A line is JSON: numbers, texts, lists of numbers."""
    told = fields_of(node.notices.MembershipChanged(1, (1, 2), (), ()))
    assert told == {"group": 1, "voters": (1, 2), "learners": (), "outgoing": ()}
    assert fields_of(node.notices.LinkUp(2, 1.23456)) == {"peer": 2, "away_seconds": 1.235}
    assert fields_of(node.notices.LeaderChanged(1, 2, 3, None)) == {"group": 1, "term": 2, "leader": 3}
