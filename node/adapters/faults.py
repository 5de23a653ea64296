"""The fault switch of a node under test: cuts it off from peers and slows its disk, when `cluster.toml` allows it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from node.adapters.tcp import TcpTransport
from node.core.raft import StoredGroup
from node.ports import LogStore, LogWrite


class SlowLog:
    """Implements `LogStore`: another one whose writes can be made to last longer."""

    def __init__(self, store: LogStore) -> None:
        self.extra_seconds = 0.0
        self._store = store

    async def open(self) -> dict[int, StoredGroup]:
        """As the other one."""
        return await self._store.open()

    async def write(self, writes: Sequence[LogWrite]) -> None:
        """Returns when all is on disk and the extra time is over."""
        await self._store.write(writes)
        if self.extra_seconds:
            await asyncio.sleep(self.extra_seconds)

    async def close(self) -> None:
        """As the other one."""
        await self._store.close()


class FaultSwitch:
    """Implements `Faults`."""

    def __init__(self, transport: TcpTransport, log: SlowLog) -> None:
        self._transport = transport
        self._log = log

    def cut(self, nodes: Sequence[int]) -> None:
        """Drops every frame to and from these nodes."""
        self._transport.cut(nodes)

    def mute(self, nodes: Sequence[int]) -> None:
        """Drops every frame to these nodes."""
        self._transport.mute(nodes)

    def slow_disk(self, seconds: float) -> None:
        """Every write of the log takes this much longer."""
        self._log.extra_seconds = seconds

    def heal(self) -> None:
        """All is well again."""
        self._transport.heal()
        self._log.extra_seconds = 0.0
