"""Programs run to their end, as a person runs them: with the Python of the tests, from the project's root."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RUN_SECONDS = 110  # longer than any of them takes; what hangs is told before the test itself is cut off

Outcome = subprocess.CompletedProcess[str]


def script(name: str) -> str:
    """The path of one of the scripts."""
    return str(ROOT / "scripts" / name)


def environment(**variables: str) -> dict[str, str]:
    """This process's, with these variables; scripts use the Python of the tests, as it is."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": path, "RINGPAY_VENV": "off"} | variables


def run(name: str, *arguments: object, addresses: str = "", token: str = "", stdin: str | None = None) -> Outcome:
    """Runs one of the scripts."""
    return run_program(script(name), *map(str, arguments), addresses=addresses, token=token, stdin=stdin)


def run_program(*command: str, addresses: str = "", token: str = "", stdin: str | None = None) -> Outcome:
    """Runs any program."""
    variables = environment(RINGPAY_ADDRESSES=addresses, RINGPAY_TOKEN=token)
    return subprocess.run(
        command,
        env=variables,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
        input=stdin,
    )
