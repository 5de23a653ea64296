"""What lies on the disks as checkpoints: each is one state of its group, the one that its meta names.

A restart on it must give what the log gives: a machine is loaded from the rows, the entries behind them are applied, and the digest is
compared with the reference's. So a mixture of two checkpoints is found where it lies, whether anybody restarts on it or not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgpack

from node.actors.snapshots import RAFT_TABLE
from node.core.machine import TABLE, Machine
from node.core.raft import Entry, EntryKind, SnapshotMeta
from tests.simulation.cluster import Host


class CheckpointLog:
    """Call `look` for every group now and then; it costs nothing where no checkpoint has been written since."""

    def __init__(self, make_machine: Callable[[int], Machine], expect: Callable[[bool, str], None]) -> None:
        self._make_machine = make_machine
        self._expect = expect
        self._looked: dict[tuple[int, int], bytes] = {}  # (host, group) -> the meta row that was looked at
        self.looked = 0

    def look(self, host: Host, group: int, entries: Sequence[Entry], reference: Machine) -> None:
        """`entries` are all that are known to be committed, from index 1, and what the reference has applied."""
        tables = host.drive.disk.shards.get(group, {})
        row = tables.get(RAFT_TABLE, {}).get(0)
        if row is None:
            return
        name = f"group {group} node {host.number}: its checkpoint"
        meta = SnapshotMeta.unpack(msgpack.unpackb(row))
        self._check_known(name, host, group, meta)
        if self._looked.get((host.number, group)) is row:
            return
        self._looked[host.number, group] = row
        self.looked += 1
        applied = Machine.applied_in(tables[TABLE][0])
        self._expect(applied == meta.index, f"{name} is of {applied} by its rows and of {meta.index} by its meta")
        if applied != meta.index or meta.index > len(entries):
            return
        entry = entries[meta.index - 1]
        self._expect(entry.checksum == meta.checksum, f"{name} at {meta.index} is of another log")
        digest = self._replay(group, tables, entries[meta.index :])
        self._expect(digest == reference.digest(), f"{name} at {meta.index} gives another state than the log")

    def _check_known(self, name: str, host: Host, group: int, meta: SnapshotMeta) -> None:
        """A replica that is writing none knows which checkpoint it has: it would stream it under another's name."""
        replica = host.node.replicas.get(group) if host.node is not None else None
        if replica is not None and not replica._is_checkpointing and replica._installing is None:
            known = replica.incoming.latest
            self._expect(known == meta, f"{name} at {meta.index} is taken for {known and known.index}")

    def _replay(self, group: int, tables: Mapping[str, Mapping[int, bytes]], entries: Sequence[Entry]) -> int:
        machine = self._make_machine(group)
        machine.restore(lambda table: sorted(tables.get(table, {}).items()))
        for entry in entries:
            machine.apply(entry.index, entry.data if entry.kind is EntryKind.normal else b"")
        return machine.digest()
