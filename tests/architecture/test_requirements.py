"""What is installed, by whom: pyproject, the lock files and the scripts' own list are of one mind."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest

from scripts.environment.prepare import LOCKS, NEEDED
from tests.architecture.sources import ROOT, text_of

NAME = re.compile(r"[A-Za-z0-9-]+")
INDEX_HOST = re.compile(r"https?://|--(?:extra-)?index-url|--find-links")
USERS, TESTS = LOCKS["tests"]
NOT_FOR_USERS = ("pyarrow", "pytest", "mypy", "ruff", "hypothesis")


def project() -> dict[str, Any]:
    """What pyproject says of the package."""
    found: dict[str, Any] = tomllib.loads(text_of(ROOT / "pyproject.toml"))["project"]
    return found


def names(requirements: list[str]) -> set[str]:
    """Of packages, without versions."""
    return {match[0] for text in requirements if (match := NAME.match(text))}


def pins(lock: str) -> set[str]:
    """Packages with their versions, and where these are for some systems only, with the condition."""
    lines = text_of(ROOT / lock).splitlines()
    return {line.removesuffix("\\").strip() for line in lines if NAME.match(line)}


def test_what_scripts_look_for_is_what_the_package_needs() -> None:
    """Each dependency is imported by its own name."""
    assert set(NEEDED) == names(project()["dependencies"])


def test_users_get_what_the_package_needs_and_no_tools() -> None:
    """The client and the scripts run without any of them."""
    locked = names(sorted(pins(USERS)))
    assert names(project()["dependencies"]) <= locked
    assert [name for name in NOT_FOR_USERS if name in locked] == []


def test_tests_get_all_that_users_have_at_the_same_versions() -> None:
    """What is tested is what is used; every extra comes with it."""
    assert pins(USERS) <= pins(TESTS)
    extras = names([text for extra in project()["optional-dependencies"].values() for text in extra])
    assert extras <= names(sorted(pins(TESTS)))


@pytest.mark.parametrize("lock", [USERS, TESTS])
def test_lock_files_are_hashed_and_name_no_index(lock: str) -> None:
    """Any index or mirror may serve the packages, and each has its hashes."""
    text = text_of(ROOT / lock)
    requirements = re.split(r"\n(?=[a-z])", text)[1:]
    assert requirements
    assert [part.splitlines()[0] for part in requirements if "--hash=sha256:" not in part] == []
    assert INDEX_HOST.search(text) is None
