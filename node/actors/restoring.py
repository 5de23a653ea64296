"""A node's replicas as its disk has kept them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from node.actors.replica import Replica
from node.actors.snapshots import RAFT_TABLE, restore
from node.core.machine import UnknownForm, check_form
from node.core.raft import (
    EntryKind,
    LogCut,
    Promise,
    Raft,
    RaftConfig,
    Restored,
    StoredGroup,
    promise_kept,
    restore_log,
)
from node.ports import Damaged, LogStore, LogWrite, StorageFailed
from protocol.placement import called

RESTORES_AT_ONCE = 4  # of replicas at the start; each holds the rows of its checkpoint in memory meanwhile


async def side_by_side(groups: Sequence[int], make: Callable[[int], Awaitable[Replica]]) -> dict[int, Replica]:
    """All of a node's replicas: on a busy machine most of a start is waiting for the files' threads to have their turn.

    Raises what the first one raised.
    """
    turns = asyncio.Semaphore(RESTORES_AT_ONCE)

    async def in_turn(group: int) -> Replica:
        async with turns:
            return await make(group)

    try:
        async with asyncio.TaskGroup() as tasks:
            making = {group: tasks.create_task(in_turn(group)) for group in groups}
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return {group: task.result() for group, task in making.items()}


async def restore_replica(replica: Replica, stored: StoredGroup, config: RaftConfig, log: LogStore) -> Restored:
    """Opens its store, and sets its machine and its log to what was stored. Raises StorageFailed, Damaged where nothing tells its vote."""
    if stored.is_mute:
        raise Damaged(
            f"log.db and log.promises: what this node has voted in {called(replica.group)} is damaged or lost in both"
        )
    machine, store = replica.machine, replica.store
    await store.open([*machine.tables, RAFT_TABLE], machine.sequence_tables)
    meta = await replica.incoming.load_meta()
    try:
        await restore(machine, store)
        restored = restore_log(stored, meta, config.membership, config.id)
        for entry in restored.entries:
            if entry.kind is EntryKind.normal:
                check_form(entry.data)
    except UnknownForm as error:
        raise StorageFailed(f"{called(replica.group)}: {error}") from error
    for write in corrections(replica.group, stored, restored):
        await log.write([write])
    replica.raft = Raft(config, restored)
    if meta is not None:
        replica.raft.offer_snapshot(meta)
    return restored


def corrections(group: int, stored: StoredGroup, restored: Restored) -> list[LogWrite]:
    """What is written before a replica starts, one after the other, where its disk has to be told what `restore_log` has found.

    So a second start, at any moment, finds what this one has found: a loss is promised before the log forgets what shows it.
    """
    base = restored.snapshot
    hard_state = restored.hard_state if restored.hard_state != stored.hard_state else None
    found = stored.promise or Promise()
    kept = promise_kept(stored, restored)
    is_behind = base.index > 0 and not restored.entries and stored.end != restored.end
    writes: list[LogWrite] = []
    if kept != found or restored.lost != found.lost:
        writes.append(LogWrite(group, lost=restored.lost, promise=kept))
    if hard_state is not None or is_behind:
        cut = LogCut(base.index, base.term, base.checksum) if is_behind else None
        writes.append(LogWrite(group, hard_state, cut=cut, restart=is_behind, lost=restored.lost))
    return writes
