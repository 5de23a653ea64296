"""A lost data folder: the node comes back with an empty one, under load, and nothing is lost."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from node.actors.actor import Failed, Outcome
from node.actors.events import ChangeMembership
from node.actors.replacing import NO_LEADER, _next_step
from node.actors.replica import Replica
from node.actors.router import Call
from node.core.members import Member, MemberState
from node.core.raft import Membership, MembershipChange, NodeId, Step
from protocol.client.connection import Connection
from protocol.errors import RingpayError
from protocol.messages import Failure
from protocol.operations import Operation, PeerOperation
from protocol.status import Status
from tests.actors.quiet import World, play
from tests.simulation.invariants import Invariants

PAUSE_SECONDS = 0.1  # of virtual time, between two looks


async def ask(world: World, node: int, data_id: int) -> list[Any] | Failure:
    """What the cluster says to `replace`: data id, state, standings."""
    up = next(number for number in world.cluster.nodes() if number != node)
    connection: Connection = await world.dial(up)
    try:
        answer = await world.ask(connection, Operation.replace_node, -1, [node, data_id])
    finally:
        connection.close()
    return answer if isinstance(answer, Failure) else answer.body


async def until_state(world: World, node: int, wanted: MemberState) -> list[Any]:
    """Waits until the node's row is there."""
    answer: list[Any] | Failure = []
    for _ in range(600):
        answer = await ask(world, node, 0)
        if not isinstance(answer, Failure) and answer[1] == wanted:
            return answer
        await asyncio.sleep(PAUSE_SECONDS)
    raise AssertionError(f"node {node}: not {wanted.name} in time, {answer}")


async def replace(world: World, lost: int) -> None:
    """All of it, once the node's process is dead."""
    world.cluster.lose_data(lost)
    answer = await ask(world, lost, 0)
    assert not isinstance(answer, Failure)
    await ask(world, lost, answer[0])
    await until_state(world, lost, MemberState.vacant)
    world.cluster.start(lost)
    await until_state(world, lost, MemberState.member)


def watched(world: World) -> Invariants:
    """What the simulator holds a run against, from here on."""
    invariants = Invariants(world.cluster, lambda text: world.broken.append(AssertionError(text)))
    world.loop.after_step = invariants.step
    return invariants


class Customers:
    """Payments all the while, across shards; every one must be answered."""

    def __init__(self, world: World, names: list[str]) -> None:
        self._world = world
        self._names = names
        self._is_over = False
        self.paid = 0
        self._tasks = [asyncio.ensure_future(self._pay(place)) for place in range(len(names))]

    async def _pay(self, place: int) -> None:
        debit, credit = self._names[place], self._names[(place + 1) % len(self._names)]
        while not self._is_over:
            assert (await self._world.client.transfer(debit, credit, 1)).status in (Status.created, Status.exists)
            self.paid += 1

    async def end(self) -> int:
        """How many payments were acknowledged."""
        self._is_over = True
        await asyncio.gather(*self._tasks)
        return self.paid


@pytest.mark.parametrize("checkpoint_bytes", [1 << 20, 20_000])
@pytest.mark.parametrize("leads", [True, False])
def test_a_lost_folder_is_replaced_under_load(leads: bool, checkpoint_bytes: int) -> None:
    """By log or by snapshot; afterwards the node votes like any other: a second one may die, and nothing is missing."""

    async def story(world: World) -> None:
        invariants = watched(world)
        names = [world.name_in(group, "n") for group in (1, 2, 3)]
        await world.open(*names, funds=1_000_000)
        customers = Customers(world, names)
        lost = world.leader(0) if leads else next(n for n in world.followers(0) if n != world.leader(1))
        world.cluster.crash(lost)
        await replace(world, lost)
        paid = await customers.end()
        assert paid > 50
        await world.until(lambda: all(world.is_level(group) for group in range(4)), "all have applied the same")
        for group in range(4):
            assert {int(node) for node in world.replica(lost, group).membership.voters} == set(world.cluster.hosts)
        other = next(number for number in world.cluster.hosts if number != lost)
        world.cluster.crash(other)
        assert (await world.client.transfer(names[0], names[1], 1)).status == Status.created
        assert sum([(await world.client.account(name)).posted for name in names]) == 3_000_000
        world.cluster.start(other)
        await world.until(lambda: world.is_serving(other) and all(map(world.is_level, range(4))), "the other is back")
        assert invariants.compare_digests() and not world.broken
        assert (await world.client.audit()).balanced

    play(story, shards=3, checkpoint_bytes=checkpoint_bytes)


def test_replacing_goes_on_whoever_dies_meanwhile() -> None:
    """Leaders change, the new folder's process dies over and over, commands come twice."""

    async def story(world: World) -> None:
        watched(world)
        names = [world.name_in(group, "n") for group in (1, 2)]
        await world.open(*names, funds=1_000_000)
        lost = world.followers(0)[0]
        data_id = world.cluster.hosts[lost].drive.folder.data_id
        world.cluster.crash(lost)
        world.cluster.lose_data(lost)
        for _ in range(3):
            assert not isinstance(await ask(world, lost, data_id), Failure)
        await world.restart(world.leader(0))
        await until_state(world, lost, MemberState.vacant)
        assert not isinstance(await ask(world, lost, data_id), Failure)
        for _ in range(4):
            world.cluster.start(lost)
            await asyncio.sleep(0.3)
            world.cluster.crash(lost)
        world.cluster.start(lost)
        await world.restart(world.leader(0))
        await until_state(world, lost, MemberState.member)
        late = await ask(world, lost, data_id)
        assert not isinstance(late, Failure) and late[1] == MemberState.member, "a late copy changes nothing"
        await world.until(lambda: all(map(world.is_level, range(3))), "all have applied the same")
        assert (await world.client.audit()).balanced

    play(story, nodes=5, shards=2)


def test_a_new_folder_that_is_lost_too_is_replaced_again() -> None:
    """In the middle of joining: from its data id on as before."""

    async def story(world: World) -> None:
        watched(world)
        await world.open("a", "b", funds=1_000)
        lost = world.followers(0)[0]
        data_id = world.cluster.hosts[lost].drive.folder.data_id
        world.cluster.crash(lost)
        world.cluster.lose_data(lost)
        await ask(world, lost, data_id)
        await until_state(world, lost, MemberState.vacant)
        world.cluster.start(lost)
        folder = world.cluster.hosts[lost].drive.folder
        await world.until(lambda: folder.identity, "it has registered", look_every=0.001)
        world.cluster.crash(lost)
        assert folder.is_replacement
        await asyncio.sleep(1.0)  # of virtual time: the others have noticed that it is gone
        await replace(world, lost)
        assert (await world.client.transfer("a", "b", 1)).status == Status.created

    play(story)


def test_the_old_folder_is_refused_for_good() -> None:
    """When somebody puts it back: before, while and after the new one has its place."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=1_000)
        lost = world.followers(0)[0]
        old = world.cluster.hosts[lost].drive
        world.cluster.crash(lost)
        world.cluster.lose_data(lost)
        new = world.cluster.hosts[lost].drive
        await ask(world, lost, old.folder.data_id)
        for state in (MemberState.vacant, MemberState.member):
            await until_state(world, lost, state)
            world.cluster.crash(lost)
            world.cluster.hosts[lost].drive = old
            world.cluster.start(lost)
            await world.until(lambda: not world.cluster.hosts[lost].is_up, "the node stops")
            assert "another data folder" in str(world.broken.pop().exceptions[0])  # type: ignore[attr-defined]
            world.cluster.hosts[lost].drive = new
            world.cluster.start(lost)
        await until_state(world, lost, MemberState.member)
        world.cluster.crash(lost)
        await asyncio.sleep(1.0)  # of virtual time: the others have noticed that it is gone
        await ask(world, lost, new.folder.data_id)
        await until_state(world, lost, MemberState.vacant)
        world.cluster.hosts[lost].drive = old
        world.cluster.start(lost)
        await world.until(lambda: not world.cluster.hosts[lost].is_up, "the one before the last is refused as well")
        world.broken.pop()
        await replace(world, lost)
        assert (await world.client.transfer("a", "b", 1)).status == Status.created

    play(story)


def test_a_node_that_runs_is_not_replaced() -> None:
    """Nor one that nobody knows; the answer says what was expected."""

    async def story(world: World) -> None:
        number = world.followers(0)[0]
        answer = await ask(world, number, world.cluster.hosts[number].drive.folder.data_id)
        assert isinstance(answer, Failure) and "expected it to be stopped" in answer.message
        answer = await ask(world, 9, 1)
        assert isinstance(answer, Failure) and "expected one that has registered" in answer.message

    play(story)


def test_a_group_without_a_majority_cannot_follow() -> None:
    """Two replicas, one lost: what it acknowledged alone is gone, so its groups wait for the old folder, and that is said."""

    async def story(world: World) -> None:
        lost = next(n for n in world.cluster.hosts if n not in world.cluster.placement.replicas[0])
        await world.open("a", funds=10)
        old = world.cluster.hosts[lost].drive
        world.cluster.crash(lost)
        world.cluster.lose_data(lost)
        answer = await ask(world, lost, old.folder.data_id)
        assert not isinstance(answer, Failure)
        for _ in range(30):
            answer = await ask(world, lost, 0)
            await asyncio.sleep(PAUSE_SECONDS)
        assert not isinstance(answer, Failure) and answer[1] == MemberState.leaving
        assert [1, NO_LEADER] in answer[2]
        with pytest.raises(RingpayError):
            await world.client.account("a", timeout=1.0)

    play(story, nodes=2)


def test_a_leader_that_may_be_deposed_says_nothing_of_a_node() -> None:
    """It does not know what the others have changed meanwhile; its word would count."""

    async def story(world: World) -> None:
        leader, (lost, other) = world.leader(1), world.followers(1)
        row = world.node(leader).members.table.rows[lost]
        for peer in (lost, other):
            world.network.block(leader, peer)
            world.network.block(peer, leader)
        answers: list[Outcome] = []
        asked = [lost, row.data_id, int(row.state)]
        call = Call(1, PeerOperation.standing, asked, world.loop.time() + 5.0, answers.append)
        assert world.replica(leader, 1).is_serving
        world.node(leader)._replacing.standing(call)
        await world.until(lambda: answers, "it has answered")
        assert isinstance(answers[0], Failed)

    play(story)


def test_a_leader_says_what_a_node_is_in_its_group() -> None:
    """The control, and under another row it says nothing."""

    async def story(world: World) -> None:
        leader, lost = world.leader(1), world.followers(1)[0]
        row = world.node(leader).members.table.rows[lost]
        answers: list[Outcome] = []
        for data_id in (row.data_id, row.data_id + 1):
            asked = [lost, data_id, int(row.state)]
            call = Call(1, PeerOperation.standing, asked, world.loop.time() + 5.0, answers.append)
            world.node(leader)._replacing.standing(call)
        await world.until(lambda: len(answers) == 2, "it has answered")
        assert answers[0] == ["voter"] and isinstance(answers[1], Failed)

    play(story)


def test_a_change_is_made_to_the_membership_that_it_was_made_for() -> None:
    """Another one came before it in the inbox: what was to be done then may undo that."""

    async def story(world: World) -> None:
        leader, lost = world.leader(1), world.followers(1)[0]
        replica, node = world.replica(leader, 1), NodeId(lost)
        before = replica.membership

        def change(step: Step, made_for: Membership) -> None:
            replica.inbox.push(ChangeMembership(MembershipChange(((step, node),)), made_for))

        change(Step.remove, before)
        await world.until(lambda: node not in replica.membership.everyone, "it is removed")
        change(Step.add_voter, before)
        await asyncio.sleep(1.0)  # of virtual time
        assert node not in replica.membership.everyone
        change(Step.add_voter, replica.membership)
        await world.until(lambda: node in replica.membership.voters, "it is a voter again")

    play(story)


STEPS = [
    (MemberState.member, [1, 2], [], None),  # the table is old, or others have removed it by a later one
    (MemberState.member, [1, 2], [3], None),
    (MemberState.joining, [1, 2], [], Step.add_learner),
    (MemberState.joining, [1, 2], [3], Step.add_voter),
    (MemberState.joining, [1, 2, 3], [], None),
    (MemberState.leaving, [1, 2, 3], [], Step.remove),
    (MemberState.vacant, [1, 2], [3], Step.remove),
    (MemberState.vacant, [1, 2], [], None),
]


@pytest.mark.parametrize(("state", "voters", "learners", "step"), STEPS)
def test_a_group_is_brought_closer_to_the_table(
    state: MemberState, voters: list[int], learners: list[int], step: Step | None
) -> None:
    """Only a node that joins is taken in."""
    membership = Membership(tuple(map(NodeId, voters)), learners=tuple(map(NodeId, learners)))
    replica = SimpleNamespace(membership=membership, has_caught_up=lambda node, lag_max: True)
    assert _next_step(cast(Replica, replica), 3, Member(7, state)) is step
