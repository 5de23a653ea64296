"""Data folders that are older than their node: found out by what peers remember, and never a vote that undoes a payment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest

from node.core.raft import (
    Acknowledged,
    Entry,
    EntryKind,
    HardState,
    LogEnd,
    Membership,
    NodeId,
    Remains,
    Restored,
    SnapshotMeta,
)
from node.notices import FolderInDoubt, FolderSound, NobodyHasWhatWasLost, ReplicaRecovered, ReplicaRecovering
from node.ports import LogWrite
from protocol.errors import RingpayError
from protocol.status import Status
from tests.actors.quiet import World, play
from tests.simulation.disks import Drive, SimLog


class StuckLog(SimLog):
    """From such a write on, nothing gets to the disk, though small files do."""

    def __init__(self, drive: Drive, ends_with: Callable[[LogWrite], object]) -> None:
        super().__init__(drive)
        self._ends_with = ends_with

    async def write(self, writes: Sequence[LogWrite]) -> None:
        if any(map(self._ends_with, writes)):
            await asyncio.sleep(3_600.0)
        await super().write(writes)


def is_recovering(world: World, number: int) -> bool:
    """Whether the shard's replica on a node neither votes nor counts."""
    return world.replica(number, 1).statistics().is_recovering


async def pay(world: World, count: int, **options: float) -> None:
    """So many payments from a to b."""
    for _ in range(count):
        assert (await world.client.transfer("a", "b", 1, **options)).status == Status.created  # type: ignore[arg-type]


def end_of(world: World, number: int) -> int:
    """The last index of the shard's log on a node."""
    return world.replica(number, 1).statistics().last_index


def is_led_by(world: World, number: int) -> bool:
    """Whether the node serves the shard."""
    return 1 in world.node(number).replicas and world.replica(number, 1).is_serving


async def paid_behind_the_copy(world: World) -> tuple[int, int, int]:
    """A copy of one node's folder is made, and a payment that only it and the leader have; leader, that node, the other one."""
    await world.open("a", "b", funds=1_000)
    leader = world.leader(1)
    old, other = world.followers(1)
    await world.until(lambda: world.is_level(1), "all have the same")
    world.cluster.hosts[old].drive.copy()
    world.cluster.crash(other)
    await pay(world, 5)
    for number in (leader, old):
        world.cluster.crash(number)
    return leader, old, other


async def put_back(world: World) -> int:
    """A follower's machine is put back in place to where it was five payments ago; that node, which does not run."""
    await world.open("a", "b", funds=1_000)
    old = world.followers(1)[0]
    drive = world.cluster.hosts[old].drive
    drive.copy()
    await pay(world, 5)
    world.cluster.crash(old)
    drive.put_back(as_files=False)
    return old


@pytest.mark.parametrize("harm", ["copied", "gone"])
def test_an_old_folder_has_no_vote_while_one_who_knows_is_away(harm: str) -> None:
    """With the node that lacks the payment it would be a majority that forgets it."""

    async def story(world: World) -> None:
        leader, old, other = await paid_behind_the_copy(world)
        drive = world.cluster.hosts[old].drive
        if harm == "copied":
            drive.put_back(as_files=True)
        else:
            drive.lose_everything()
        for number in (old, other):
            world.cluster.start(number)
        await world.until(lambda: world.is_serving(old) and world.is_serving(other), "both run")
        with pytest.raises(RingpayError):
            await world.client.transfer("a", "b", 1, timeout=5.0)
        assert is_recovering(world, old) and not world.replica(other, 1).is_serving
        world.cluster.start(leader)
        await world.until(lambda: world.is_home() and not is_recovering(world, old), "all is well again")
        assert (await world.client.account("b")).posted == 1_005
        await world.until(lambda: world.is_level(1) and world.node(old).doubts.is_clear, "it has caught up")
        world.cluster.crash(other)
        await pay(world, 1)  # it counts again

    play(story)


def test_a_doubt_ends_on_disk_behind_what_ended_it() -> None:
    """The log has everything in memory, and the power goes before it is on disk: the folder is as old as it was."""

    async def story(world: World) -> None:
        leader, old, other = await paid_behind_the_copy(world)
        world.cluster.hosts[old].drive.put_back(as_files=True)
        world.cluster.start(old)
        await world.until(lambda: world.is_serving(old), "it runs")
        world.node(old)._writer._store = StuckLog(
            world.cluster.hosts[old].drive, lambda write: write.group == 1 and write.entries
        )
        for number in (leader, other):
            world.cluster.start(number)
        await world.until(lambda: world.is_serving(leader), "the one who knows runs")
        await world.until(
            lambda: is_led_by(world, leader) and end_of(world, old) == end_of(world, leader), "it follows"
        )
        await asyncio.sleep(2.0)  # of virtual time: many ticks
        for number in (leader, old, other):
            world.cluster.crash(number)
        for number in (old, other):
            world.cluster.start(number)
        with pytest.raises(RingpayError):
            await world.client.transfer("a", "b", 1, timeout=5.0)
        world.cluster.start(leader)
        await world.until(lambda: world.is_home() and world.node(old).doubts.is_clear, "all is well again")
        assert (await world.client.account("b")).posted == 1_005

    play(story)


def test_a_doubt_ends_on_disk_behind_the_terms_that_others_have_seen() -> None:
    """No entry is missing, but in one of those terms the folder may have forgotten a vote."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=1_000)
        old = world.followers(1)[0]
        drive = world.cluster.hosts[old].drive
        await world.until(lambda: world.is_level(1), "all have the same")
        for number in world.cluster.hosts:
            world.cluster.crash(number)
        drive.copy()
        drive.put_back(as_files=True)
        world.cluster.start(old)
        await world.until(lambda: world.is_serving(old), "it runs")
        world.node(old)._writer._store = StuckLog(drive, lambda write: write.group == 1)
        for number in world.cluster.hosts:
            world.cluster.start(number)
        await world.until(lambda: world.is_serving(old) and not is_recovering(world, old), "all have spoken")
        await asyncio.sleep(2.0)  # of virtual time: many ticks
        assert drive.disk.reason and not world.node(old).doubts.is_clear

    play(story)


def test_a_machine_that_was_put_back_is_found_out_by_its_starts() -> None:
    """No file differs; but peers remember a start that the folder does not, or payments."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=1_000)
        old, other = world.followers(1)
        drive = world.cluster.hosts[old].drive
        drive.copy()
        await world.restart(old)
        await world.until(lambda: world.node(old).doubts.is_clear, "all know of its start")
        world.cluster.crash(other)
        await pay(world, 5)
        world.cluster.crash(old)
        drive.put_back(as_files=False)
        world.forget()
        world.cluster.start(old)
        await world.until(lambda: world.is_serving(old), "it runs")
        await world.until(lambda: is_recovering(world, old), "it has heard")
        world.cluster.start(other)
        await world.until(lambda: not is_recovering(world, old) and world.node(old).doubts.is_clear, "it has caught up")
        ((node, found),) = world.told_by_all(FolderInDoubt)
        assert node == old and "remembers" in found.reason and found.is_old
        assert "replace" in found.remedy and "block each other" in found.remedy
        assert len(world.told(old, FolderSound)) == 1 and not world.told(old, NobodyHasWhatWasLost)
        for told in (world.told_by_all(ReplicaRecovering), world.told_by_all(ReplicaRecovered)):
            assert [(node, notice.group) for node, notice in told if notice.group == 1] == [(old, 1)]
        assert (await world.client.account("b")).posted == 1_005
        await world.restart(old)
        await world.until(lambda: world.node(old).doubts.is_clear, "nobody doubts it again")
        assert not is_recovering(world, old)

    play(story)


def test_a_folder_that_lacks_acknowledgements_of_the_same_start_is_found_out() -> None:
    """The leader knows what it was told, though no start and no file differs."""

    async def story(world: World) -> None:
        old = await put_back(world)
        world.cluster.start(old)
        await world.until(lambda: world.is_serving(old) and is_recovering(world, old), "it has heard")
        await world.until(lambda: not is_recovering(world, old), "it has caught up")
        assert (await world.client.account("b")).posted == 1_005

    play(story)


def test_what_was_acknowledged_is_known_to_others_than_the_leader() -> None:
    """Leaders tell it, and it is stored: it lasts over the leader's death and the witness's."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=1_000)
        leader, (old, other) = world.leader(1), world.followers(1)
        drive = world.cluster.hosts[old].drive
        drive.copy()
        await pay(world, 5)
        last = world.replica(leader, 1).statistics().last_index
        rows = world.cluster.hosts[other].drive.disk
        await world.until(
            lambda: any((row[1], row[3:4], row[5:6]) == (old, [1], [last]) for row in rows.remembered), "it is stored"
        )
        for number in (leader, old, other):
            world.cluster.crash(number)
        drive.put_back(as_files=False)
        for number in (old, other):
            world.cluster.start(number)
        await world.until(lambda: world.is_serving(old) and is_recovering(world, old), "the witness has spoken")
        with pytest.raises(RingpayError):
            await world.client.transfer("a", "b", 1, timeout=5.0)
        world.cluster.start(leader)
        await world.until(lambda: world.is_home() and not is_recovering(world, old), "all is well again")
        assert (await world.client.account("b")).posted == 1_005

    play(story)


def test_a_sound_node_votes_at_once_though_another_is_dead() -> None:
    """Nobody has to be asked by a node whose folder is its own."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=1_000)
        leader, (sound, other) = world.leader(1), world.followers(1)
        await pay(world, 5)
        for number in (leader, sound, other):
            world.cluster.crash(number)
        for number in (sound, other):
            world.cluster.start(number)
        await pay(world, 1, timeout=20.0)
        assert not is_recovering(world, sound)

    play(story)


def test_a_cluster_that_moved_as_a_whole_serves_again() -> None:
    """All folders were copied, nobody remembers more than they hold: once all have spoken, all are sound."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=1_000)
        await pay(world, 5)
        for host in world.cluster.hosts.values():
            world.cluster.crash(host.number)
            host.drive.copy()
            host.drive.put_back(as_files=True)
        numbers = list(world.cluster.hosts)
        for number in numbers[:-1]:
            world.cluster.start(number)
        await world.until(lambda: all(map(world.is_serving, numbers[:-1])), "two run")
        await asyncio.sleep(3.0)  # of virtual time: long enough for an election, if there could be one
        assert world.cluster.leader_of(1) is None
        world.cluster.start(numbers[-1])
        await pay(world, 1, timeout=20.0)
        await world.until(lambda: all(world.node(number).doubts.is_clear for number in numbers), "no doubt is left")
        assert (await world.client.account("b")).posted == 1_006

    play(story)


# -- the comparison -----------------------------------------------------------------------------------------------

ENTRIES = tuple(Entry(term, index, EntryKind.normal, b"", 0) for index, term in ((4, 1), (5, 1), (6, 3), (7, 3)))
REMAINS = Remains(Restored(HardState(4), ENTRIES, SnapshotMeta(3, 1, 0, Membership((NodeId(1),))), 3))
COVERED = [(3, 99, 3), (4, 3, 0), (4, 2, 1), (4, 5, 1), (4, 7, 3), (4, 7, 0)]
NOT_COVERED = [(5, 1, 1), (4, 8, 3), (4, 6, 2), (4, 5, 3), (4, 8, 0)]


@pytest.mark.parametrize(
    ("told", "is_covered"), [*((told, True) for told in COVERED), *((told, False) for told in NOT_COVERED)]
)
def test_a_disk_covers_what_it_knows_of(told: tuple[int, int, int], is_covered: bool) -> None:
    """Nothing is owed after a later term; in its own term, all that was acknowledged; and of a later term it knows nothing."""
    assert REMAINS.cover(Acknowledged(*told)) == is_covered


def test_a_loss_that_is_known_already_covers_what_was_lost() -> None:
    """The replica recovers up to there anyway."""
    remains = Remains(Restored(HardState(4), (), SnapshotMeta(), 0, LogEnd(4, 9)))
    assert remains.cover(Acknowledged(4, 9, 4)) and not remains.cover(Acknowledged(4, 10, 4))
    assert remains.cover(Acknowledged(4, 9, 0)) and not remains.cover(Acknowledged(4, 10, 0))  # of no known term
