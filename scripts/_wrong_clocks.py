"""Wrong clocks for the nodes of a local cluster, by libfaketime where that is installed (`apt-get install faketime`).

A node that has a clock file beside its log when it is started reads its wall clock's error there, again and again; its monotonic
clock stays true, as an operating system keeps it.
"""

from __future__ import annotations

from pathlib import Path

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


def clock_environment(clock: Path) -> dict[str, str]:
    """What a node that is started with that clock file needs; nothing without the file."""
    if not clock.exists():
        return {}
    library = find_library()
    if library is None:
        raise OSError(f"{clock}: {MISSING}")
    return {
        "LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_FORCE_MONOTONIC_FIX": "0",  # which takes waits for the monotonic clock for such of the wall's: threads would crawl
    }  # fmt: skip


def set_ahead(clock: Path, seconds: int) -> None:
    """By how much a node's clock is ahead from now on, behind where it is negative."""
    unfinished = clock.with_suffix(".clock.new")
    unfinished.write_text(f"{seconds:+d}\n")
    unfinished.replace(clock)
