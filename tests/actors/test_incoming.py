"""Taking a snapshot in, piece by piece."""

from __future__ import annotations

import asyncio
import zlib

import msgpack

from node.actors.snapshots import RAFT_TABLE, Incoming
from node.adapters.memory import Disk, MemoryShard
from protocol.messages import SnapshotPiece


def piece(snapshot_id: int, number: int, data: bytes, before: bytes = b"", *, last: bool = False) -> SnapshotPiece:
    """A piece behind the bytes `before`."""
    return SnapshotPiece(1, snapshot_id, 5, 1, number, last, data, zlib.crc32(before + data))


def test_what_lies_ready_is_not_replaced_before_it_is_installed() -> None:
    """The log has accepted the snapshot: a rival's first piece must wait, or an empty store would be installed."""

    async def story() -> None:
        store = MemoryShard(Disk(), 1)
        await store.open([RAFT_TABLE])
        incoming = Incoming(store)
        empty, rows = msgpack.packb([]), msgpack.packb([[RAFT_TABLE, 7, b"kept"]])
        assert await incoming.take(piece(1, 0, empty))
        assert await incoming.take(piece(1, 1, rows, empty, last=True))
        incoming.freeze()
        assert not await incoming.take(piece(2, 0, empty))
        await store.finish_import()
        assert await store.load(RAFT_TABLE) == [(7, b"kept")]

    asyncio.run(story())
