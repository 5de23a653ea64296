"""`pay lock`: holds a lock while a command runs, or until Enter."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from typing import Any

from _output import EXIT_FAILED, EXIT_INTERRUPTED, complain, show

from protocol.client import SyncClient, SyncLock

POLL_SECONDS = 0.1  # between two looks at the lease while the command runs
STOP_SECONDS = 5.0  # for a command that is told to end because the lease was lost; then it is killed


def add_lock(commands: Any, shared: argparse.ArgumentParser) -> None:
    """lock."""
    lock = commands.add_parser(
        "lock", help="hold a lock while a command runs, or until Enter", parents=[shared],
        usage="scripts/pay lock [-h] [OPTIONS] NAME [-- COMMAND...]",
        epilog="The exit code is the command's. "
        "The command finds the fencing token in RINGPAY_LOCK_TOKEN, and is ended if the lease is lost.",
    )  # fmt: skip
    lock.add_argument("name")
    lock.add_argument("--ttl", type=float, default=10.0, help="seconds of the lease; it is renewed meanwhile (10)")
    lock.add_argument("--wait", type=float, help="seconds to wait for the lock; 0: not at all (default: without end)")


def split_program(arguments: list[str]) -> tuple[list[str], list[str]]:
    """The arguments of pay, and the command behind `--` that is to run under a lock."""
    if arguments[:1] != ["lock"] or "--" not in arguments:
        return arguments, []
    end = arguments.index("--")
    return arguments[:end], arguments[end + 1 :]


def hold_lock(client: SyncClient, options: argparse.Namespace) -> int:
    """lock. The exit code. SIGTERM ends it as an interrupt does: the command first, then the lock or the place in its queue."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with client.lock(options.name, ttl=options.ttl, wait=options.wait, must_hold=True) as lock:
        if options.program:
            complain(f"pay: lock {lock.name} is held, token {lock.token}")
            return _run(options.program, lock)
        show([{"lock": lock.name, "token": lock.token}], options.form)
        sys.stdout.flush()
        try:
            sys.stdin.readline()
        except KeyboardInterrupt:
            return EXIT_INTERRUPTED
    return 0


def _run(program: list[str], lock: SyncLock) -> int:
    environment = os.environ | {"RINGPAY_LOCK_NAME": lock.name, "RINGPAY_LOCK_TOKEN": str(lock.token)}
    try:
        running = subprocess.Popen(program, env=environment)
    except OSError as error:
        complain(f"pay: {program[0]}: {error.strerror}")
        return EXIT_FAILED
    while True:
        try:
            return running.wait(POLL_SECONDS)
        except subprocess.TimeoutExpired:
            if not lock.is_held:
                _end(running)
                return EXIT_FAILED
        except KeyboardInterrupt:
            _end(running)  # the terminal has told it too
            return EXIT_INTERRUPTED


def _end(running: subprocess.Popen[bytes]) -> None:
    running.terminate()
    try:
        running.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        running.kill()
        running.wait()
