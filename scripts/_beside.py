"""`bench` here and beside an older commit, alternating, with the same load: what counts is the ratio within one run.

The commit's tree is unpacked into a temporary folder. Each side runs nodes and client of its own, so that the wire may
differ; but the bench's own files, which know nothing but `protocol.client` and one another, are ours on both sides.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from _output import complain, show
from _venv import ROOT

BENCH_FILES = (
    "bench", "_arguments.py", "_beside.py", "_contention.py", "_kills.py", "_load.py", "_locks.py", "_output.py", "_report.py",
    "_workload.py",
)  # fmt: skip
FIGURE = re.compile(r"([^=\n]+) = (\d+(?:\.\d+)?)\b.*")  # a line of the bench's output


class BesideError(Exception):
    """Why there is nothing to compare."""


def run_beside(commit: str, runs: int, arguments: Sequence[str]) -> int:
    """Prints each figure of both sides, medians of several runs, and their ratio. The exit code. Raises BesideError."""
    with tempfile.TemporaryDirectory(prefix="ringpay-beside-") as folder:
        other = Path(folder) / "scripts"
        _unpack(commit, Path(folder))
        for name in BENCH_FILES:
            shutil.copy2(ROOT / "scripts" / name, other / name)
        sides = {commit: other, "here": ROOT / "scripts"}
        found: dict[str, list[Mapping[str, float]]] = {name: [] for name in sides}
        for number in range(runs):
            turn = list(sides) if number % 2 == 0 else list(reversed(sides))  # a machine that tires tires both
            for name in turn:
                found[name].append(_measure(name, sides[name], arguments))
                complain(f"bench: run {number + 1} of {runs}, {name}: {_first(found[name][-1])}")
    show(_compared(found[commit], found["here"], commit), "table")
    return 0


def _unpack(commit: str, folder: Path) -> None:
    """Not as a worktree: a run that is killed leaves nothing in the repository."""
    archive = folder / "commit.tar"
    git = ["git", "-C", str(ROOT), "archive", "--output", str(archive), "--end-of-options", commit]
    made = subprocess.run(git, check=False, capture_output=True, text=True)
    if made.returncode != 0:
        raise BesideError(f"--beside {commit}: expected a commit of this repository; {made.stderr.strip()}")
    shutil.unpack_archive(archive, folder, filter="data")
    archive.unlink()


def _measure(name: str, scripts: Path, arguments: Sequence[str]) -> dict[str, float]:
    """All figures of one run. With this very Python; the other side must not find our modules."""
    environment = {**os.environ, "RINGPAY_VENV": "off", "PYTHONPATH": str(scripts.parent)}
    command = [sys.executable, str(scripts / "bench"), *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment, cwd=scripts.parent)
    if done.returncode != 0:
        raise BesideError(f"{name}: exit code {done.returncode}\n{done.stdout}{done.stderr}".rstrip())
    return {match[1]: float(match[2]) for line in done.stdout.splitlines() if (match := FIGURE.fullmatch(line))}


def _first(figures: Mapping[str, float]) -> str:
    main = "load accepted" if "load accepted" in figures else next(iter(figures), "nothing")
    return f"{main} = {figures.get(main, 0):g}"


def _compared(
    theirs: Sequence[Mapping[str, float]], ours: Sequence[Mapping[str, float]], commit: str
) -> list[dict[str, str]]:
    rows = []
    for name in ours[0]:
        sides = [[figures[name] for figures in side if name in figures] for side in (theirs, ours)]
        if all(sides) and sides[0] != sides[1]:  # settings are the same on both sides
            old, new = map(median, sides)
            ratio = f"{new / old:.3f}" if old else ""
            rows.append({"median of runs": name, commit: f"{old:g}", "here": f"{new:g}", "ratio": ratio})
    return rows
