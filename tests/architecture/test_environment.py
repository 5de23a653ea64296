"""Scripts prepare their own environment: once, from any folder, together, and with clear words when they cannot."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.environment import prepare
from tests.architecture.sources import ROOT

SCRIPT = """#!/usr/bin/env bash
source "$(dirname "$(readlink -f "$0")")/environment/start.sh"
start marker "$@"
"""
PROGRAM = """
import subprocess, sys

def main():
    print(sys.prefix, *sys.argv)
    subprocess.run([sys.executable, "-c", "import marker"], check=True, cwd="/")
    return 0
"""
COPIED = (
    "scripts/environment/prepare.py", "scripts/environment/start.sh", "node/cli/program.py", "node/cli/output.py",
)  # fmt: skip
UNKNOWN_PACKAGE = "ringpay-does-not-exist==1.0 --hash=sha256:" + "0" * 64 + "\n"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small project with the real bootstrap, a lock without packages and a program; prepared once."""
    root = tmp_path_factory.mktemp("project with spaces")
    for name in COPIED:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    for lock in prepare.LOCKS["tests"]:
        (root / lock).parent.mkdir(exist_ok=True)
        (root / lock).write_text("# nothing\n")
    (root / "marker.py").write_text(PROGRAM)
    script = root / "scripts" / "program"
    script.write_text(SCRIPT)
    script.chmod(0o755)
    first = run(root, script, "--flag", "two words")
    assert first.returncode == 0, first.stderr
    assert first.stdout == f"{said(root)} --flag two words\n"
    assert "making .venv" in first.stderr
    assert "environment ready" in first.stderr
    return root


def said(root: Path) -> str:
    """What the program says of itself: where its Python is, and its name."""
    return f"{root / '.venv'} scripts/program"


def environment(**extra: str) -> dict[str, str]:
    """This process's environment, without what would lead a child to another environment; pip asks no index."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "RINGPAY_VENV")}
    return kept | {"PIP_NO_INDEX": "1"} | extra


def run(cwd: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end."""
    return subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True, timeout=100, check=False)


def test_second_run_prepares_nothing(project: Path, tmp_path: Path) -> None:
    """With a current stamp nothing is said or done; a link and a folder with modules of the same names change nothing."""
    link = tmp_path / "link"
    link.symlink_to(project / "scripts" / "program")
    for name in ("marker.py", "prepare.py", "node.py"):
        (tmp_path / name).write_text("raise SystemExit('of another')")
    again = run(tmp_path, link, "x")
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout == f"{said(project)} x\n"


def test_changed_lock_is_installed_once_by_scripts_that_start_together(project: Path) -> None:
    """One of them installs, the other waits, both run."""
    (project / "requirements.lock").write_text("# changed\n")
    started = [
        subprocess.Popen(
            [project / "scripts" / "program"],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    ends = [process.communicate(timeout=100) for process in started]
    assert [process.returncode for process in started] == [0, 0, 0]
    assert sum("installing" in told for _, told in ends) == 1
    assert all(out == f"{said(project)}\n" for out, _ in ends)


def test_failed_install_is_told_and_mended(project: Path) -> None:
    """What cannot be installed has its own exit code; with a good lock file the same environment serves again."""
    for lock in prepare.LOCKS["tests"]:  # whichever set is there
        (project / lock).write_text(UNKNOWN_PACKAGE)
    failed = run(project, "scripts/program")
    assert failed.returncode == prepare.EXIT_NO_ENVIRONMENT
    assert "could not be installed" in failed.stderr
    for lock in prepare.LOCKS["tests"]:
        (project / lock).write_text("# mended\n")
    mended = run(project, "scripts/program")
    assert mended.returncode == 0, mended.stderr
    assert "making .venv" not in mended.stderr


def test_half_an_environment_is_made_anew(project: Path) -> None:
    """Its Python would not be inside it, and would start itself again and again."""
    (project / ".venv" / "pyvenv.cfg").unlink()
    again = run(project, project / "scripts" / "program")
    assert (again.returncode, again.stdout) == (0, f"{said(project)}\n")
    assert "making .venv" in again.stderr


def test_interrupted_install_starts_afresh(project: Path) -> None:
    """An environment whose packages may be half written is made anew, even when its own interpreter prepares it."""
    (project / ".venv" / prepare.STAMP.name).unlink()
    (project / ".venv" / prepare.PREPARING.name).touch()
    again = run(project, project / ".venv" / "bin" / "python", "scripts/environment/prepare.py", "users")
    assert again.returncode == 0, again.stderr
    assert "making .venv" in again.stderr


def test_the_larger_set_is_brought_by_the_tests_and_kept(project: Path) -> None:
    """Programs that need less leave it alone; where their own lock file changes, the larger set is brought up to date."""

    def installed(command: str, *arguments: str) -> list[str]:
        done = run(project, project / "scripts" / command, *arguments)
        assert done.returncode == 0, done.stderr
        return [line.split()[5].rstrip(";") for line in done.stderr.splitlines() if "installing" in line]

    tests = project / "scripts" / "test"
    tests.write_text(SCRIPT.replace('start marker "$@"', "prepare"))
    tests.chmod(0o755)
    users, larger = prepare.LOCKS["tests"]
    (project / users).write_text("# of users alone\n")
    assert (installed("program"), installed("program")) == ([users], [])
    assert (installed("test"), installed("test"), installed("program")) == ([larger], [], [])
    (project / users).write_text("# new\n")
    assert (installed("program"), installed("test")) == ([larger], [])


def test_old_python_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A Python that is too old says so, where no newer one is found."""
    monkeypatch.delenv("RINGPAY_VENV", raising=False)
    monkeypatch.setattr(prepare, "OLDEST", (99, 0))
    monkeypatch.setattr(prepare, "NEWER_NAMES", ())
    with pytest.raises(SystemExit) as stopped:
        prepare.ensure("users")
    assert stopped.value.code == prepare.EXIT_NO_ENVIRONMENT
    assert "Python 99.0 or newer is needed" in capsys.readouterr().err


def test_missing_packages_are_told() -> None:
    """Where nothing is prepared by the script itself."""
    command = [sys.executable, "-S", "-P", "scripts/environment/prepare.py", "users"]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={"RINGPAY_VENV": "off", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.returncode, done.stdout) == (prepare.EXIT_NO_ENVIRONMENT, "")
    assert "lacks aiosqlite, msgpack" in done.stderr and "Traceback" not in done.stderr


def test_missing_venv_module_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Debian splits the venv module off: its package is named."""
    monkeypatch.delenv("RINGPAY_VENV", raising=False)
    monkeypatch.setattr(prepare, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(prepare, "VENV_PYTHON", tmp_path / ".venv" / "bin" / "python")
    monkeypatch.setattr(prepare, "STAMP", tmp_path / ".venv" / "ringpay.stamp")
    monkeypatch.setattr(prepare, "PREPARING", tmp_path / ".venv" / "ringpay.preparing")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as stopped:
        prepare.ensure("users")
    assert stopped.value.code == prepare.EXIT_NO_ENVIRONMENT
    assert "apt-get install python3-venv" in capsys.readouterr().err
