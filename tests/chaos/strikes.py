"""The faults of `chaos`, a row each: how one falls on nodes, and how it is mended.

A fault is a context: it falls on the way in, and is mended on the way out.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from node.notices import FolderSound, event_of
from scripts.local import ClusterError, LocalCluster, until
from scripts.local.faults import cut_link, heal, partition, slow_disk
from scripts.local.replace import replace
from tests.chaos.greedy import greedy_client
from tests.chaos.wrong_clocks import find_library, is_settable, set_ahead

LASTING_SECONDS = 0.3, 4.0  # less and more than an election takes
LINK_SECONDS = 2.0, 8.0  # longer than any call waits, and than a client tries one node
SLOW_DISK_MS = (20, 100, 400)
AHEAD_SECONDS = (-3_600, 3_600, 20)  # of a wrong clock
OLD_AND_SOUND = f'"{event_of(FolderSound)}"'  # what a node says that was sent what it had forgotten
SOUND_SECONDS = 60.0  # until it says so, on a busy machine
GONE_SECONDS = 5.0  # for a process that was killed
STANDSTILL_MS = 10_000  # without an acknowledgement, with a majority up: four elections, on a busy machine
LINK_STANDSTILL_MS = 3_000  # the promise is 2 s on a machine that is not busy with all nodes and clients at once


@dataclass(frozen=True, slots=True)
class Stage:
    """Where faults fall."""

    cluster: LocalCluster
    random: random.Random
    accounts: Sequence[str]  # that there are


Strike = Callable[[Stage, Sequence[int]], AbstractAsyncContextManager[str]]
"""Strikes these nodes; gives on whom it has fallen, in words. Raises ClusterError."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind."""

    name: str
    weight: int  # how often it falls, against the others
    strike: Strike
    is_alone: bool = False  # falls by itself, on one node; the others fall on several, together with each other
    lasting_seconds: tuple[float, float] = LASTING_SECONDS
    standstill_ms: int | None = STANDSTILL_MS  # the longest gap that is forgiven; None where no majority is up


@asynccontextmanager
async def _kill(stage: Stage, nodes: Sequence[int]) -> AsyncIterator[str]:
    await asyncio.gather(*(asyncio.to_thread(stage.cluster.kill, node) for node in nodes))
    yield _listed(nodes)
    stage.cluster.start(*nodes)


@asynccontextmanager
async def _stop(stage: Stage, nodes: Sequence[int]) -> AsyncIterator[str]:
    await asyncio.gather(*(asyncio.to_thread(stage.cluster.stop, node) for node in nodes))
    yield _listed(nodes)
    stage.cluster.start(*nodes)


@asynccontextmanager
async def _pause(stage: Stage, nodes: Sequence[int]) -> AsyncIterator[str]:
    _send(stage, nodes, signal.SIGSTOP)
    yield _listed(nodes)
    _send(stage, nodes, signal.SIGCONT)


def _listed(nodes: Sequence[int]) -> str:
    return ", ".join(map(str, nodes))


def _send(stage: Stage, nodes: Sequence[int], number: signal.Signals) -> None:
    for node in nodes:
        stage.cluster.node(node).send(number)


@asynccontextmanager
async def _part(stage: Stage, nodes: Sequence[int]) -> AsyncIterator[str]:
    """All of them together, or each for itself."""
    is_together = stage.random.random() < 0.5
    await partition(stage.cluster, [nodes] if is_together else [[node] for node in nodes])
    yield _listed(nodes) + " together" * (is_together and len(nodes) > 1)
    await heal(stage.cluster)


@asynccontextmanager
async def _slow_disk(stage: Stage, nodes: Sequence[int]) -> AsyncIterator[str]:
    ms = stage.random.choice(SLOW_DISK_MS)
    for node in nodes:
        await slow_disk(stage.cluster, node, ms)
    yield f"{_listed(nodes)} by {ms} ms"
    await heal(stage.cluster)


@asynccontextmanager
async def _cut_link(stage: Stage, nodes: Sequence[int], *, one_way: bool = False) -> AsyncIterator[str]:
    """Between two nodes, often two that lead. Connections stay open, and every node is reached by some other."""
    node, view = nodes[0], await stage.cluster.view()
    leaders = [number for number in view.leaders if number not in (0, node)] or list(stage.cluster.numbers)
    pair = [node, stage.random.choice([number for number in leaders if number != node])]
    if stage.random.random() < 0.5:
        pair.reverse()
    await cut_link(stage.cluster, *pair, one_way=one_way)
    yield f"{pair[0]} to {pair[1]}"
    await heal(stage.cluster)


@asynccontextmanager
async def _wrong_clock(stage: Stage, nodes: Sequence[int]) -> AsyncIterator[str]:
    """Set while the node runs; one whose clock was never wrong before comes back with a wrong one."""
    seconds = stage.random.choice(AHEAD_SECONDS)
    for node in nodes:
        process = stage.cluster.node(node)
        was_settable = is_settable(process)
        set_ahead(process, seconds)
        if not was_settable:
            await asyncio.to_thread(stage.cluster.kill, node)
            stage.cluster.start(node)
    yield f"{_listed(nodes)} by {seconds} s"
    for node in nodes:
        set_ahead(stage.cluster.node(node), 0)


@asynccontextmanager
async def _be_greedy(stage: Stage, nodes: Sequence[int]) -> AsyncIterator[str]:
    async with AsyncExitStack() as stack:
        for node in nodes:
            await stack.enter_async_context(greedy_client(stage.cluster, node, stage.accounts))
        yield f"of {_listed(nodes)}"


@asynccontextmanager
async def _restart(stage: Stage, nodes: Sequence[int]) -> AsyncIterator[str]:
    """They lose their power at once, and come back at once."""
    _send(stage, nodes, signal.SIGKILL)
    for node in nodes:
        await asyncio.to_thread(stage.cluster.node(node).wait_until_gone, GONE_SECONDS)
        stage.cluster.start(node)
    yield _listed(nodes)


@asynccontextmanager
async def _restart_all(stage: Stage, _: Sequence[int]) -> AsyncIterator[str]:
    async with _restart(stage, stage.cluster.numbers):
        yield ""


@asynccontextmanager
async def _cut_one_way(stage: Stage, nodes: Sequence[int]) -> AsyncIterator[str]:
    async with _cut_link(stage, nodes, one_way=True) as text:
        yield text


@asynccontextmanager
async def _lose_folder(stage: Stage, nodes: Sequence[int]) -> AsyncIterator[str]:
    """Its disk is gone: it comes back as a new member of its groups."""
    await asyncio.to_thread(stage.cluster.kill, nodes[0])
    await asyncio.to_thread(shutil.rmtree, stage.cluster.node(nodes[0]).data)
    yield _listed(nodes)
    await replace(stage.cluster, nodes[0], lambda _: None)


@asynccontextmanager
async def _roll_back_folder(stage: Stage, nodes: Sequence[int]) -> AsyncIterator[str]:
    """An older copy of its folder is put back, from before acknowledgements that are forgotten then. It must find that out."""
    cluster, node = stage.cluster, stage.cluster.node(nodes[0])
    older = node.data.with_name(f"{node.data.name}.older")
    await asyncio.to_thread(cluster.kill, node.number)
    await asyncio.to_thread(shutil.copytree, node.data, older)
    cluster.start(node.number)
    await cluster.wait_until_caught_up()
    await asyncio.sleep(stage.random.uniform(*LASTING_SECONDS))
    await asyncio.to_thread(cluster.kill, node.number)
    await asyncio.to_thread(shutil.rmtree, node.data)
    older.rename(node.data)
    yield _listed(nodes)
    said = len(node.log.read_text())
    cluster.start(node.number)
    try:
        await until(lambda: OLD_AND_SOUND in node.log.read_text()[said:], SOUND_SECONDS)
    except TimeoutError as error:
        raise ClusterError(
            f"node {node.number} has an older folder and does not get over it; see {node.log}"
        ) from error


AT_ONCE = 0.0, 0.0
FAULTS = (
    Fault("kill", 4, _kill),
    Fault("pause", 4, _pause),
    Fault("partition", 4, _part),
    Fault("stop", 2, _stop),
    Fault("slow disk", 2, _slow_disk),
    *([Fault("wrong clock", 2, _wrong_clock)] if find_library() else []),
    Fault("greedy client", 2, _be_greedy),
    Fault("cut link", 3, _cut_link, True, LINK_SECONDS, LINK_STANDSTILL_MS),
    Fault("one-way link", 3, _cut_one_way, True, LINK_SECONDS, LINK_STANDSTILL_MS),
    Fault("lost folder", 2, _lose_folder, True),
    Fault("old folder", 2, _roll_back_folder, True),
    Fault("restart one", 2, _restart, True, AT_ONCE),
    Fault("restart all", 1, _restart_all, True, AT_ONCE, None),
)
OPTIONS = {fault.name.replace(" ", "-"): fault for fault in FAULTS}  # as a command line names them


def faults(text: str) -> list[Fault]:
    """The kinds of a list of names with commas, as a command line reads it."""
    unknown = [name for name in text.split(",") if name not in OPTIONS]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r:.60}: expected kinds of {', '.join(OPTIONS)}")
    return [fault for name, fault in OPTIONS.items() if name in text.split(",")]
