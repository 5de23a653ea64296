"""What nodes say to each other fits their frames, whatever clients make them say."""

from __future__ import annotations

from typing import Any

import pytest

from node.actors import pipeline
from node.actors.peers import FLUSH_BYTES
from node.adapters import tcp
from node.core.raft import Entry, EntryKind, Membership, Message, MessageKind, NodeId, SnapshotMeta
from node.core.raft.log import Log
from protocol import frames
from protocol.errors import ErrorCode, ProtocolError
from protocol.messages import Failure, Raft, encode
from protocol.status import Status
from tests.actors.quiet import World, play

ROWS = 200
MEBIBYTE = 1 << 20


class Sent:
    """A connection that keeps what it is given."""

    def __init__(self) -> None:
        self.frames: list[Any] = []

    def send(self, message: Any, *, at_once: bool = False) -> None:
        self.frames.append(message)


def append(size: int, count: int = 1) -> Message:
    """An append of so many entries of that size."""
    entries = tuple(Entry(1, number + 1, EntryKind.normal, bytes(size), 0) for number in range(count))
    return Message(MessageKind.append, NodeId(2), NodeId(1), 1, entries=entries)


def test_messages_of_the_log_share_frames_that_fit() -> None:
    """In order; a long one goes alone, and short ones together as far as a frame goes."""

    async def story(world: World) -> None:
        link, connection = world.node(1)._links[2], Sent()
        real, link._connection = link._connection, connection  # type: ignore[assignment]  # it only sends
        link._flush()
        connection.frames.clear()
        sizes = [1, 3 * MEBIBYTE, 3 * MEBIBYTE, 10 * MEBIBYTE, 1, 1, 2 * MEBIBYTE, 15 * MEBIBYTE, 5]
        for group, size in enumerate(sizes):
            link.collect(group, append(size))
        link._flush()
        link._connection = real
        assert [group for frame in connection.frames for group, _ in frame.messages] == list(range(len(sizes)))
        for frame in connection.frames:
            assert isinstance(frame, Raft)
            assert len(encode(frame)) < frames.FRAME_BYTES_MAX
            assert len(frame.messages) == 1 or len(encode(frame)) < FLUSH_BYTES
        assert len(connection.frames) == 6

    play(story)


def test_an_append_has_no_more_entries_than_a_list_may() -> None:
    """However short they are, and however many are missing."""
    count = 2 * frames.ARRAY_ITEMS_MAX
    log = Log(SnapshotMeta(0, 0, 0, Membership(voters=(NodeId(1),))), [], 0, 0)
    log.append([Entry(1, number, EntryKind.normal, b"", 0) for number in range(1, count + 1)])
    taken: list[Entry] = []
    first = 1
    while entries := log.slice(first, count, 1 << 40):
        assert len(entries) <= frames.ARRAY_ITEMS_MAX
        taken += entries
        first += len(entries)
    assert [entry.index for entry in taken] == list(range(1, count + 1))


def test_a_command_that_fits_no_entry_is_refused_and_nothing_else() -> None:
    """A definite word at once; what comes behind it is done."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=2 * ROWS)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pipeline, "LONGEST_ENTRY_BYTES", 10 * ROWS)
            with pytest.raises(ProtocolError) as caught:
                await world.client.transfer_many(["a"] * ROWS, ["b"] * ROWS, [1] * ROWS)
            assert (await world.client.transfer("a", "b", 1)).status == Status.created
        assert caught.value.code is ErrorCode.frame_too_large and "at most" in str(caught.value)
        assert (await world.client.account("b")).posted == 2 * ROWS + 1
        assert await world.client.transfer_many(["a"] * ROWS, ["b"] * ROWS, [1] * ROWS) == [Status.created] * ROWS

    play(story)


def test_a_request_that_fits_no_frame_between_nodes_is_refused() -> None:
    """By the node that would have forwarded it; both its connections stand."""

    async def story(world: World) -> None:
        await world.open("a", funds=5)
        connection = await world.dial(world.followers(1)[0])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tcp, "header", lambda body: frames.header(body, 5_000))
            answer = await world.ask(connection, "balances", -1, ["a" * 60] * 100)
        assert isinstance(answer, Failure) and answer.code == "frame_too_large"
        assert (await world.ask(connection, "balances", -1, ["a"])).body[0][2] == 5  # type: ignore[union-attr]  # a reply

    play(story)
