"""The sentence and the exit code by which `status` tells what is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from node.cli.health import EXIT_IMPAIRED, health
from node.cli.output import EXIT_FAILED

Case = tuple[Sequence[int], Sequence[int], Mapping[int, Sequence[int]], int, Sequence[str]]

CASES: dict[str, Case] = {
    "all is well": ([], [], {}, 0, []),
    "a node is away": ([], [2], {}, EXIT_IMPAIRED, ["node 2 does not answer"]),
    "a replica gets back what it lost": ([], [], {3: [1]}, EXIT_IMPAIRED, ["node 3 gets back what it lost"]),
    "a folder is in doubt and another node gone": (
        [1], [3], {2: [1]}, EXIT_FAILED, ["node 3 does not answer", "node 2 has lost the end of its log, or may have", "waits for all"],
    ),
    "nobody has what two lost": (
        [1], [], {2: [1], 3: [1, 2]}, EXIT_FAILED,
        ["no leader (shard 1)", "node 2 has lost the end of its log, or may have, in shard 1;", "put back",
         "node 3 gets back what it lost, in shard 2"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_is_wrong_is_told(name: str) -> None:
    """And what heals by itself is told apart from what does not."""
    leaderless, silent, recovering, code, parts = CASES[name]
    found, text = health(2, leaderless, silent, recovering)
    assert found == code and bool(text) == bool(parts)
    assert all(part in text for part in parts), text
