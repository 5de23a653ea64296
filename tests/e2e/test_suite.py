"""The suite itself, where it is not a person who runs it."""

from __future__ import annotations

import signal
import subprocess
import sys

from tests.e2e.programs import ROOT, RUN_SECONDS

INTERRUPTED = "tests/e2e/test_pay_outcomes.py::test_an_interrupt_before_anything_is_sent"


def test_interrupts_are_tested_in_the_background_too() -> None:
    """A shell's background jobs ignore SIGINT and SIGQUIT, which programs inherit: no test waits for one in vain."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        f"--timeout={RUN_SECONDS - 10}",
        INTERRUPTED,
    ]
    ignored = f"trap '' {signal.SIGINT.value} {signal.SIGQUIT.value} {signal.SIGHUP.value}; exec \"$@\""
    done = subprocess.run(
        ["sh", "-c", ignored, "sh", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout
