"""The published quorum files, exactly: what is committed and who has won, in single and joint majorities."""

from __future__ import annotations

import re

import pytest

from node.core.raft import NodeId
from node.core.raft.quorum import joint_index, joint_vote, majority_index
from node.core.raft.types import INTEGER_MAX
from tests.core.raft.datadriven import Case, cases, data_folder


def describe(members: tuple[NodeId, ...], indexes: dict[NodeId, int]) -> str:
    """A bar for each voter: how many others it is ahead of."""
    if not members:
        return "<empty majority quorum>"
    width = len(members)
    ranked = sorted(members, key=lambda node: (indexes.get(node, -1), node))
    bars: dict[NodeId, int] = {}
    for position, node in enumerate(ranked):
        is_higher = position > 0 and indexes.get(ranked[position - 1], -1) < indexes.get(node, -1)
        bars[node] = position if is_higher else (bars[ranked[position - 1]] if position else 0)
    lines = [" " * width + "    idx"]
    for node in sorted(members):
        if node in indexes:
            bar = "x" * bars[node] + ">" + " " * (width - bars[node])
        else:
            bar = "?" + " " * width
        lines.append(f"{bar} {indexes.get(node, 0):5d}    (id={node})")
    return "\n".join(lines) + "\n"


def read(case: Case, option: str) -> tuple[str, ...]:
    return tuple(re.findall(r"[^\s,()]+", case.options.get(option, "")))


def run(case: Case) -> str:
    voters = tuple(sorted({NodeId(number) for number in case.numbers("cfg")}))
    is_joint = "cfgj" in case.options
    outgoing = tuple(sorted({NodeId(number) for number in case.numbers("cfgj")}))
    given = [NodeId(number) for number in (*case.numbers("cfg"), *case.numbers("cfgj"))]
    order = list(dict.fromkeys(given))
    if case.name == "vote":
        values = read(case, "votes")
        votes = {node: value == "y" for node, value in zip(order, values, strict=True) if value != "_"}
        result = joint_vote(voters, outgoing, votes)
        assert joint_vote(outgoing, voters, votes) is result
        return result.value
    values = read(case, "idx")
    indexes = {node: int(value) for node, value in zip(order, values, strict=True) if value != "_"}
    index = joint_index(voters, outgoing, lambda node: indexes.get(node, 0))
    assert joint_index(outgoing, voters, lambda node: indexes.get(node, 0)) == index
    if not is_joint:
        assert majority_index(voters, lambda node: indexes.get(node, 0)) == index
    shown = "∞" if index == INTEGER_MAX else str(index)
    everyone = tuple(sorted({*voters, *outgoing}))
    return describe(everyone, indexes) + shown


@pytest.mark.parametrize("name", ["joint_commit", "joint_vote", "majority_commit", "majority_vote"])
def test_published_quorum_file(name: str) -> None:
    """Every case of the file gives exactly the published output."""
    for case in cases(data_folder() / "quorum" / "testdata" / f"{name}.txt"):
        assert run(case).rstrip() == case.expected.rstrip(), f"{name} line {case.line}"
