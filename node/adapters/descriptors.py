"""How many connections a process may hold: what the system's limit of descriptors leaves beside its files."""

from __future__ import annotations

import resource

WANTED = 4_096  # far more than a node uses; systems that start a process with less mostly let it have more
RESERVED = 64  # for what comes and goes: a log file that is made anew, a connection that is refused with a reason


def room(files: int) -> int:
    """Raises the process's limit as far as it may be, and gives how many connections fit beside so many files."""
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if most == resource.RLIM_INFINITY else min(WANTED, most)
    if limit != resource.RLIM_INFINITY and limit < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
        limit = wanted
    return (WANTED if limit == resource.RLIM_INFINITY else limit) - RESERVED - files
