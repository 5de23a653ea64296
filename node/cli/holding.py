"""`pay lock`: holds a lock while a command runs, or until Enter."""

from __future__ import annotations

import argparse
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from node.cli.arguments import NUMBER_MAX, Parser, decimal, fail_usage, is_text
from node.cli.guard import adopt_orphans, end_all
from node.cli.output import EXIT_FAILED, complain, program_name, show
from protocol.client import LockOwner, SyncClient, SyncLock
from protocol.errors import Refused
from protocol.status import LockStatus

OWNERS = "RINGPAY_LOCK_OWNERS"  # of the locks that a command runs under, outermost first: lines of owner, age and name
OWNER = re.compile(r"([0-9a-f]{32}) ([0-9]{1,19}) (.+)")  # such a line
TTL_SECONDS_MAX = 86_400.0  # the nodes say what they take, in full
WAIT_SECONDS_MAX = 31_536_000.0  # a year: as good as without end
POLL_SECONDS = 0.1  # between two looks at the lease while the command runs
GUARD = (sys.executable, "-I", "-S", str(Path(__file__).with_name("guard.py")))


def add_lock(commands: Any, shared: argparse.ArgumentParser) -> None:
    """Declares `pay lock`; `shared` has the options of all commands."""
    lock = commands.add_parser(
        "lock", help="hold a lock while a command runs, or until Enter", parents=[shared],
        usage=f"{sys.argv[0]} lock [-h] [OPTIONS] NAME [-- COMMAND...]",
        epilog="The exit code is the command's. "
        "The command finds the fencing token in RINGPAY_LOCK_TOKEN. It is ended, with all that it has started, if the lease is lost or "
        "pay ends for any reason; only where pay and the process between them are both killed does it go on. Locks that are nested "
        f"(lock a -- {sys.argv[0]} lock b -- ...) have the age of the outermost: what is older takes a lock from what is younger.",
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
    """`pay lock`: holds a lock while a command runs. Returns the exit code; raises RingpayError.

    An interrupt ends first the command, then the lock or the place in its queue.
    """
    outer = options.outer_owners
    try:
        return _hold(client, options, outer)
    except Refused as error:
        if error.status != LockStatus.lock_already_claimed.name or options.name not in outer:
            raise
        expected = f"a lock that this command does not run under already, unlike {options.name}"
        raise Refused(error.status, expected) from error


def read_outer_owners(parser: Parser) -> dict[str, LockOwner]:
    """By the names of the locks that this command runs under, the outermost first."""
    owners: dict[str, LockOwner] = {}
    for line in filter(None, os.environ.get(OWNERS, "").split("\n")):
        found = OWNER.fullmatch(line)
        if found is None or not is_text(line) or int(found[2]) > NUMBER_MAX:
            text = "expected lines of an owner of 32 hexadecimal digits, its age in ns and the name of a lock"
            fail_usage(parser, f"{OWNERS}: {line!r:.60}: {text}, as the outer pay lock sets them; else unset it")
        owners[found[3]] = LockOwner(bytes.fromhex(found[1]), int(found[2]))
    return owners


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
            complain(f"lock {lock.name} is held, token {lock.token}")
            return _run(options.program, lock, outer | {lock.name: owner})
        show([{"lock": lock.name, "token": lock.token}], options.form)
        if sys.stdin is not None:
            sys.stdin.readline()
    return 0


def _run(program: list[str], lock: SyncLock, owners: dict[str, LockOwner]) -> int:
    lines = [f"{owner.id.hex()} {owner.age_ns} {name}" for name, owner in owners.items()]
    held = {"RINGPAY_LOCK_NAME": lock.name, "RINGPAY_LOCK_TOKEN": str(lock.token), OWNERS: "\n".join(lines)}
    adopt_orphans()
    heard, told = os.pipe()
    os.set_blocking(told, False)
    guard = subprocess.Popen([*GUARD, str(heard), program_name(), *program], env=os.environ | held, pass_fds=[heard])
    os.close(heard)
    try:
        return _watch(guard, told, lock)
    finally:
        os.close(told)
        _wait(guard)


def _watch(guard: subprocess.Popen[bytes], told: int, lock: SyncLock) -> int:
    """Tells the guard until when the lease lasts, until the command has ended or the lease is over. The exit code."""
    while (left := lock.seconds_left) > 0:
        try:
            os.write(told, b"%.6f\n" % (time.monotonic() + left))
        except (BlockingIOError, BrokenPipeError):
            pass  # it stands still, or has ended
        try:
            code = guard.wait(POLL_SECONDS)
            return EXIT_FAILED if code < 0 else code
        except subprocess.TimeoutExpired:
            pass
    return EXIT_FAILED


def _wait(guard: subprocess.Popen[bytes]) -> None:
    """It ends the command when nobody speaks to it any more; a second interrupt hurries it. Should it be killed, this is done here."""
    while guard.poll() is None:
        try:
            guard.wait()
        except KeyboardInterrupt:
            guard.send_signal(signal.SIGTERM)
    if guard.returncode < 0:
        end_all(lambda: False)
