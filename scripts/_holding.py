"""`pay lock`: holds a lock while a command runs, or until Enter."""

from __future__ import annotations

import argparse
import os
import secrets
import subprocess
import sys
import time
from typing import Any

from _arguments import decimal
from _output import EXIT_FAILED, complain, show

from protocol.client import LockOwner, SyncClient, SyncLock
from protocol.errors import Refused
from protocol.status import LockStatus

OWNERS = "RINGPAY_LOCK_OWNERS"  # of the locks that a command runs under, outermost first: lines of owner, age and name
TTL_SECONDS_MAX = 86_400.0  # the nodes say what they take, in full
WAIT_SECONDS_MAX = 31_536_000.0  # a year: as good as without end
POLL_SECONDS = 0.1  # between two looks at the lease while the command runs
STOP_SECONDS = 5.0  # for a command that is told to end because the lease was lost; then it is killed


def add_lock(commands: Any, shared: argparse.ArgumentParser) -> None:
    """lock."""
    lock = commands.add_parser(
        "lock", help="hold a lock while a command runs, or until Enter", parents=[shared],
        usage="scripts/pay lock [-h] [OPTIONS] NAME [-- COMMAND...]",
        epilog="The exit code is the command's. "
        "The command finds the fencing token in RINGPAY_LOCK_TOKEN, and is ended if the lease is lost. Locks that are nested "
        "(lock a -- scripts/pay lock b -- ...) have the age of the outermost: what is older takes a lock from what is younger.",
    )  # fmt: skip
    lock.add_argument("name")
    lock.add_argument(
        "--ttl",
        type=decimal(0, TTL_SECONDS_MAX),
        default=10.0,
        help="seconds of the lease; it is renewed meanwhile (10)",
    )
    lock.add_argument(
        "--wait",
        type=decimal(0, WAIT_SECONDS_MAX),
        help="seconds to wait for the lock; 0: not at all (default: without end)",
    )


def split_program(arguments: list[str]) -> tuple[list[str], list[str]]:
    """The arguments of pay, and the command behind `--` that is to run under a lock."""
    if arguments[:1] != ["lock"] or "--" not in arguments:
        return arguments, []
    end = arguments.index("--")
    return arguments[:end], arguments[end + 1 :]


def hold_lock(client: SyncClient, options: argparse.Namespace) -> int:
    """lock. The exit code. An interrupt ends first the command, then the lock or the place in its queue."""
    outer = _outer_owners()
    try:
        return _hold(client, options, outer)
    except Refused as error:
        if error.status != LockStatus.lock_already_claimed.name or options.name not in outer:
            raise
        expected = f"a lock that this command does not run under already, unlike {options.name}"
        raise Refused(error.status, expected) from error


def _outer_owners() -> dict[str, LockOwner]:
    """By the names of the locks that this command runs under, the outermost first."""
    rows = [line.split(" ", 2) for line in os.environ.get(OWNERS, "").splitlines()]
    return {name: LockOwner(bytes.fromhex(id), int(age_ns)) for id, age_ns, name in rows}


def _choose_owner(name: str, outer: dict[str, LockOwner]) -> LockOwner:
    """One of the outermost's age, so that nests cannot deadlock; the nodes refuse the owner of a lock that is held already."""
    if name in outer or not outer:
        return outer.get(name, LockOwner())
    age_ns = next(iter(outer.values())).age_ns
    id = time.time_ns().to_bytes(8, "big") + secrets.token_bytes(8)  # at one age the lower id is first
    return LockOwner(id, age_ns)


def _hold(client: SyncClient, options: argparse.Namespace, outer: dict[str, LockOwner]) -> int:
    owner = _choose_owner(options.name, outer)
    with client.lock(options.name, ttl=options.ttl, wait=options.wait, owner=owner, must_hold=True) as lock:
        if options.program:
            complain(f"pay: lock {lock.name} is held, token {lock.token}")
            return _run(options.program, lock, outer | {lock.name: owner})
        show([{"lock": lock.name, "token": lock.token}], options.form)
        sys.stdout.flush()
        sys.stdin.readline()
    return 0


def _run(program: list[str], lock: SyncLock, owners: dict[str, LockOwner]) -> int:
    lines = [f"{owner.id.hex()} {owner.age_ns} {name}" for name, owner in owners.items()]
    held = {"RINGPAY_LOCK_NAME": lock.name, "RINGPAY_LOCK_TOKEN": str(lock.token), OWNERS: "\n".join(lines)}
    try:
        running = subprocess.Popen(program, env=os.environ | held)
    except OSError as error:
        complain(f"pay: {program[0]}: {error.strerror}")
        return EXIT_FAILED
    try:
        return _watch(running, lock)
    finally:
        _end(running)


def _watch(running: subprocess.Popen[bytes], lock: SyncLock) -> int:
    while True:
        try:
            return running.wait(POLL_SECONDS)
        except subprocess.TimeoutExpired:
            if not lock.is_held:
                return EXIT_FAILED


def _end(running: subprocess.Popen[bytes]) -> None:
    """Nothing for a command that has ended. A terminal has told it of an interrupt too."""
    running.terminate()
    try:
        running.wait(STOP_SECONDS)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        running.kill()
        running.wait()
