"""Streaming a group's checkpoint to a replica that is too far behind, and taking one in."""

from __future__ import annotations

import asyncio
import itertools
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgpack

from node.actors.replica_ports import ReplicaPorts
from node.core.machine import TABLE, Change, Machine
from node.core.raft import Message, NodeId, SnapshotMeta
from node.notices import (
    SnapshotBegun,
    SnapshotGivenUp,
    SnapshotInstalled,
    SnapshotMixed,
    SnapshotReceived,
    SnapshotSent,
)
from node.ports import ShardStore
from protocol.messages import SnapshotPiece

RAFT_TABLE = "raft"  # one row: the log position that the checkpoint belongs to
SNAPSHOT_BITS = 32  # an attempt's id is its sender's number and so many bits of a count: two senders never share one
PIECE_BYTES = 1 << 20  # large enough to stream at disk speed, small enough not to delay heartbeats behind it
ROW_BYTES_MAX = 1 << 30  # what a SQLite file takes; most rows are shorter than a piece, some grow with the books
PATIENCE_SECONDS = 30.0  # after which a peer must have kept up with the pace on the whole
PACE_BYTES = 256 << 10  # a second: a tenth of a slow disk's; for a slower peer the log here would grow for ever

Row = tuple[str, int, bytes]

_snapshot_ids: Final = itertools.count(1)


class Incoming:
    """The state of an import, and the meta of the latest checkpoint here.

    All pieces of an attempt name the same checkpoint, and its rows must be of that one: the row that says where in the log it
    stands is written last and read last, the machine's own first. A sender whose checkpoint was replaced meanwhile would mix two.
    """

    def __init__(self, store: ShardStore, group: int, ports: ReplicaPorts) -> None:
        self._store = store
        self._group = group
        self._ports = ports
        self._began, self._bytes = 0.0, 0  # of the attempt
        self._mixed = (0, 0)  # sender and index of the last one that was, as people were told
        self._snapshot_id = 0
        self._named = (0, 0, 0)  # the checkpoint that the attempt's pieces name
        self._next = 0
        self._checksum = 0
        self._meta: SnapshotMeta | None = None  # of the rows that have come
        self._applied = 0  # of the machine in them
        self._rows = _unpacker()
        self._complete: tuple[int, int, int] | None = None  # what lies ready
        self._is_installing = False
        self.latest: SnapshotMeta | None = None

    @staticmethod
    def meta_row(meta: SnapshotMeta) -> Change:
        """The checkpoint row that says where in the log the checkpoint stands."""
        return Change(RAFT_TABLE, 0, msgpack.packb(meta.pack()))

    async def load_meta(self) -> SnapshotMeta | None:
        """What `meta_row` stored, or None in a fresh store."""
        rows = await self._store.load(RAFT_TABLE)
        self.latest = _unpack_meta(rows[0][1]) if rows else None
        return self.latest

    async def take(self, piece: SnapshotPiece) -> bool:
        """Stores a piece; false when it does not fit what came before, so that the sender starts again. Raises UnknownForm."""
        if self._is_installing:
            return False
        named = piece.index, piece.term, piece.chain
        if piece.number == 0:
            self._snapshot_id, self._named, self._next, self._checksum = piece.snapshot_id, named, 0, 0
            self._meta, self._applied, self._complete = None, 0, None
            self._rows = _unpacker()
            self._began, self._bytes = self._ports.clock.monotonic(), 0
            await self._store.begin_import()
        if (piece.snapshot_id, piece.number, named) != (self._snapshot_id, self._next, self._named):
            return False
        self._checksum = zlib.crc32(piece.data, self._checksum)
        if self._checksum != piece.checksum:
            return False
        self._next += 1
        self._bytes += len(piece.data)
        self._rows.feed(piece.data)
        rows = [(table, key, value) for table, key, value in self._rows]
        self._note(rows)
        await self._store.add_import(rows)
        if piece.last and piece.snapshot_id == self._snapshot_id:  # else another attempt has begun meanwhile
            return self._finish()
        return True

    def _note(self, rows: list[Row]) -> None:
        for table, key, value in rows:
            if (table, key) == (RAFT_TABLE, 0):
                self._meta = _unpack_meta(value)
            elif (table, key) == (TABLE, 0):
                self._applied = Machine.applied_in(value)

    def _finish(self) -> bool:
        meta, group, sender, named = self._meta, self._group, self._snapshot_id >> SNAPSHOT_BITS, self._named[0]
        if meta is None or _name(meta) != self._named or self._applied != meta.index:
            if self._mixed != (sender, named):
                self._mixed = sender, named
                self._ports.operator.tell(SnapshotMixed(group, sender, named, self._applied))
            return False
        self._complete = self._named
        seconds = self._ports.clock.monotonic() - self._began
        self._ports.operator.tell(SnapshotReceived(group, sender, named, self._bytes, seconds))
        return True

    def holds(self, message: Message) -> bool:
        """Whether the data of this snapshot message lies ready."""
        meta = message.snapshot
        return meta is not None and self._complete == _name(meta)

    def freeze(self) -> None:
        """What lies ready is about to be installed: no piece may begin another import in its place."""
        self._is_installing = True

    async def install(self, meta: SnapshotMeta, machine: Machine) -> Machine:
        """Puts the import in place of the live store and loads the machine from it."""
        began = self._ports.clock.monotonic()
        await self._store.finish_import()
        self._complete = None
        self._is_installing = False
        await restore(machine, self._store)
        self.latest = meta
        assert machine.applied == meta.index, f"snapshot of {meta.index} holds {machine.applied}"
        seconds = self._ports.clock.monotonic() - began
        self._ports.operator.tell(SnapshotInstalled(self._group, meta.index, seconds))
        return machine


def _index(message: Message) -> int:
    assert message.snapshot is not None
    return message.snapshot.index


def _unpacker() -> msgpack.Unpacker:
    return msgpack.Unpacker(max_buffer_size=ROW_BYTES_MAX + 2 * PIECE_BYTES)


def _name(meta: SnapshotMeta) -> tuple[int, int, int]:
    return meta.index, meta.term, meta.checksum


def _unpack_meta(row: bytes) -> SnapshotMeta:
    return SnapshotMeta.unpack(msgpack.unpackb(row))


async def restore(machine: Machine, store: ShardStore) -> None:
    """Loads a machine from its store."""
    loaded = await asyncio.gather(*map(store.load, machine.live_tables))  # in one turn of the store's thread
    machine.restore(dict(zip(machine.live_tables, loaded, strict=True)).pop)


class Outgoing:
    """The exports of a group's checkpoint: one a peer, none past the leadership in which it began, none while another takes its place."""

    def __init__(
        self, group: int, store: ShardStore, ports: ReplicaPorts, ended: Callable[[Message, bool], None]
    ) -> None:
        self._group = group
        self._store = store
        self._ports = ports
        self._ended = ended
        self._streams: dict[NodeId, tuple[Message, asyncio.Task[None]]] = {}
        self._failures: dict[NodeId, int] = {}  # of peers that people were told of and that have not got all since

    def __len__(self) -> int:
        return len(self._streams)

    def __contains__(self, node: object) -> bool:
        return node in self._streams

    def start(self, message: Message) -> None:
        """Streams the checkpoint that the message names; its end is told with whether the peer has all of it."""

        async def stream() -> None:
            exported = await export(self._store, self._group, message, self._ports)
            self._tell_end(message, exported)
            self._ended(message, exported.is_complete)

        if message.to not in self._failures:
            self._failures[message.to] = 0
            self._ports.operator.tell(SnapshotBegun(self._group, int(message.to), _index(message)))
        self._streams[message.to] = message, self._ports.spawn(stream())

    def _tell_end(self, message: Message, exported: ExportEnd) -> None:
        """A peer that does not take it is told once, however often it is tried again."""
        peer, index = int(message.to), _index(message)
        if exported.is_complete:
            failures = self._failures.pop(message.to, 0)
            seconds = exported.seconds
            self._ports.operator.tell(SnapshotSent(self._group, peer, index, exported.bytes, seconds, failures))
            return
        if self._failures.get(message.to, 0) == 0:
            self._ports.operator.tell(SnapshotGivenUp(self._group, peer, index, exported.bytes, exported.reason))
        self._failures[message.to] = self._failures.get(message.to, 0) + 1

    def end(self, message: Message) -> bool:
        """Whether the stream of this message is not given up yet; it has ended."""
        is_known = message.to in self._streams and self._streams[message.to][0] is message
        if is_known:
            del self._streams[message.to]
        return is_known

    def give_up(self, besides_term: int = 0) -> None:
        """No piece more is sent, but of streams that began in the leadership of this term."""
        for node, (message, task) in list(self._streams.items()):
            if message.term != besides_term:
                task.cancel()
                del self._streams[node]
                self._tell_end(message, ExportEnd(False, 0, 0.0, "this node leads the shard no longer"))
        self._failures = {node: count for node, count in self._failures.items() if node in self._streams}


class RowStream:
    """A store's rows as one stream of bytes, cut into pieces whatever the length of a row."""

    def __init__(self, store: ShardStore) -> None:
        self._store = store
        self._after: tuple[str, int] | None = None
        self._packed = bytearray()
        self._is_read = False
        self.archived = 0  # rows of each archive that the receiver has

    @property
    def is_over(self) -> bool:
        """Whether nothing is left."""
        return self._is_read and not self._packed

    async def next(self) -> bytes:
        """The next piece."""
        while len(self._packed) < PIECE_BYTES and not self._is_read:
            rows = await self._store.export(self._after, PIECE_BYTES, self.archived)
            for row in rows:
                self._packed += msgpack.packb(row)
            if rows:
                self._after = rows[-1][0], rows[-1][1]
            else:
                self._is_read = True
        piece = bytes(self._packed[:PIECE_BYTES])
        del self._packed[:PIECE_BYTES]
        return piece


@dataclass(frozen=True, slots=True)
class ExportEnd:
    """How a stream has ended."""

    is_complete: bool
    bytes: int  # that the peer has stored
    seconds: float
    reason: str = ""  # why it was given up


async def export(store: ShardStore, group: int, message: Message, ports: ReplicaPorts) -> ExportEnd:
    """Streams the store piece by piece, each acknowledged before the next; no checkpoint is written meanwhile.

    So it is given up for a peer that does not answer, or answers so slowly that it would never end.
    The first piece is empty: its acknowledgement says how much of the archives the peer has, and only the rest is sent.
    """
    assert message.snapshot is not None
    snapshot_id = ports.node << SNAPSHOT_BITS | next(_snapshot_ids)
    stream, checksum, sent = RowStream(store), 0, 0
    began = ports.clock.monotonic()
    for number in itertools.count():
        data = await stream.next() if number else b""
        is_last = number > 0 and stream.is_over
        checksum = zlib.crc32(data, checksum)
        piece = SnapshotPiece(
            group, snapshot_id, *_name(message.snapshot), number, is_last, data, checksum
        )  # fmt: skip
        had = await ports.send_piece(message.to, piece)
        lasted = ports.clock.monotonic() - began
        if had is None:
            return ExportEnd(False, sent, lasted, f"the peer did not store piece {number}, or was not heard")
        sent += len(data)
        if is_last:
            return ExportEnd(True, sent, lasted)
        if lasted > PATIENCE_SECONDS and sent < lasted * PACE_BYTES:
            return ExportEnd(False, sent, lasted, f"the peer takes it too slowly: {lasted:.0f} s until now")
        if number == 0:
            stream.archived = had
    raise AssertionError("the count never ends")
