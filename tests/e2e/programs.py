"""Programs run to their end, as a person runs them: with the Python of the tests, from the project's root."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RUN_SECONDS = 110  # longer than any of them takes; what hangs is told before the test itself is cut off

Outcome = subprocess.CompletedProcess[str]


def run(script: str, *arguments: object, addresses: str = "", token: str = "") -> Outcome:
    """Runs one of the scripts."""
    return run_program(str(ROOT / "scripts" / script), *map(str, arguments), addresses=addresses, token=token)


def run_program(*command: str, addresses: str = "", token: str = "") -> Outcome:
    """Runs any program."""
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "RINGPAY_VENV": "off",
        "RINGPAY_ADDRESSES": addresses,
        "RINGPAY_TOKEN": token,
    }
    return subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=RUN_SECONDS, check=False
    )
