"""Taking a snapshot in, piece by piece."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import msgpack
import pytest

from node.actors.replica_ports import ReplicaPorts
from node.actors.snapshots import PIECE_BYTES, RAFT_TABLE, Incoming, RowStream
from node.adapters.memory import Disk, MemoryShard
from node.adapters.operator_log import MemoryOperatorLog
from node.core.machine import FORM, TABLE, Change, Machine, UnknownForm
from node.core.raft import Membership, Message, MessageKind, NodeId, SnapshotMeta
from node.notices import SnapshotMixed
from protocol.frames import FRAME_BYTES_MAX
from protocol.messages import SnapshotPiece
from tests.actors.clock import Clock

META = SnapshotMeta(5, 1, 99, Membership((NodeId(1), NodeId(2))))
NAMING = Message(MessageKind.snapshot, NodeId(2), NodeId(1), 3, snapshot=META)
MACHINE = [
    value
    for table, key, value in ((c.table, c.key, c.value) for c in Machine([]).changes())
    if (table, key) == (TABLE, 0)
]


operator = MemoryOperatorLog(lambda: 0.0)
PORTS = cast(ReplicaPorts, SimpleNamespace(node=2, clock=Clock(), operator=operator))


def machine_row(applied: int) -> list[Any]:
    """The row of a machine that has applied so much."""
    (fresh,) = MACHINE
    assert fresh is not None
    form, _, *rest = msgpack.unpackb(fresh)
    return [TABLE, 0, msgpack.packb([form, applied, *rest])]


def raft_row(meta: SnapshotMeta) -> list[Any]:
    """The row that says where in the log the checkpoint stands."""
    return [RAFT_TABLE, 0, Incoming.meta_row(meta).value]


def attempt(snapshot_id: int, *pieces: list[list[Any]], meta: SnapshotMeta = META) -> list[SnapshotPiece]:
    """An empty piece, these, and an empty last one; their data is one stream of rows."""
    checksum, made = 0, []
    for number, rows in enumerate([[], *pieces, []]):
        data = b"".join(map(msgpack.packb, rows))
        checksum = zlib.crc32(data, checksum)
        is_last = number == len(pieces) + 1
        made.append(
            SnapshotPiece(1, snapshot_id, meta.index, meta.term, meta.checksum, number, is_last, data, checksum)
        )
    return made


def play(story: Callable[[Incoming, MemoryShard], Awaitable[None]], store: MemoryShard | None = None) -> None:
    """A story with an empty store."""

    async def whole() -> None:
        shard = store or MemoryShard(Disk(), 1)
        await shard.open([*Machine([]).tables, RAFT_TABLE])
        operator.told.clear()
        await story(Incoming(shard, 1, PORTS), shard)

    asyncio.run(whole())


@pytest.mark.parametrize("form", [FORM - 1, FORM + 1])
def test_a_snapshot_of_another_form_never_lies_ready(form: int) -> None:
    """Nothing of it comes in place of what is there: the node stops at the row that says so."""

    async def story(incoming: Incoming, store: MemoryShard) -> None:
        row = machine_row(META.index)
        row[2] = msgpack.packb([form, *msgpack.unpackb(row[2])[1:]])
        first, second, _ = attempt(7, [raft_row(META), row])
        assert await incoming.take(first)
        with pytest.raises(UnknownForm, match=f"form {form} of entries, this one knows {FORM}"):
            await incoming.take(second)
        assert not incoming.holds(NAMING)

    play(story)


def test_a_whole_snapshot_lies_ready_under_its_name() -> None:
    """It is that of the message of the log, and of no other."""

    async def story(incoming: Incoming, store: MemoryShard) -> None:
        for piece in attempt(1, [machine_row(5)], [raft_row(META)]):
            assert not incoming.holds(NAMING)
            assert await incoming.take(piece)
        assert incoming.holds(NAMING)
        for other in (replace(META, index=6), replace(META, term=2), replace(META, checksum=98)):
            assert not incoming.holds(replace(NAMING, snapshot=other))

    play(story)


@pytest.mark.parametrize(
    "rows",
    [
        [machine_row(5), raft_row(replace(META, index=6))], [machine_row(5), raft_row(replace(META, term=2))],
        [machine_row(5), raft_row(replace(META, checksum=98))], [machine_row(6), raft_row(META)],
        [machine_row(4), raft_row(META)], [raft_row(META)], [machine_row(5)], [],
    ],
)  # fmt: skip
def test_rows_of_another_checkpoint_than_the_pieces_name(rows: list[list[Any]]) -> None:
    """A sender whose checkpoint was replaced while it sent: neither the machine's rows nor the log's may be another's."""

    async def story(incoming: Incoming, store: MemoryShard) -> None:
        *first, last = attempt(1, rows)
        for piece in first:
            assert await incoming.take(piece)
        assert not await incoming.take(last)
        assert not incoming.holds(NAMING)
        for piece in attempt(1, rows):
            await incoming.take(piece)
        (told,) = [one.notice for one in operator.told]
        assert isinstance(told, SnapshotMixed) and told.index == META.index

    play(story)


@pytest.mark.parametrize(
    "change", [{"index": 6}, {"term": 2}, {"chain": 98}, {"number": 2}, {"checksum": 1}, {"snapshot_id": 2}]
)
def test_a_piece_that_does_not_fit_those_before(change: dict[str, int]) -> None:
    """The sender begins again."""

    async def story(incoming: Incoming, store: MemoryShard) -> None:
        first, second, *_ = attempt(1, [machine_row(5)], [raft_row(META)])
        assert await incoming.take(first)
        assert not await incoming.take(replace(second, **change))  # type: ignore[arg-type]  # numbers all

    play(story)


def test_what_lies_ready_is_not_replaced_before_it_is_installed() -> None:
    """The log has accepted the snapshot: a rival's first piece must wait, or an empty store would be installed."""

    async def story(incoming: Incoming, store: MemoryShard) -> None:
        for piece in attempt(1, [machine_row(5), raft_row(META)]):
            assert await incoming.take(piece)
        incoming.freeze()
        assert not await incoming.take(attempt(2)[0])
        machine = await incoming.install(META, Machine([]))
        assert machine.applied == 5 and incoming.latest == META

    play(story)


class SlowShard(MemoryShard):
    """A store whose additions take until they are told to end."""

    def __init__(self) -> None:
        super().__init__(Disk(), 1)
        self.is_free = asyncio.Event()

    async def add_import(self, rows: Any) -> None:
        """Adds at once and tells late, as a file with a thread of its own does."""
        await super().add_import(rows)
        await self.is_free.wait()


def test_the_end_of_an_attempt_that_another_one_has_replaced() -> None:
    """The last piece is still on its way to the disk when a rival's first one empties the store: nothing lies ready."""

    async def story(incoming: Incoming, store: MemoryShard) -> None:
        assert isinstance(store, SlowShard)
        store.is_free.set()
        *first, last = attempt(1, [machine_row(5), raft_row(META)])
        for piece in first:
            assert await incoming.take(piece)
        store.is_free.clear()
        ending = asyncio.ensure_future(incoming.take(last))
        await asyncio.sleep(0)
        rival = asyncio.ensure_future(incoming.take(attempt(2)[0]))
        await asyncio.sleep(0)
        store.is_free.set()
        await ending
        assert await rival
        assert not incoming.holds(NAMING)

    play(story, SlowShard())


def test_rows_of_any_length_travel_in_pieces_that_fit_a_frame() -> None:
    """Longer than a frame, than a piece, or short: they come whole and in order, and no piece is longer than it should be."""

    async def story() -> None:
        sender = MemoryShard(Disk(), 1)
        rows = [
            (0, bytes(FRAME_BYTES_MAX + 1)),
            (1, b""),
            (2, b"x" * PIECE_BYTES),
            (3, b"short"),
            (9, bytes(3 * PIECE_BYTES)),
        ]
        await sender.open([RAFT_TABLE])
        await sender.write([Change(RAFT_TABLE, key, value) for key, value in rows])
        stream, pieces = RowStream(sender), []
        while not stream.is_over:
            pieces.append(await stream.next())
        assert len(pieces) > 20 and max(map(len, pieces)) <= PIECE_BYTES
        received = msgpack.Unpacker(max_buffer_size=2 * FRAME_BYTES_MAX)
        received.feed(b"".join(pieces))
        assert [(key, value) for _, key, value in received] == rows

    asyncio.run(story())


@pytest.mark.parametrize("size", [1, 7, 40])
def test_rows_that_are_cut_anywhere(size: int) -> None:
    """Pieces of a few bytes make the same snapshot; one that ends within a row makes none."""

    async def story(incoming: Incoming, store: MemoryShard) -> None:
        data = b"".join(map(msgpack.packb, [machine_row(5), raft_row(META)]))
        made = cut_up(data[:-1], size)
        assert [await incoming.take(piece) for piece in made] == [True] * (len(made) - 1) + [False]
        assert not incoming.holds(NAMING)
        for piece in cut_up(data, size):
            assert await incoming.take(piece)
        assert incoming.holds(NAMING)

    play(story)


def cut_up(data: bytes, size: int) -> list[SnapshotPiece]:
    """An empty piece, then so many bytes each."""
    parts = [b"", *(data[start : start + size] for start in range(0, len(data), size))]
    checksum, made = 0, []
    for number, part in enumerate(parts):
        checksum = zlib.crc32(part, checksum)
        is_last = number == len(parts) - 1
        made.append(SnapshotPiece(1, 1, META.index, META.term, META.checksum, number, is_last, part, checksum))
    return made
