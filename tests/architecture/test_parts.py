"""A part joins the ledger without touching it: what the contract of `node.core.machine` promises, held by the import graph."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.daemon import CLUSTER_PARTS, SHARD_PARTS
from tests.architecture.sources import ROOT, imports_of, place, python_files, text_of

EXAMPLE = "node.core.allowances"
COMPOSITION = ("node/daemon.py",)
BLIND = [
    *(ROOT / "node" / "core" / "ledger").glob("*.py"), *(ROOT / "node" / "core" / "commit").glob("*.py"),
    *(ROOT / "node" / "core" / "machine").glob("*.py"), *(ROOT / "node" / "core" / "locks").glob("*.py"),
    *(ROOT / "node" / "actors").glob("*.py"),
]  # fmt: skip


def package_of(part: type) -> str:
    """The package of the core that a part lives in."""
    return ".".join(part.__module__.split(".")[:3])


def test_only_the_composition_knows_the_example() -> None:
    """Neither the router, a session, the pipeline, the coordinator nor another part imports it."""
    users = {
        place(path)
        for path in python_files()
        if not place(path).startswith(("tests/", "node/core/allowances/"))
        for name, _ in imports_of(path)
        if name.startswith(EXAMPLE)
    }
    assert sorted(users) == sorted(COMPOSITION)


@pytest.mark.parametrize("path", BLIND, ids=place)
def test_nobody_speaks_of_it(path: Path) -> None:
    """Not even by name."""
    assert "allowance" not in text_of(path).lower()


@pytest.mark.parametrize("package", sorted({package_of(part) for part in (*SHARD_PARTS, *CLUSTER_PARTS)}))
def test_parts_know_only_the_contract(package: str) -> None:
    """Of the node, a part imports itself and the machine."""
    folder = ROOT / Path(*package.split("."))
    foreign = [
        place(path, line)
        for path in folder.rglob("*.py")
        for name, line in imports_of(path)
        if name.startswith("node.") and not name.startswith((f"{package}.", "node.core.machine"))
    ]
    assert foreign == []
