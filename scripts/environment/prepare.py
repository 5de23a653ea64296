"""Prepares the project's own environment, `.venv`, from `requirements.lock`, and runs a program inside it.

`start.sh` in this folder runs this file for every script: `prepare.py NAME MODULE ARGUMENT...` runs the `main` of that module
under that name, and without arguments nothing is run. It starts itself again inside `.venv`, with the project's root on PYTHONPATH, so
that every import here and in child processes is of a package by its full name.

Needs nothing but Python 3.11 or newer with its `venv` module. A stamp inside `.venv` holds the hash of the lock file:
a second run costs a few milliseconds; scripts that start together wait for the one that prepares. With RINGPAY_VENV=off
the current interpreter is used as it is, for people who have installed the requirements themselves.

Standard library only, and in a syntax that older versions of Python can read, so that they can say what is wrong.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Iterator, NoReturn

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
LOCK = ROOT / "requirements.lock"
STAMP = VENV / "ringpay.stamp"
PREPARING = VENV / "ringpay.preparing"  # there while packages are written: found later, they are half written

OLDEST = (3, 11)
NEWER_NAMES = ("python3.14", "python3.13", "python3.12", "python3.11")

# by which pyproject's dependencies are imported
NEEDED = ("aiosqlite", "msgpack", "numpy", "rich", "structlog", "uvloop")

EXIT_NO_ENVIRONMENT = 7  # no script's own code
EXIT_INTERRUPTED = 130


def main(arguments: list[str]) -> None:
    """Prepares, and runs the program that the arguments name, if any, to its end."""
    ensure()
    if arguments:
        from node.cli.program import start

        sys.argv[:] = [arguments[0], *arguments[2:]]
        start(arguments[1])


def ensure() -> None:
    """Returns inside an up-to-date `.venv` that finds the project: prepares it where needed, then starts this program again in it.

    Exits with 7 where there can be none: Python is too old or lacks the venv module, or packages could not be installed, or
    are missing with RINGPAY_VENV=off.
    """
    if sys.version_info < OLDEST:
        _restart_with_newer_python()
    is_ours = os.environ.get("RINGPAY_VENV") != "off"
    is_prepared = not is_ours or _is_current()
    if not is_prepared:
        _prepare()
    if not (is_prepared and (_is_inside() or not is_ours) and _finds_the_project()):
        _restart(VENV_PYTHON if is_ours else Path(sys.executable))
    if not is_ours:
        _check_packages()


def _finds_the_project() -> bool:
    """Whether imports are those of the project's packages: its root is on the path, and not this folder, as Python would have it."""
    return str(ROOT) in sys.path and bool(sys.flags.safe_path)


def _check_packages() -> None:
    """Whoever prepares the environment himself is told what it lacks; the tests' and the linter's packages are his affair."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        _fail(
            EXIT_NO_ENVIRONMENT,
            f"RINGPAY_VENV=off, and {sys.executable} lacks {', '.join(missing)}.",
            f"Install what {LOCK.name} names, or leave RINGPAY_VENV unset.",
        )


def _is_there() -> bool:
    """Whether what would be started in `.venv` would be inside it: without its file a Python there is any Python."""
    return os.access(VENV_PYTHON, os.X_OK) and os.access(VENV / "pyvenv.cfg", os.R_OK)


def _is_inside() -> bool:
    return Path(sys.prefix).resolve() == VENV.resolve()


def _is_current() -> bool:
    """Whether `.venv` holds what the lock file names. Inside it, also whether it was made for this very Python."""
    try:
        lock_hash, version = STAMP.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return False
    if _is_inside() and version != _version(sys.version_info):
        return False
    return lock_hash == _lock_hash() and _is_there()


def _prepare() -> None:
    try:
        with _alone():
            if _is_current():
                return
            started_s = time.monotonic()
            if not _is_usable():
                _create()
            _install()
            _say(f"environment ready after {time.monotonic() - started_s:.0f} s")
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Keeps other scripts out; the lock is the project's folder itself, so that no file stays behind."""
    folder = os.open(ROOT, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say("waiting for another script that prepares the environment")
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _is_usable() -> bool:
    """Whether packages can be installed into the `.venv` that is there."""
    if PREPARING.exists() or not _is_there():
        return False
    probe = subprocess.run([str(VENV_PYTHON), "-c", "import pip"], check=False, capture_output=True)
    return probe.returncode == 0


def _create() -> None:
    missing = [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None]
    if missing:
        _fail(
            EXIT_NO_ENVIRONMENT,
            f"this Python lacks its module {' and '.join(missing)}.",
            "On Debian and Ubuntu: apt-get install python3-venv",
        )
    _say(f"making .venv with Python {_version(sys.version_info)}")
    python = getattr(sys, "_base_executable", None) or sys.executable
    made = subprocess.run(
        [python, "-m", "venv", "--clear", str(VENV)], check=False, capture_output=True, text=True, cwd=ROOT
    )
    if made.returncode != 0:
        _fail(EXIT_NO_ENVIRONMENT, "the environment could not be made:", made.stdout.strip(), made.stderr.strip())


def _install() -> None:
    lock_hash = _lock_hash()
    _say(f"installing the packages of {LOCK.name}; the first time takes a minute")
    STAMP.unlink(missing_ok=True)
    PREPARING.touch()
    command = [str(VENV_PYTHON), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    only_errors = ["--quiet", "--quiet"]
    installed = subprocess.run(
        [*command, *only_errors, "--require-hashes", "--requirement", str(LOCK)], check=False, cwd=ROOT
    )
    if installed.returncode >= 0:  # below 0 it was killed and may have left half a package; a failure leaves none
        PREPARING.unlink()
    if installed.returncode != 0:
        _fail(
            EXIT_NO_ENVIRONMENT,
            "the packages could not be installed (pip's own words are above).",
            "Is the network there? Running the same command again is safe.",
        )
    version = subprocess.check_output(
        [str(VENV_PYTHON), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], text=True
    )
    unfinished = STAMP.with_suffix(".new")
    unfinished.write_text(f"{lock_hash}\n{version.strip()}\n", encoding="ascii")
    unfinished.replace(STAMP)


def _restart(python: Path) -> NoReturn:
    """Runs the same again, with the project's root on the path instead of this folder."""
    if os.pathsep in str(ROOT):
        _fail(
            EXIT_NO_ENVIRONMENT,
            f"{ROOT}: expected a folder whose path has no {os.pathsep!r}, which parts paths of each other.",
        )
    inherited = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part not in ("", str(ROOT))]
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *inherited])
    os.execv(python, [str(python), "-P", __file__, *sys.argv[1:]])  # noqa: S606 - no shell is wanted


def _restart_with_newer_python() -> NoReturn:
    for name in NEWER_NAMES:
        python = shutil.which(name)
        if python is not None and subprocess.run([python, "-c", ""], check=False, capture_output=True).returncode == 0:
            os.execv(python, [python, *sys.argv])  # noqa: S606 - no shell is wanted
    _fail(
        EXIT_NO_ENVIRONMENT,
        f"Python {_version(OLDEST)} or newer is needed; this is {_version(sys.version_info)}.",
        "On Debian 12 and Ubuntu 24.04 or newer: apt-get install python3 python3-venv",
    )


def _lock_hash() -> str:
    try:
        return hashlib.sha256(LOCK.read_bytes()).hexdigest()
    except OSError as error:
        _fail(EXIT_NO_ENVIRONMENT, f"{LOCK} cannot be read: {error.strerror}")


def _version(version: tuple[object, ...]) -> str:
    return f"{version[0]}.{version[1]}"


def _say(text: str) -> None:
    print(f"ringpay: {text}", file=sys.stderr, flush=True)


def _fail(code: int, *lines: str) -> NoReturn:
    for line in filter(None, lines):
        _say(line)
    sys.exit(code)


if __name__ == "__main__":
    main(sys.argv[1:])
