"""The published files on changes of membership, exactly, and the encoding of a change."""

from __future__ import annotations

import pytest

from node.core.raft import Membership, MembershipChange, NodeId, Step, Transition
from node.core.raft.membership import InvalidChange, enter_joint, leave_joint, simple
from node.core.raft.progress import Progress, reconcile
from protocol.errors import ProtocolError
from tests.core.raft.datadriven import Case, cases, data_folder

NAMES = [
    "joint_autoleave", "joint_idempotency", "joint_learners_next", "joint_safety", "simple_idempotency",
    "simple_promote_demote", "simple_safety", "update", "zero",
]  # fmt: skip
STEPS = {"v": Step.add_voter, "l": Step.add_learner, "r": Step.remove, "u": Step.update}


def parse_steps(text: str) -> tuple[tuple[Step, NodeId], ...]:
    """Steps in the published notation, such as `v1 l2 r3`."""
    return tuple((STEPS[word[0]], NodeId(int(word[1:]))) for word in text.split())


def show(membership: Membership) -> str:
    """A membership in the published notation."""

    def half(nodes: tuple[NodeId, ...]) -> str:
        return f"({' '.join(map(str, nodes))})"

    text = f"voters={half(membership.voters)}"
    if membership.outgoing:
        text += f"&&{half(membership.outgoing)}"
    if membership.learners:
        text += f" learners={half(membership.learners)}"
    if membership.learners_next:
        text += f" learners_next={half(membership.learners_next)}"
    return text + (" autoleave" if membership.auto_leave else "")


def change(membership: Membership, case: Case) -> Membership:
    steps = parse_steps(case.input)
    if case.name == "simple":
        return simple(membership, steps)
    if case.name == "enter-joint":
        return enter_joint(membership, steps, case.options.get("autoleave") == "true")
    assert case.name == "leave-joint"
    return leave_joint(membership)


@pytest.mark.parametrize("name", NAMES)
def test_published_membership_file(name: str) -> None:
    """Every case of the file gives exactly the published membership and progress, or the published refusal."""
    membership = Membership()
    progress: dict[NodeId, Progress] = {}
    for number, case in enumerate(cases(data_folder() / "confchange" / "testdata" / f"{name}.txt")):
        try:
            membership = change(membership, case)
        except InvalidChange as error:
            output = str(error)
        else:
            progress = reconcile(progress, membership, number, 1, 1)
            lines = [show(membership)]
            for node, peer in progress.items():
                learner = " learner" if node in membership.learners else ""
                lines.append(f"{node}: StateProbe match={peer.match} next={peer.next}{learner}")
            output = "\n".join(lines)
        assert output == case.expected.rstrip(), f"{name} line {case.line}"


def test_a_change_survives_its_encoding_and_garbage_is_refused() -> None:
    """Round trip; nothing but ProtocolError for anything else."""
    for transition in Transition:
        original = MembershipChange(parse_steps("v1 l2 r3 u4"), transition)
        assert MembershipChange.decode(original.encode()) == original
    assert MembershipChange().encode() == b""
    assert MembershipChange.decode(b"") == MembershipChange()
    packed = MembershipChange(parse_steps("v1")).encode()
    for garbage in (packed[:-1], b"\x09" + packed[1:], packed[:1] + b"\x09" + packed[2:], b"\x00" + b"x" * 9_000):
        with pytest.raises(ProtocolError):
            MembershipChange.decode(garbage)
