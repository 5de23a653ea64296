"""Ports for clusters of tests that run side by side: each test process has a block of its own, as far as they go."""

from __future__ import annotations

import os

from scripts.local.processes import free_base_port

FIRST, BLOCK, BLOCKS = (
    22_500,
    60,
    125,
)  # above where scripts' own clusters begin to look, below the ports of outgoing connections
STEP = 10  # more than a cluster's nodes


def free_ports(nodes: int = 3) -> int:
    """The first of so many free ports in a row. Raises OSError where there are none."""
    mine = FIRST + os.getpid() % BLOCKS * BLOCK
    blocks = [*range(mine, FIRST + BLOCKS * BLOCK, STEP), *range(FIRST, mine, STEP)]
    return free_base_port("127.0.0.1", nodes, blocks)
