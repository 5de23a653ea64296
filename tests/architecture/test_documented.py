"""Every script and every setting can be found by a reader."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.architecture.sources import ROOT, programs, text_of
from tests.e2e.programs import environment, script

README_LINES_MAX = 200
SCRIPT_LINES_MAX = 60
NAMES = [path.name for path in programs()]


@pytest.mark.parametrize("name", NAMES)
def test_script_explains_itself(name: str, tmp_path: Path) -> None:
    """`--help` works from any folder, says how the script is used, and does nothing else."""
    shown = subprocess.run(
        [script(name), "--help"],
        env=environment(),
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    assert "usage" in shown.stdout.lower()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", NAMES)
def test_script_is_in_the_readme(name: str) -> None:
    """The README names each script by its path."""
    assert f"scripts/{name}" in text_of(ROOT / "README.md")


def test_script_names_have_no_suffix() -> None:
    """What a person runs has a plain name; there is nothing else beside it but packages and their guide."""
    assert [name for name in NAMES if "." in name or name.startswith("_")] == []
    others = [path.name for path in (ROOT / "scripts").iterdir() if path.is_file() and path.name not in NAMES]
    assert others == ["__init__.py"]


@pytest.mark.parametrize("name", NAMES)
def test_script_is_short(name: str) -> None:
    """It prepares the environment and runs a program of a package, where logic has its home."""
    assert len(text_of(ROOT / "scripts" / name).splitlines()) <= SCRIPT_LINES_MAX


def test_readme_is_short() -> None:
    """The README is read in one sitting."""
    assert len(text_of(ROOT / "README.md").splitlines()) <= README_LINES_MAX


def _is_defined(path: Path, name: str) -> bool:
    return re.search(rf"^\s*(?:(?:async )?def|class) {name}\b|^{name} = ", text_of(path), re.MULTILINE) is not None


def test_what_the_guide_points_to_is_there() -> None:
    """Each file of the table of great questions, and what is named in it."""
    text = text_of(ROOT / "node" / "__init__.py")
    found = re.findall(r"`([\w/]+\.py)`(?:: `(\w+)`)?", text)
    assert len(found) > 20
    homes = [(ROOT / "node" / path if (ROOT / "node" / path).exists() else ROOT / path, name) for path, name in found]
    assert [(path, name) for path, name in homes if not path.exists() or (name and not _is_defined(path, name))] == []


def _settings(table: dict[str, Any]) -> list[str]:
    names = []
    for name, value in table.items():
        inner = value if isinstance(value, list) else [value]
        tables = [item for item in inner if isinstance(item, dict)]
        names += [name] if not tables else [below for item in tables for below in _settings(item)]
    return names


def _is_commented(name: str, lines: list[str]) -> bool:
    """A comment behind the setting, or the end of one on the line above it."""
    for number, line in enumerate(lines):
        if line.split("=")[0].strip() == name and "=" in line:
            above = lines[number - 1].strip() if number else ""
            if not ("#" in line or above.startswith("#")):
                return False
    return True


def test_every_setting_is_documented() -> None:
    """Each setting of cluster.toml carries a comment there or is named in the README."""
    text = text_of(ROOT / "cluster.toml")
    readme = text_of(ROOT / "README.md")
    names = _settings(tomllib.loads(text))
    assert names
    lines = text.splitlines()
    assert [name for name in names if not _is_commented(name, lines) and f"`{name}`" not in readme] == []
