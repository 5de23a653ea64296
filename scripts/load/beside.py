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

from node.cli.output import complain, show

ROOT = Path(__file__).resolve().parents[2]  # of this side
BENCH_FILES = (
    *(f"node/cli/{name}.py" for name in ("__init__", "arguments", "output", "program")),
    "scripts/__init__.py",
    *(f"scripts/load/{name}.py" for name in (
        "__init__", "accounts", "bench", "beside", "clients", "contention", "kills", "locks", "options", "report", "subscriber",
        "workload",
    )),
)  # fmt: skip
START = "import sys; sys.argv[0] = 'scripts/bench'; from node.cli.program import start; start('scripts.load.bench')"
ONE_FOLDER = "from _cluster import ClusterError, LocalCluster, temporary, until\n"  # where older commits have what is in scripts.local
FIGURE = re.compile(r"([^=\n]+) = (\d+(?:\.\d+)?)\b.*")  # a line of the bench's output


class BesideError(Exception):
    """Why there is nothing to compare."""


def run_beside(commit: str, runs: int, arguments: Sequence[str]) -> int:
    """Prints each figure of both sides, medians of several runs, and their ratio. The exit code. Raises BesideError."""
    with tempfile.TemporaryDirectory(prefix="ringpay-beside-") as folder:
        _unpack(commit, Path(folder))
        _put_bench_into(Path(folder))
        sides = {commit: Path(folder), "here": ROOT}
        found: dict[str, list[Mapping[str, float]]] = {name: [] for name in sides}
        for number in range(runs):
            turn = list(sides) if number % 2 == 0 else list(reversed(sides))  # a machine that tires tires both
            for name in turn:
                found[name].append(_measure(name, sides[name], arguments))
                complain(f"run {number + 1} of {runs}, {name}: {_first(found[name][-1])}")
    show(_compared(found[commit], found["here"], commit), "table")
    return 0


def without_beside(arguments: Sequence[str]) -> list[str]:
    """The same command line for one side."""
    kept = list(arguments)
    for name in ("--beside", "--runs"):
        for place in reversed(range(len(kept))):
            if kept[place] == name:
                del kept[place : place + 2]
            elif kept[place].startswith(f"{name}="):
                del kept[place]
    return kept


def _unpack(commit: str, folder: Path) -> None:
    """Not as a worktree: a run that is killed leaves nothing in the repository."""
    archive = folder / "commit.tar"
    git = ["git", "-C", str(ROOT), "archive", "--output", str(archive), "--end-of-options", commit]
    made = subprocess.run(git, check=False, capture_output=True, text=True)
    if made.returncode != 0:
        raise BesideError(f"--beside {commit}: expected a commit of this repository; {made.stderr.strip()}")
    shutil.unpack_archive(archive, folder, filter="data")
    archive.unlink()


def _put_bench_into(root: Path) -> None:
    """Our files, and where the commit is older than the packages in scripts/, a name for its own clusters."""
    for name in BENCH_FILES:
        (root / name).parent.mkdir(exist_ok=True)
        shutil.copy2(ROOT / name, root / name)
    local = root / "scripts" / "local"
    if not local.exists():
        local.mkdir()
        (local / "__init__.py").write_text(ONE_FOLDER)


def _measure(name: str, root: Path, arguments: Sequence[str]) -> dict[str, float]:
    """All figures of one run. With this very Python; the other side must not find our modules."""
    places = [root, root / "scripts"] if (root / "scripts" / "_cluster.py").exists() else [root]
    environment = {**os.environ, "RINGPAY_VENV": "off", "PYTHONPATH": os.pathsep.join(map(str, places))}
    command = [sys.executable, "-P", "-c", START, *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment, cwd=root)
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
