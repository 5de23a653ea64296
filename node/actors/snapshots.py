"""Streaming a group's checkpoint to a replica that is too far behind, and taking one in."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Coroutine
from typing import Any, Final

import msgpack

from node.core.machine import Change, Machine
from node.core.raft import Message, SnapshotMeta
from node.ports import ShardStore
from protocol.messages import SnapshotPiece

RAFT_TABLE = "raft"  # one row: the log position that the checkpoint belongs to
PIECE_BYTES = 1 << 20  # large enough to stream at disk speed, small enough not to delay heartbeats behind it

_snapshot_ids: Final = itertools.count(1)


class Incoming:
    """The state of an import, and the meta of the latest checkpoint here."""

    def __init__(self, store: ShardStore) -> None:
        self._store = store
        self._snapshot_id = 0
        self._next = 0
        self._checksum = 0
        self._complete: tuple[int, int] | None = None  # index and term of what lies ready
        self._is_installing = False
        self.latest: SnapshotMeta | None = None

    @staticmethod
    def meta_row(meta: SnapshotMeta) -> Change:
        """The checkpoint row that says where in the log the checkpoint stands."""
        return Change(RAFT_TABLE, 0, msgpack.packb(meta.pack()))

    async def load_meta(self) -> SnapshotMeta | None:
        """What `meta_row` stored, or None in a fresh store."""
        rows = await self._store.load(RAFT_TABLE)
        self.latest = SnapshotMeta.unpack(msgpack.unpackb(rows[0][1])) if rows else None
        return self.latest

    async def take(self, piece: SnapshotPiece) -> bool:
        """Stores a piece; false when it does not fit what came before, so that the sender starts again."""
        if self._is_installing:
            return False
        if piece.number == 0:
            self._snapshot_id, self._next, self._checksum, self._complete = piece.snapshot_id, 0, 0, None
            await self._store.begin_import()
        if (piece.snapshot_id, piece.number) != (self._snapshot_id, self._next):
            return False
        self._checksum = zlib.crc32(piece.data, self._checksum)
        if self._checksum != piece.checksum:
            return False
        self._next += 1
        rows = msgpack.unpackb(piece.data, max_bin_len=len(piece.data), max_str_len=1024)
        await self._store.add_import([(table, key, value) for table, key, value in rows])
        if piece.last:
            self._complete = (piece.index, piece.term)
        return True

    def holds(self, message: Message) -> bool:
        """Whether the data of this snapshot message lies ready."""
        meta = message.snapshot
        return meta is not None and self._complete == (meta.index, meta.term)

    def freeze(self) -> None:
        """What lies ready is about to be installed: no piece may begin another import in its place."""
        self._is_installing = True

    async def install(self, meta: SnapshotMeta, machine: Machine) -> Machine:
        """Puts the import in place of the live store and loads the machine from it."""
        await self._store.finish_import()
        self._complete = None
        self._is_installing = False
        await restore(machine, self._store)
        self.latest = meta
        assert machine.applied == meta.index, f"snapshot of {meta.index} holds {machine.applied}"
        return machine


async def restore(machine: Machine, store: ShardStore) -> None:
    """Loads a machine from its store."""
    tables = {table: await store.load(table) for table in machine.live_tables}
    machine.restore(tables.pop)


async def export(
    store: ShardStore, group: int, message: Message, send_piece: Callable[..., Coroutine[Any, Any, int | None]]
) -> bool:
    """Streams the store piece by piece, each acknowledged before the next; no checkpoint is written meanwhile.

    The first piece is empty: its acknowledgement says how much of the archives the peer has, and only the rest is sent.
    """
    assert message.snapshot is not None
    snapshot_id = next(_snapshot_ids)
    after: tuple[str, int] | None = None
    checksum = archived = 0
    for number in itertools.count():
        rows = await store.export(after, PIECE_BYTES, archived) if number else []
        is_last = number > 0 and not rows
        data: bytes = msgpack.packb(rows)
        checksum = zlib.crc32(data, checksum)
        meta = message.snapshot
        piece = SnapshotPiece(
            group, snapshot_id, meta.index, meta.term, number, is_last, data, checksum
        )  # fmt: skip
        had = await send_piece(message.to, piece)
        if had is None or is_last:
            return had is not None
        if number == 0:
            archived = had
        else:
            after = rows[-1][0], rows[-1][1]
    raise AssertionError("the count never ends")
