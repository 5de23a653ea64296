"""How a program of the command line begins and ends: its name, interrupts and its exit code."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from node.cli.output import EXIT_OUTPUT_LOST, OutputLost, complain, program_name

EXIT_INTERRUPTED = 130
ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def start(module: str) -> NoReturn:
    """Runs the `main` of a module to its exit code. While it is imported, an interrupt ends it without a traceback."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _end_at_once)
    run(importlib.import_module(module).main)


def run(main: Callable[[], int]) -> NoReturn:
    """Runs a program to its exit code. What ends a program is an interrupt to it, unless that is ignored, as nohup asks."""
    for number in ENDS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
    code = EXIT_INTERRUPTED
    try:
        code = main()
    except* OutputLost as lost:  # perhaps out of a group of tasks
        complain(str(first_error(lost)))
        code = EXIT_OUTPUT_LOST
    except* KeyboardInterrupt:
        complain("interrupted")
    sys.exit(code)


def first_error(error: BaseException) -> BaseException:
    """The first one of a group, however deep it stands; or the error itself."""
    return first_error(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


def _end_at_once(number: int, frame: object) -> NoReturn:
    os.write(2, f"{program_name()}: interrupted\n".encode())
    os._exit(EXIT_INTERRUPTED)
