"""Runs a command for `pay lock`, and lets nothing of it outlive the lease.

A process of its own between pay and the command, so that it is there whatever ends pay, SIGKILL and SIGSTOP too. On the pipe that its
first argument names, pay tells it again and again until when the lease lasts, by the machine's monotonic clock. When that time is
over or pay is gone, all that the command has started is ended, daemons too: told to stop, and killed a while later. Signals that
end others only hurry that. What a command that ends by itself leaves behind is not touched.

Run alone: `python -I -S guard.py PIPE NAME COMMAND...`, the name being what pay is called. It needs Linux: /proc, and orphans that
come back to it.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

STOP_SECONDS = 5.0  # for what is told to stop; then it is killed
POLL_SECONDS = 0.05
EXIT_FAILED = 1
EXIT_SIGNALLED = 128  # and the signal's number, as shells say it
PR_SET_CHILD_SUBREAPER = 36
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def adopt_orphans() -> None:
    """What this process's descendants leave behind becomes its own child."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def descendants() -> list[int]:
    """All living processes below this one."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue  # it has ended meanwhile
        if state != "Z":
            children.setdefault(int(parent), []).append(int(folder.name))
    found = list(children.get(os.getpid(), ()))
    for pid in found:
        found += children.get(pid, ())
    return found


def end_all(is_hurried: Callable[[], bool]) -> None:
    """Ends all descendants: those that do not stop are killed, at once if it is hurried."""
    kill_at = time.monotonic() + STOP_SECONDS
    told: list[int] = []
    while left := descendants():
        is_late = is_hurried() or time.monotonic() > kill_at
        for pid in left if is_late else [pid for pid in left if pid not in told]:
            try:
                os.kill(pid, signal.SIGKILL if is_late else signal.SIGTERM)
                os.kill(pid, signal.SIGCONT)  # one that stands still would not hear of it
            except (ProcessLookupError, PermissionError):
                pass
        told = left
        time.sleep(POLL_SECONDS)
        reap()


def reap() -> dict[int, int]:
    """The exit codes of children that have ended."""
    ended = {}
    try:
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            code = os.waitstatus_to_exitcode(found[1])
            ended[found[0]] = code if code >= 0 else EXIT_SIGNALLED - code
    except ChildProcessError:
        pass
    return ended


def guard(pipe: int, name: str, command: list[str]) -> int:
    """The command's exit code."""
    signals: list[int] = []
    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:  # which the command inherits, unlike a handler
            signal.signal(number, lambda number, _: signals.append(number))
    adopt_orphans()
    until = _hear(pipe, None, POLL_SECONDS)
    if until is None or until < time.monotonic():
        return EXIT_FAILED  # pay was gone before anything began
    try:
        running = subprocess.Popen(command)
    except OSError as error:
        print(f"{name}: {command[0]}: {error.strerror}", file=sys.stderr, flush=True)
        return EXIT_FAILED
    while until is not None and until >= time.monotonic():
        if (code := reap().get(running.pid)) is not None:
            return code
        until = _hear(pipe, until, POLL_SECONDS)
    heard = len(signals)
    end_all(lambda: len(signals) > heard)
    return EXIT_FAILED


def _hear(pipe: int, until: float | None, seconds: float) -> float | None:
    """Until when the lease lasts: waits for the first word of it, and else a moment for the next. None: pay is gone."""
    if until is not None and not select.select([pipe], [], [], seconds)[0]:
        return until
    heard = os.read(pipe, 1 << 16)
    return float(heard.split()[-1]) if heard else None


if __name__ == "__main__":
    sys.exit(guard(int(sys.argv[1]), sys.argv[2], sys.argv[3:]))
