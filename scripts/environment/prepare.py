"""Prepares the project's own environment, `.venv`, with one of two sets of packages, and runs a program inside it.

`start.sh` in this folder runs this file for every script: `prepare.py users NAME MODULE ARGUMENT...` runs the `main` of that module
under that name, with the packages that a user needs; `prepare.py tests` runs nothing and brings what tests and checks need besides. It
starts itself again inside `.venv`, with the project's root on PYTHONPATH, so that every import here and in child processes is of a
package by its full name.

Needs nothing but Python 3.11 or newer with its `venv` module. A stamp inside `.venv` holds the hashes of the lock files that were
installed: a second run costs a few milliseconds; scripts that start together wait for the one that prepares. An environment that has the
larger set keeps it. With RINGPAY_VENV=off the current interpreter is used as it is, for people who have installed the requirements
themselves.

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
LOCKS = {  # what each set consists of; the last one has all pins of those before it
    "users": ("requirements.lock",),
    "tests": ("requirements.lock", "tests/requirements.lock"),
}
STAMP = VENV / "ringpay.stamp"
PREPARING = VENV / "ringpay.preparing"  # there while packages are written: found later, they are half written

OLDEST = (3, 11)
NEWER_NAMES = ("python3.14", "python3.13", "python3.12", "python3.11")

# by which pyproject's dependencies are imported
NEEDED = ("aiosqlite", "msgpack", "numpy", "rich", "structlog", "tzdata", "uvloop")

EXIT_NO_ENVIRONMENT = 7  # no script's own code
EXIT_INTERRUPTED = 130


def main(arguments: list[str]) -> None:
    """Prepares a set, and runs the program that the other arguments name, if any, to its end."""
    ensure(arguments[0])
    if arguments[1:]:
        from node.cli.program import start

        _, name, module, *words = arguments
        sys.argv[:] = [name, *words]
        start(module)


def ensure(wanted: str) -> None:
    """Returns inside a `.venv` that has the wanted set and finds the project: prepares it where needed, then starts itself again in it.

    Exits with 7 where there can be none: Python is too old or lacks the venv module, or packages could not be installed, or
    are missing with RINGPAY_VENV=off.
    """
    if sys.version_info < OLDEST:
        _restart_with_newer_python()
    is_ours = os.environ.get("RINGPAY_VENV") != "off"
    is_prepared = not is_ours or _has(wanted)
    if not is_prepared:
        _prepare(wanted)
    if not (is_prepared and (_is_inside() or not is_ours) and _finds_the_project()):
        _restart(VENV_PYTHON if is_ours else Path(sys.executable))
    if not is_ours:
        _check_packages()


def _finds_the_project() -> bool:
    """Whether imports are those of the project's packages: its root is on the path, and not this folder, as Python would have it."""
    return str(ROOT) in sys.path and bool(sys.flags.safe_path)


def _check_packages() -> None:
    """Whoever brings an environment is told what it lacks for running; packages of the tests and the linter are not looked at."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        _fail(
            EXIT_NO_ENVIRONMENT,
            f"RINGPAY_VENV=off, and {sys.executable} lacks {', '.join(missing)}.",
            f"Install what {LOCKS['users'][-1]} names, or leave RINGPAY_VENV unset.",
        )


def _is_there() -> bool:
    """Whether what would be started in `.venv` would be inside it: without its file a Python there is any Python."""
    return os.access(VENV_PYTHON, os.X_OK) and os.access(VENV / "pyvenv.cfg", os.R_OK)


def _is_inside() -> bool:
    return Path(sys.prefix).resolve() == VENV.resolve()


def _has(wanted: str) -> bool:
    """Whether `.venv` holds what the set's lock files name. Inside it, also whether it was made for this very Python."""
    stamp = _stamp()
    if _is_inside() and stamp.get("python") != _version(sys.version_info):
        return False
    return all(stamp.get(lock) == _hash(lock) for lock in LOCKS[wanted]) and _is_there()


def _stamp() -> dict[str, str]:
    """The version of Python and the hash of each lock file that was installed, by its name; nothing where none was to its end."""
    try:
        pairs = [line.partition(" ") for line in STAMP.read_text(encoding="ascii").splitlines()]
        return {name: text for name, _, text in pairs}
    except (OSError, ValueError):
        return {}


def _prepare(wanted: str) -> None:
    try:
        with _alone():
            if _has(wanted):
                return
            started_s = time.monotonic()
            if LOCKS["tests"][-1] in _stamp():
                wanted = "tests"  # never back to the smaller one
            if not _is_usable():
                _create()
            _install(wanted)
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


def _install(wanted: str) -> None:
    hashes = {lock: _hash(lock) for lock in LOCKS[wanted]}
    whole = LOCKS[wanted][-1]
    _say(f"installing the packages of {whole}; the first time takes a minute")
    STAMP.unlink(missing_ok=True)
    PREPARING.touch()
    command = [str(VENV_PYTHON), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    only_errors = ["--quiet", "--quiet"]
    installed = subprocess.run(
        [*command, *only_errors, "--require-hashes", "--requirement", str(ROOT / whole)], check=False, cwd=ROOT
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
    lines = [f"{name} {text}\n" for name, text in {"python": version.strip(), **hashes}.items()]
    unfinished.write_text("".join(lines), encoding="ascii")
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


def _hash(lock: str) -> str:
    try:
        return hashlib.sha256((ROOT / lock).read_bytes()).hexdigest()
    except OSError as error:
        _fail(EXIT_NO_ENVIRONMENT, f"{ROOT / lock} cannot be read: {error.strerror}")


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
