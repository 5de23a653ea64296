"""Wrong clocks for the nodes of a local cluster, by libfaketime where that is installed (`apt-get install faketime`).

A node that is started after its clock was set for the first time reads its wall clock's error from a file, again and again; its monotonic
clock stays true, as an operating system keeps it.
"""

from __future__ import annotations

import json
from pathlib import Path

from scripts.local.processes import NodeProcess

LIBRARY = "libfaketimeMT.so.1"  # the one for programs with threads
PLACES = ("/usr/lib", "/usr/local/lib", "/usr/lib64")
MISSING = "libfaketime is not installed (apt-get install faketime)"


def find_library() -> Path | None:
    """Where libfaketime is, None where it is not installed."""
    found = (
        path
        for place in PLACES
        for path in [*Path(place).glob(f"faketime/{LIBRARY}"), *Path(place).glob(f"*/faketime/{LIBRARY}")]
    )
    return next(found, None)


def is_settable(node: NodeProcess) -> bool:
    """Whether the node's clock can be set while it runs: it was started after the first time that it was set."""
    return _clock(node).exists()


def set_ahead(node: NodeProcess, seconds: int) -> None:
    """By how much a node's clock is ahead from now on, or from its next start the first time; behind where it is negative.

    Raises OSError where libfaketime is not installed.
    """
    library, clock = find_library(), _clock(node)
    if library is None:
        raise OSError(f"{clock}: {MISSING}")
    _write(clock, f"{seconds:+d}\n")
    variables = {
        "LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_FORCE_MONOTONIC_FIX": "0",  # which takes waits for the monotonic clock for such of the wall's: threads would crawl
    }  # fmt: skip
    _write(node.variables_file, json.dumps(variables))


def _clock(node: NodeProcess) -> Path:
    """Where it is written how wrong its wall clock is."""
    return node.log.with_suffix(".clock")


def _write(path: Path, text: str) -> None:
    """At once: libfaketime may be reading it."""
    unfinished = path.with_suffix(f"{path.suffix}.new")
    unfinished.write_text(text)
    unfinished.replace(path)
