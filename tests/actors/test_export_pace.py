"""A checkpoint's export holds back the next checkpoint, so it ends: with the peer, without an answer, or for want of pace."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import cast

import pytest

from node.actors.replica_ports import ReplicaPorts
from node.actors.snapshots import PACE_BYTES, PATIENCE_SECONDS, PIECE_BYTES, ExportEnd, export
from node.adapters.memory import Disk, MemoryShard
from node.core.machine import Change
from node.core.raft import Membership, Message, MessageKind, NodeId, SnapshotMeta
from protocol.messages import SnapshotPiece
from tests.actors.clock import Clock

ROWS = 60  # of a megabyte each
MESSAGE = Message(
    MessageKind.snapshot, NodeId(2), NodeId(1), 1, snapshot=SnapshotMeta(9, 1, 0, Membership((NodeId(1),)))
)


async def exported(seconds: Sequence[float | None]) -> tuple[ExportEnd, int]:
    """An export to a peer that takes so long for each piece, the last number again and again; None: no answer."""
    store, clock, pieces = MemoryShard(Disk(), 1), Clock(), 0
    await store.open(["rows"])
    await store.write([Change("rows", key, bytes(PIECE_BYTES)) for key in range(ROWS)])

    async def send_piece(node: NodeId, piece: SnapshotPiece) -> int | None:
        nonlocal pieces
        pieces += 1
        lasted = seconds[min(pieces, len(seconds)) - 1]
        clock.now += lasted or 0.0
        return None if lasted is None else 0

    ports = cast(ReplicaPorts, SimpleNamespace(node=1, clock=clock, send_piece=send_piece))
    return await export(store, 1, MESSAGE, ports), pieces


@pytest.mark.parametrize("seconds", [[0.0], [PATIENCE_SECONDS - 1, 0.0], [0.8 * PIECE_BYTES / PACE_BYTES]])
async def test_a_peer_that_keeps_the_pace_gets_all(seconds: list[float]) -> None:
    """A pause is forgiven, and a slow disk waited for."""
    end, pieces = await exported(seconds)
    assert end.is_complete and pieces == ROWS + 2  # an empty piece before and behind
    assert end.bytes > ROWS * PIECE_BYTES


async def test_a_peer_that_does_not_answer_ends_the_export() -> None:
    """Whoever sends pieces says after its time that nobody has stored one."""
    end, pieces = await exported([0.0, 0.0, None])
    assert not end.is_complete and pieces == 3 and "did not store piece 2" in end.reason


async def test_a_peer_that_takes_too_long_ends_the_export() -> None:
    """Each piece is answered, and the whole would hold back checkpoints for half an hour."""
    end, pieces = await exported([PATIENCE_SECONDS - 1])
    assert not end.is_complete and pieces < 5 and "too slowly" in end.reason
