"""What the tests of whole programs share: signals as a terminal's programs get them."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest

RESTORED: dict[signal.Signals, Any] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGQUIT: signal.SIG_DFL,
    signal.SIGHUP: signal.SIG_DFL,
}


@pytest.fixture(scope="session", autouse=True)
def signals() -> Iterator[None]:
    """A shell's background jobs and nohup ignore some, which every program that they start inherits: not here."""
    ignored = [number for number in RESTORED if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, RESTORED[number])
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)
