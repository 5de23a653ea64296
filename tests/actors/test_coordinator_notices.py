"""What the coordinator's node tells of its epochs, and of rounds that others left open."""

from __future__ import annotations

import asyncio

import numpy as np

from node.actors.coordinator import REASONS, ROUNDS_TOLD_MAX, Leads
from node.core.commit import PROTOCOLS, Event
from node.core.machine import Kind, pack_decision
from node.notices import CoordinatorBegun, CoordinatorEnded, CoordinatorReady, Notice, RoundRecovered
from protocol.errors import RingpayError
from tests.actors.quiet import World, play
from tests.actors.test_coordinator import Desk
from tests.core.commit.bench import open_round

RECOVERING = [Event.decision_found, Event.votes_found, Event.no_decision_exists, Event.majority_found]


def told(desk: Desk) -> list[Notice]:
    """All that it has told, in order."""
    return [one.notice for one in desk.operator.told]


def test_every_way_to_find_a_round_has_its_words() -> None:
    """By the protocols' own tables."""
    tables = [protocol.transitions for protocol in PROTOCOLS.values()]
    assert {event for table in tables for phase, event in table if phase == "orphaned"} == set(REASONS)


async def test_an_epoch_from_its_beginning_to_its_end() -> None:
    """Once each, whatever ticks and repeated words come between; a deposed coordinator says by whom it heard of that."""
    desk = await Desk().lead()
    await desk.step(Leads(1), Leads(1))
    assert told(desk) == [CoordinatorBegun(1), CoordinatorReady(1, 0, 0, 0.0)]
    await desk.submit(1)
    calls, desk.calls = desk.calls, []
    for _, request, reply in calls:
        assert request[0] == Kind.round
        reply(["stale_epoch", 2])
    await desk.step()
    (ended,) = told(desk)[2:]
    assert ended == CoordinatorEnded(1, 1, 1, f"shard {calls[0][0]} knows a later coordinator")
    await desk.step(Leads(0))
    assert len(told(desk)) == 3


async def test_many_rounds_are_counted_and_few_are_told() -> None:
    """A group that was away for long leaves hundreds; those with a recorded decision are no news to anybody."""
    desk = Desk()
    await desk.step(Leads(2))
    decision = pack_decision(np.zeros(2, np.uint8))
    records = [[1 << 40 | number, [1, 2], decision] for number in range(201, 231)]
    await desk.answer(Kind.apply, ["begun", records])
    opened = [open_round(1 << 40 | number, 2) for number in range(1, 101)]
    finished = [[1 << 40 | number, decision] for number in range(1, 101)]
    for group, (kind, *_), reply in desk.calls:
        begun = ["epoch", opened if group == 1 else [], finished if group == 2 else []]
        reply(begun if kind == Kind.epoch else ["decided"])
    await desk.step()
    recovered = [notice for notice in told(desk) if isinstance(notice, RoundRecovered)]
    assert len(recovered) == ROUNDS_TOLD_MAX
    assert recovered[0] == RoundRecovered(
        2, 1 << 40 | 1, (1, 2), "2 of 2 transactions happen", REASONS[Event.decision_found]
    )
    assert told(desk)[-1] == CoordinatorReady(2, 100, 30, 0.0)


def test_a_killed_coordinator_leaves_a_round() -> None:
    """Its successor says which, what becomes of it, and why; then that nothing is unknown any more."""

    async def story(world: World) -> None:
        payer, payee = world.name_in(1, "g"), world.name_in(2, "t")
        await world.open(payer, payee, funds=1_000)
        old = world.leader(0)
        world.forget()
        core = world.node(old)._coordinator.core
        paying = asyncio.ensure_future(world.client.transfer(payer, payee, 1, timeout=20.0))
        await world.until(lambda: any(core.is_voting(one) for one in core.rounds), "it votes", look_every=0.000_1)
        await asyncio.sleep(0.003)
        world.cluster.crash(old)
        await world.until(lambda: world.told_by_all(CoordinatorReady), "another one decides")
        try:
            await paying
        except RingpayError:
            pass
        (begun,), (ready,) = world.told_by_all(CoordinatorBegun), world.told_by_all(CoordinatorReady)
        assert begun[0] == ready[0] == world.leader(0) != old
        recovered = [notice for _, notice in world.told_by_all(RoundRecovered)]
        assert begun[1].epoch == ready[1].epoch and ready[1].rounds_found == len(recovered) == 1
        assert set(recovered[0].groups) == {1, 2} and recovered[0].reason in REASONS.values()
        assert recovered[0].outcome.endswith("of 1 transactions happen")

    play(story, shards=2)


def test_a_handover_of_the_coordinator() -> None:
    """It ends with nothing open, and its successor finds nothing."""

    async def story(world: World) -> None:
        old = world.leader(0)
        world.forget()
        world.cluster.stop(old)
        await world.until(lambda: world.told_by_all(CoordinatorReady), "another one decides")
        (ended,) = world.told(old, CoordinatorEnded)
        assert ended.rounds_open == 0 and ended.reason == "this node leads group 0 no longer"
        assert [notice.rounds_found for _, notice in world.told_by_all(CoordinatorReady)] == [0]

    play(story, shards=2)
