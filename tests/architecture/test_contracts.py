"""Who may import whom, and what the pure parts may not touch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from importlinter.api import read_configuration
from importlinter.cli import lint_imports

from tests.architecture.sources import ROOT, imports_of, place, python_files, tree_of

CORE = ROOT / "node" / "core"
PROTOCOL = ROOT / "protocol"
MAY_USE_CLIENT = ("node/cli/", "node/gateway/", "scripts/", "tests/", "protocol/client/")
IMPURE_BUILTINS = ("breakpoint", "input", "open", "print")


def pure_files() -> list[Path]:
    """The core, and the protocol without its client."""
    inside = (path for path in python_files() if path.is_relative_to(CORE) or path.is_relative_to(PROTOCOL))
    return [path for path in inside if not path.is_relative_to(PROTOCOL / "client")]


def test_import_contracts_hold(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The layers of the tree, the independence of core packages and the purity of the core are kept."""
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(str(ROOT))
    outcome = lint_imports(config_filename="pyproject.toml", no_cache=True, no_logo=True)
    assert outcome == 0, capsys.readouterr().out


def test_contracts_are_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    """No contract is lost by accident: a missing one would pass unseen."""
    monkeypatch.chdir(ROOT)
    configured = read_configuration("pyproject.toml")["contracts_options"]
    assert {contract["id"] for contract in configured} >= {"layers", "core-siblings", "pure-core"}


@pytest.mark.parametrize("folder", ["node/core/raft", "protocol"])
@pytest.mark.parametrize("statement", ["import asyncio", "from os import path", "import random\nrandom.random()"])
def test_lint_bans_impure_modules(folder: str, statement: str) -> None:
    """The nested lint settings refuse an impure import wherever they apply."""
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--select", "TID251", "--stdin-filename"]
    checked = subprocess.run(
        [*command, f"{folder}/example.py", "-"], input=statement, capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert checked.returncode == 1, checked.stderr
    assert "is banned" in checked.stdout


def test_pure_code_is_synchronous() -> None:
    """No coroutine and no await in the core or the protocol."""
    kinds = (ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith, ast.Await)
    found = [
        place(path, node.lineno) for path in pure_files() for node in ast.walk(tree_of(path)) if isinstance(node, kinds)
    ]
    assert found == []


def test_pure_code_opens_and_prints_nothing() -> None:
    """Files and the terminal are reached by adapters and programs only."""
    found = [
        place(path, node.lineno)
        for path in pure_files()
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in IMPURE_BUILTINS
    ]
    assert found == []


def test_randomness_is_handed_in() -> None:
    """Pure code names `random.Random` as a type, in raft only, and never makes one."""
    found = []
    for path in pure_files():
        if not path.is_relative_to(CORE / "raft"):
            found += [place(path, line) for name, line in imports_of(path) if name.split(".")[0] == "random"]
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("Random", "random.Random"):
                found.append(place(path, node.lineno))
    assert found == []


def test_money_is_never_summed_in_floats() -> None:
    """`bincount` with weights adds in floats; it may only count."""
    found = [
        place(path, node.lineno)
        for path in pure_files()
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).endswith("bincount")
        and (len(node.args) > 1 or any(keyword.arg == "weights" for keyword in node.keywords))
    ]
    assert found == []


def test_only_programs_use_the_client() -> None:
    """A node never talks to itself through the client; the command line, the gateway and scripts do."""
    found = [
        place(path, line)
        for path in python_files()
        if not place(path).startswith(MAY_USE_CLIENT)
        for name, line in imports_of(path)
        if f"{name}.".startswith("protocol.client.")
    ]
    assert found == []


def test_nothing_but_tests_imports_tests() -> None:
    """What ships, and what a person runs beside it, stands without them; scripts start programs in tests by name."""
    found = [
        place(path, line)
        for path in python_files()
        if not place(path).startswith("tests/")
        for name, line in imports_of(path)
        if name.split(".")[0] == "tests"
    ]
    assert found == []


def test_modules_are_found_by_their_full_names() -> None:
    """Nothing changes where Python looks for modules."""
    changes = ("sys.path.insert", "sys.path.append", "sys.path.extend")
    found = [
        place(path, node.lineno)
        for path in python_files()
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in changes
    ]
    assert found == []
