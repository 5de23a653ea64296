"""What `pay status` and `cluster status` say of a cluster's health, in a sentence and in an exit code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from node.cli.output import EXIT_FAILED
from protocol.placement import COORDINATOR, called

EXIT_IMPAIRED = 4  # everything is served, but a node or a replica is missing


def health(
    shards: int, leaderless: Sequence[int], silent: Sequence[int], recovering: Mapping[int, Sequence[int]]
) -> tuple[int, str]:
    """The exit code and what is wrong, empty for nothing. Groups by number, 0 the coordinator's; `recovering` by node."""
    parts = []
    if led := [group for group in leaderless if group != COORDINATOR]:
        verb = "has" if len(led) == 1 else "have"
        parts.append(f"{len(led)} of {shards} shards {verb} no leader ({called(*led)})")
    if COORDINATOR in leaderless:
        parts.append("payments over several shards have no coordinator")
    if silent:
        verb = "node {} does not answer" if len(silent) == 1 else "nodes {} do not answer"
        parts.append(verb.format(", ".join(map(str, silent))))
    stuck = {node: [group for group in groups if group in leaderless] for node, groups in recovering.items()}
    parts += recoveries(
        {node: [group for group in groups if group not in leaderless] for node, groups in recovering.items()}
    )
    parts += [
        f"node {node} has lost the end of its log, or may have, in {called(*groups)}; it waits for a node that has all of "
        "it: start the others, or put back the newest data folder of one that had, and of no other; a folder in doubt waits for all of "
        "them, and one that is gone for good leaves it waiting where the rest are no majority"
        for node, groups in stuck.items()
        if groups
    ]
    code = EXIT_FAILED if leaderless else EXIT_IMPAIRED if parts else 0
    return code, "; ".join(parts)


def recoveries(recovering: Mapping[int, Sequence[int]]) -> list[str]:
    """A sentence for each node that gets back what its disk has lost."""
    return [
        f"node {node} gets back what it lost, in {called(*groups)}" for node, groups in recovering.items() if groups
    ]
