"""The coordinator's actor by hand: its rounds when an epoch begins and when leadership is to move; cuts of one that is deposed."""

from __future__ import annotations

import numpy as np

from node.actors.actor import Failed, Outcome, Reply, not_done
from node.actors.coordinator import (
    FINISH_TICKS,
    FIRST_TICKS,
    CoordinatorActor,
    CoordinatorEvent,
    CoordinatorPorts,
    Finish,
    Leads,
    MakeCut,
    Submit,
    Ticked,
)
from node.adapters.operator_log import MemoryOperatorLog
from node.core.commit import ROUNDS_IN_FLIGHT_MAX
from node.core.machine import Body, Kind, Marker, PartQuestion
from protocol.errors import ErrorCode
from protocol.status import TRANSFERS_MAX
from tests.actors.desk_world import Time
from tests.core.commit.bench import GROUPS, batch, vote_on


class Desk:
    """A coordinator whose calls are kept until a test answers them; it leads epoch 1 and all groups know it."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, Body, Reply]] = []
        self.answers: list[Outcome] = []
        self.operator = MemoryOperatorLog(Time().monotonic)
        ports = CoordinatorPorts(Time(), lambda *call: self.calls.append(call), lambda _, work: None, self.operator)
        self.actor = CoordinatorActor(GROUPS, 1, "2pc", ports)

    async def lead(self) -> Desk:
        """From the word of the replica to the last group's."""
        await self.step(Leads(1))
        await self.answer(Kind.apply, ["begun", []])
        await self.answer(Kind.epoch, ["epoch", [], []])
        return self

    async def step(self, *events: CoordinatorEvent) -> None:
        """Handles these and what they have pushed."""
        self.actor.handle(list(events))
        while len(self.actor.inbox):
            self.actor.handle(await self.actor.inbox.drain(100))

    async def answer(self, kind: Kind, body: Body) -> None:
        """The same answer to every call of a kind."""
        calls, self.calls = self.calls, [call for call in self.calls if call[1][0] != kind]
        for _, _, reply in [call for call in calls if call[1][0] == kind]:
            reply(body)
        await self.step()

    async def submit(self, first_id: int) -> None:
        """A full batch, so that no other shares its round."""
        transfers, debits, credits = batch(*((first_id + n, 1, 2) for n in range(TRANSFERS_MAX)))
        groups = np.array(debits, np.int32), np.array(credits, np.int32)
        await self.step(Submit(transfers, *groups, deadline=1e9, reply=self.answers.append, source=first_id))

    @property
    def rounds(self) -> int:
        """In flight."""
        return self.actor.core.in_flight

    async def vote_once(self) -> None:
        """The first round in flight gets its votes."""
        prepares = [call for call in self.calls if call[1][0] == Kind.round and call[1][5] is not None]
        first = min(request[5][0] for _, request, _ in prepares)
        for call in [call for call in prepares if call[1][5][0] == first]:
            _, request, reply = call
            self.calls.remove(call)
            reply(vote_on(request[5]))
        await self.step()


async def test_the_first_round_of_an_epoch_is_alone() -> None:
    """Everybody has waited for the epoch and comes at once; the first of them is answered before the others are begun."""
    desk = await Desk().lead()
    for number in range(3):
        await desk.submit(1 + number * TRANSFERS_MAX)
    assert desk.rounds == 1 and not desk.answers
    await desk.vote_once()
    assert desk.rounds == 2 and len(desk.answers) == 1


async def test_nobody_waits_long_for_the_first_round() -> None:
    """It may wait for a shard that others do not need."""
    desk = await Desk().lead()
    for number in range(2):
        await desk.submit(1 + number * TRANSFERS_MAX)
    await desk.step(*[Ticked()] * (FIRST_TICKS - 1))
    assert desk.rounds == 1
    await desk.step(Ticked())
    assert desk.rounds == 2


async def test_a_coordinator_that_is_to_finish_calls_back_when_its_rounds_have_ended() -> None:
    """It begins no other meanwhile, and goes on when nothing has come of it."""
    desk = await Desk().lead()
    called: list[int] = []
    await desk.submit(1)
    await desk.step(Finish(lambda: called.append(desk.rounds)))
    await desk.submit(1 + TRANSFERS_MAX)
    assert desk.rounds == 1 and not called
    await desk.vote_once()
    assert called == [0] and desk.rounds == 0 and len(desk.answers) == 1
    await desk.step(*[Ticked()] * FINISH_TICKS)
    assert called == [0] and desk.rounds == 1


async def test_an_idle_coordinator_finishes_at_once() -> None:
    """And a full house afterwards is as full as ever."""
    desk = await Desk().lead()
    called: list[int] = []
    await desk.step(Finish(lambda: called.append(1)))
    assert called == [1]
    await desk.step(*[Ticked()] * FINISH_TICKS)
    for number in range(ROUNDS_IN_FLIGHT_MAX + 1):
        await desk.submit(1 + number * TRANSFERS_MAX)
    assert desk.rounds == ROUNDS_IN_FLIGHT_MAX


async def test_a_prepare_that_fits_no_frame_ends_with_that_answer() -> None:
    """It would not fit at the next try either. Who was in its round hears of it; what others submit goes on."""
    desk = await Desk().lead()
    await desk.submit(1)
    long = not_done(ErrorCode.frame_too_large, "an entry of 17000000 bytes")
    calls, desk.calls = desk.calls, []
    for group, request, reply in calls:
        assert request[0] == Kind.round
        reply(long if group == 1 else vote_on(request[5]))
    await desk.step()
    await desk.answer(Kind.apply, ["recorded"])
    assert desk.answers == [long]
    await desk.submit(1 + TRANSFERS_MAX)
    assert desk.rounds == 1
    await desk.vote_once()
    assert len(desk.answers) == 2 and not isinstance(desk.answers[1], Failed)


async def test_a_deposed_coordinator_reads_nothing_at_a_cut() -> None:
    """Shards may not have heard of the next one yet, which may have decided since; group 0 has."""
    desk = await Desk().lead()
    heard: list[dict[int, Marker] | Failed] = []
    await desk.step(
        MakeCut({2: [PartQuestion("ledger", ["accounts", ["a"]])]}, lambda _, answers: heard.append(answers))
    )
    calls, desk.calls = desk.calls, []
    for group, (kind, *_), reply in calls:
        assert kind == Kind.marker
        reply(Marker(group, 0, 0, [], []).pack() if group else ["stale_epoch", 2])
    await desk.step()
    assert [type(answers) for answers in heard] == [Failed]
