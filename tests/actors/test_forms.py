"""Nodes of two versions in one cluster: neither takes what the other writes."""

from __future__ import annotations

import msgpack
import pytest

from node import config
from node.core.machine import FORM, UnknownForm
from node.notices import StopCause, StoppedByItself
from protocol.status import Status
from tests.actors.quiet import World, play


def reason(world: World) -> BaseException:
    """Why a node has stopped."""
    return world.broken.pop().exceptions[0]  # type: ignore[attr-defined, no-any-return]  # a node's tasks end as a group


def test_a_node_that_writes_another_form_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """It stops, naming both forms; the others, which have a majority, go on."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=1_000)
        other = world.followers(1)[0]
        world.cluster.crash(other)
        monkeypatch.setattr(config, "FORM", FORM + 1)
        world.cluster.start(other)
        await world.until(lambda: not world.cluster.hosts[other].is_up, "the node stops")
        text = str(reason(world))
        assert f"form {FORM + 1} and not {FORM}" in text or f"form {FORM} and not {FORM + 1}" in text, text
        assert (await world.client.transfer("a", "b", 1)).status == Status.created

    play(story)


def test_entries_of_another_form_are_not_acknowledged() -> None:
    """Should they come all the same, whoever gets them stops before anything of them is on its disk."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=1_000)
        leader, followers = world.replica(world.leader(1), 1), world.followers(1)
        before = {number: world.cluster.hosts[number].drive.disk.groups[1].end for number in followers}
        leader.raft.propose([msgpack.packb([FORM + 1, 1, 1, []])])
        leader.handle([])
        await world.until(lambda: not any(world.cluster.hosts[number].is_up for number in followers), "both stop")
        for number in followers:
            error = reason(world)
            assert isinstance(error, UnknownForm) and f"form {FORM + 1}" in str(error)
            (stopped,) = world.told(number, StoppedByItself)
            assert stopped.cause is StopCause.version and stopped.trace is None
            assert world.cluster.hosts[number].drive.disk.groups[1].end == before[number]

    play(story)
