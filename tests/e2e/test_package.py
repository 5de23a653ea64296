"""The package as others install it: a wheel that is whole, and that tells its version where nothing else is installed."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from protocol import __version__
from tests.e2e.programs import ROOT, RUN_SECONDS, run

MISSING = [name for name in ("hatchling", "pip", "venv", "ensurepip") if find_spec(name) is None]


def do(*command: str | Path) -> str:
    """What a command that succeeds prints, away from the project."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd="/", env=environment, capture_output=True, text=True, timeout=RUN_SECONDS, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the project."""
    if MISSING:
        pytest.skip(f"{' and '.join(MISSING)} missing here, of what builds and installs a package")
    folder = tmp_path_factory.mktemp("wheel")
    do(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--wheel-dir",
        folder,
        ROOT,
    )
    (made,) = folder.iterdir()
    return made


def test_the_wheel_has_what_an_application_imports(wheel: Path) -> None:
    """All modules of `node` and `protocol`, their types, the licence; and nothing of scripts and tests."""
    names = zipfile.ZipFile(wheel).namelist()
    about = f"ringpay-{__version__}.dist-info"
    modules = [str(path.relative_to(ROOT)) for top in ("node", "protocol") for path in (ROOT / top).rglob("*.py")]
    wanted = [*modules, "node/py.typed", "protocol/py.typed", f"{about}/licenses/LICENSE", f"{about}/entry_points.txt"]
    assert [name for name in wanted if name not in names] == []
    assert {name.split("/")[0] for name in names} == {"node", "protocol", about}


def test_an_installed_package_tells_its_version(wheel: Path, tmp_path: Path) -> None:
    """Even before what it needs is installed."""
    do(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    do(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel)
    assert do(python.with_name("ringpay"), "version") == f"ringpay {__version__}\n"
    assert do(python, "-m", "node.cli", "version") == f"ringpay {__version__}\n"


def test_the_version_is_told_without_a_cluster() -> None:
    """By the script, and for programs."""
    assert run("pay", "version").stdout == f"ringpay {__version__}\n"
    assert run("pay", "version", "-o", "json").stdout == f'[{{"version": "{__version__}"}}]\n'


def test_the_changelog_knows_the_version() -> None:
    """What is new in it stands first."""
    first = next(line for line in (ROOT / "CHANGELOG.md").read_text().splitlines() if line.startswith("## "))
    assert first.removeprefix("## ").split(",")[0] == __version__
