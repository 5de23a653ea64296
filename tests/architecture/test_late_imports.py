"""A node that has run out of descriptors serves on: nothing is imported behind its start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import sys
import node.start
import tests.simulation.simulation as simulation
before = set(sys.modules)
for seed, workload in enumerate(("bank", "split", "lock")):
    simulation.simulate(seed, simulation.Plan(1.0, workload))
print(*sorted(name for name in set(sys.modules) - before if not name.startswith("tests")))
"""


def test_nothing_is_imported_late() -> None:
    """In the simulator's workloads; SQLite and TCP are not in them, nor what the simulator itself imports."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.split()) == (0, []), done.stderr
