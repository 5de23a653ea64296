"""The shape of the tree and of each file."""

from __future__ import annotations

import ast
import re

from tests.architecture.sources import ROOT, files, place, python_files, text_of, tree_of

FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70
TOP_LEVEL_FOLDERS = ("node", "protocol", "scripts", "tests")
TOP_LEVEL_FILES = ("CHANGELOG.md", "LICENSE", "README.md", "cluster.toml", "pyproject.toml", "requirements.lock")
UNFINISHED = re.compile(
    r"\b(?:TOD[O]|FIXM[E]|HAC[K])\b|\bXX[X]:|NotImplementedErro[r]"
)  # the brackets: not to find itself
LISTING = (  # packages whose guides list their files
    "node/actors", "node/adapters", "node/cli", "node/core/ledger", "node/notices", "protocol", "protocol/client", "scripts/load",
    "scripts/local",
)  # fmt: skip
MACHINE_PATH = re.compile(r"(?<![\w.$})>-])/(?:home|root|Users|work|farm)/\w|/tmp/\w")


def test_top_level_holds_nothing_else() -> None:
    """A folder or file at the top is one of the named ones, or begins with a dot."""
    named = (*TOP_LEVEL_FOLDERS, *TOP_LEVEL_FILES)
    assert [path.name for path in sorted(ROOT.iterdir()) if path.name[0] != "." and path.name not in named] == []


def test_no_file_is_too_long() -> None:
    """A module that outgrows the limit is split; there are no exceptions."""
    lengths = {place(path): len(text_of(path).splitlines()) for path in python_files()}
    assert {name: lines for name, lines in lengths.items() if lines > FILE_LINES_MAX} == {}


def test_no_function_is_too_long() -> None:
    """A function that outgrows the limit is split; there are no exceptions."""
    found = {}
    for path in python_files():
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES_MAX:
                    found[f"{place(path, node.lineno)} {node.name}"] = lines
    assert found == {}


def _places(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{place(path, number)} {line.strip()}"
        for path in files()
        for number, line in enumerate(text_of(path).splitlines(), 1)
        if pattern.search(line)
    ]


def test_nothing_is_left_to_do() -> None:
    """No marker for unfinished work stands in the tree."""
    assert _places(UNFINISHED) == []


def test_no_path_of_a_machine() -> None:
    """Nothing depends on the folders of the machine where it was written."""
    assert _places(MACHINE_PATH) == []


def test_every_package_has_a_guide() -> None:
    """The docstring of a package says what it is; a folder of code without one cannot be imported by name either."""
    folders = sorted({path.parent for path in python_files() if place(path).startswith(("node/", "protocol/"))})
    found = []
    for folder in folders:
        guide = folder / "__init__.py"
        if not guide.is_file() or ast.get_docstring(tree_of(guide)) is None:
            found.append(place(folder))
    assert found == []


def test_guides_that_list_files_name_all() -> None:
    """Whoever looks for something begins there: a file that is not named is not found."""
    found = []
    for folder in LISTING:
        guide = ast.get_docstring(tree_of(ROOT / folder / "__init__.py")) or ""
        for path in (ROOT / folder).glob("*.py"):
            if not path.stem.startswith("__") and not re.search(rf"`{path.stem}(\.py)?`", guide):
                found.append(place(path))
    assert sorted(found) == []
