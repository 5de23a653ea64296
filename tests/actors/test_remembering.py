"""Which of a peer's processes lives, what each is told, and a disk that refuses what is only advice."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

from node.actors.remembering import REMEMBER_SECONDS, STARTS_MAX, Remembering
from node.adapters.memory import Disk, MemoryPeers
from node.adapters.operator_log import MemoryOperatorLog
from node.adapters.starts import PeerFile
from node.core.raft import Acknowledged
from node.notices import MemorySaved, MemoryUnsaved
from node.ports import PeerMemory
from protocol.errors import ProtocolError
from protocol.messages import PROTOCOL_VERSION, Acknowledgements, Hello, Recollection
from tests.actors.desk_world import Time

HELLO = Hello(PROTOCOL_VERSION, "", "peer", 2, "", 77)


class World:
    """Node 1, which leads nothing, and its peer 2."""

    def __init__(self, memory: PeerMemory) -> None:
        self.time = Time()
        self._tasks: list[asyncio.Task[None]] = []
        self.operator = MemoryOperatorLog(self.time.monotonic)
        self.remembering = Remembering(memory, self.time, {}, {}, self._spawn, self.operator)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work))

    async def saved(self) -> None:
        """All that is under way has ended."""
        while self._tasks:
            await self._tasks.pop()

    async def greet(self, start: int) -> Recollection:
        """The peer's process says hello; what it is told. Raises ProtocolError where it is refused."""
        hello = replace(HELLO, start=start)
        if (error := self.remembering.check_hello(hello)) is not None:
            raise error
        told: list[Recollection] = []
        self.remembering.greet(hello, told.append)
        await self.saved()
        return told[0]

    async def connect(self, start: int) -> Recollection:
        """It lives, and says more."""
        told = await self.greet(start)
        self.remembering.answered(replace(HELLO, start=start))
        return told

    def is_refused(self, start: int) -> bool:
        """Whether the process is known to have ended."""
        error = self.remembering.check_hello(replace(HELLO, start=start))
        return isinstance(error, ProtocolError)

    def hear(self, start: int, index: int) -> None:
        """A leader says what the process has acknowledged of group 1."""
        self.remembering.hear(Acknowledgements([[2, start, 1, 5, index, 5]]))

    def acknowledged_before(self, start: int) -> Acknowledged | None:
        """What the process would be told of group 1."""
        return self.remembering._known[2].acknowledged_before(start, 1)


async def test_a_late_hello_of_a_dead_process_locks_nobody_out() -> None:
    """Known here or not: who lives comes again, is let in, and is told nothing of its own as if another had said it."""
    world = World(MemoryPeers(Disk()))
    await world.connect(10)
    await world.connect(12)
    world.hear(12, 40)
    await world.greet(11)
    for _ in range(2):
        assert sorted((await world.connect(12)).starts) == [10, 11]
        assert world.is_refused(10) and world.is_refused(11)
        assert world.acknowledged_before(12) is None
    assert (await world.connect(13)).starts == [10, 11, 12]
    assert world.acknowledged_before(13) == Acknowledged(5, 40, 5)


async def test_the_hello_of_a_dead_process_that_was_read_first() -> None:
    """Until somebody has answered, nobody is known to have ended."""
    world = World(MemoryPeers(Disk()))
    for start in (12, 11, 12, 11):
        await world.greet(start)
    assert not world.is_refused(11) and not world.is_refused(12)
    await world.connect(12)
    assert world.is_refused(11) and not world.is_refused(12)


async def test_an_answer_counts_for_the_connection_that_was_opened_last() -> None:
    """What a process said before another one came says nothing of that one."""
    world = World(MemoryPeers(Disk()))
    await world.greet(10)
    await world.greet(11)
    world.remembering.answered(replace(HELLO, start=10))
    assert not world.is_refused(11)


async def test_starts_are_stored_before_their_process_is_told_anything() -> None:
    """And what they have acknowledged; a few of them, whatever the older ones have."""
    disk = Disk()
    world = World(MemoryPeers(disk))
    for start in range(1, 2 * STARTS_MAX):
        await world.connect(start)
        world.hear(start, 100 - start)
    await world.connect(99)
    again = World(MemoryPeers(disk))
    assert (await again.greet(100)).starts == [*range(STARTS_MAX + 2, 2 * STARTS_MAX), 99]
    assert again.acknowledged_before(100) == Acknowledged(5, 99, 5)


async def test_another_data_folder_begins_anew() -> None:
    """What was acknowledged by the one that is gone is not asked of it."""
    world = World(MemoryPeers(Disk()))
    await world.connect(10)
    world.hear(10, 40)
    told: list[Recollection] = []
    world.remembering.greet(replace(HELLO, start=11, data_id=78), told.append)
    await world.saved()
    assert told[0].starts == [] and world.acknowledged_before(11) is None


async def test_a_disk_that_refuses_makes_a_poorer_witness(tmp_path: Path) -> None:
    """The node goes on, says so once, and stores it when it can, which it says too."""
    (tmp_path / "remembered.new").mkdir()
    world = World(PeerFile(tmp_path))
    for start in (10, 11, 12):
        assert len((await world.connect(start)).starts) == start - 10
        world.time.now_ns += int(REMEMBER_SECONDS * 1e9)
        world.remembering.tick()
        await world.saved()
    assert [type(one.notice) for one in world.operator.told] == [MemoryUnsaved]
    (tmp_path / "remembered.new").rmdir()
    world.time.now_ns += int(REMEMBER_SECONDS * 1e9)
    world.remembering.tick()
    await world.saved()
    assert [type(one.notice) for one in world.operator.told] == [MemoryUnsaved, MemorySaved]
    assert (await World(PeerFile(tmp_path)).greet(13)).starts == [10, 11, 12]
