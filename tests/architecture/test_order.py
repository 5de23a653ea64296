"""The ledger's files know each other in one direction only, which is that of its guide."""

from __future__ import annotations

import ast
import re

from tests.architecture.sources import ROOT, imports_of, place, tree_of

LEDGER = ROOT / "node" / "core" / "ledger"
PACKAGE = "node.core.ledger."
LIST = re.compile(r"^The files, from the bottom.*?\.$", re.DOTALL | re.MULTILINE)


def test_the_ledgers_files_import_those_before_them() -> None:
    """Imports for types included: so there is no cycle, and whoever reads from the bottom needs nothing from above."""
    guide = ast.get_docstring(tree_of(LEDGER / "__init__.py"))
    assert guide is not None
    listed = LIST.search(guide)
    assert listed is not None
    modules = {path.stem: path for path in LEDGER.glob("*.py") if path.stem != "__init__"}
    order = [name for name in re.findall(r"`(\w+)`", listed[0]) if name in modules]
    assert sorted(order) == sorted(modules)
    found = []
    for number, name in enumerate(order):
        for imported, line in imports_of(modules[name]):
            if imported.startswith(PACKAGE) and imported.removeprefix(PACKAGE).split(".")[0] not in order[:number]:
                found.append(f"{place(modules[name], line)} {imported}")
    assert found == []
