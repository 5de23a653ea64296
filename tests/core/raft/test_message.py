"""The packed form of messages and entries: round trip, and garbage gives ProtocolError only."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import msgpack
import pytest

from node.core.machine import ROUND_BITS
from node.core.raft import Entry, EntryKind, Membership, Message, MessageKind, NodeId, SnapshotMeta
from node.core.raft.types import TERM_MAX
from protocol.errors import ProtocolError

ENTRY = Entry(3, 8, EntryKind.normal, b"\x00\xffbytes", 77)
MESSAGES = [
    Message(MessageKind.append, NodeId(1), NodeId(2), 3, 2, 7, 6, (ENTRY, Entry(3, 9, EntryKind.change, b"", 5))),
    Message(MessageKind.append_reply, NodeId(1), NodeId(2), 3, index=7, reject=True, hint=4, recovering=True),
    Message(MessageKind.vote, NodeId(1), NodeId(2), 3, 2, 7, forced=True),
    Message(MessageKind.heartbeat, NodeId(1), NodeId(2), 3, commit=7, context=2**63 - 1),
    Message(
        MessageKind.snapshot, NodeId(1), NodeId(2), 3,
        snapshot=SnapshotMeta(7, 2, 99, Membership((NodeId(1), NodeId(2)), (NodeId(3),), (), (NodeId(4),), True)),
    ),
]  # fmt: skip
GARBAGE: list[object] = [
    None,
    True,
    -1,
    2**63,
    1.5,
    "x",
    b"x",
    [],
    [1],
    {},
    [None] * 4,
    [[1]],
    [[1, 2, 3, 4, 5]],
    [[-1] * 5],
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.kind.name)
def test_a_message_survives_the_wire(message: Message) -> None:
    """Packed, sent as msgpack, and unpacked it is the same."""
    assert Message.unpack(msgpack.unpackb(msgpack.packb(message.pack()))) == message


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.kind.name)
def test_a_term_that_no_election_can_reach_is_refused(message: Message) -> None:
    """It would be everybody's from then on, and no round could have an id any more."""
    assert Message.unpack(replace(message, term=TERM_MAX).pack()).term == TERM_MAX
    parts: list[Message | Entry | SnapshotMeta] = [
        replace(message, term=TERM_MAX + 1),
        replace(message, log_term=TERM_MAX + 1),
        replace(ENTRY, term=TERM_MAX + 1),
        SnapshotMeta(7, TERM_MAX + 1, 99),
    ]
    for part in parts:
        with pytest.raises(ProtocolError, match="term up to"):
            type(part).unpack(part.pack())
    assert TERM_MAX + 1 << ROUND_BITS == 2**63


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.kind.name)
def test_garbage_is_refused_and_nothing_else_happens(message: Message) -> None:
    """Each field replaced by each kind of garbage, at every depth."""
    random = Random(1)

    def mutate(value: object, depth: int) -> object:
        if isinstance(value, list) and value and depth < 4 and random.random() < 0.9:
            position = random.randrange(len(value))
            return [*value[:position], mutate(value[position], depth + 1), *value[position + 1 :]]
        return random.choice(GARBAGE)

    for _ in range(3_000):
        try:
            unpacked = Message.unpack(mutate(message.pack(), 0))
        except ProtocolError:
            continue
        assert isinstance(unpacked, Message)


def test_entries_with_gaps_are_refused() -> None:
    """The entries of an append follow each other from its index on."""
    packed = Message(MessageKind.append, NodeId(1), NodeId(2), 3, 2, 6, 6, (ENTRY,)).pack()
    with pytest.raises(ProtocolError, match="consecutive"):
        Message.unpack(packed)
