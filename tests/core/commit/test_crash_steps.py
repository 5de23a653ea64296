"""The coordinator, a shard's leader, or both die at every single step of a round: the next coordinator ends all rounds.

Every run is named by its plan, which is in the message of a failure. The undisturbed run says which steps there are; each test says
how many runs it makes at least, so that the enumeration cannot shrink unseen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import count, product

import pytest

from node.core.commit import PROTOCOLS, Coordinator, Effect
from node.core.commit.phases import Event, Phase
from node.core.commit.rounds import Round
from protocol.status import Status
from tests.core.commit.crash_world import REFUSED, SCENARIOS, WAITING, CrashWorld, Plan, UnderWay, played

UNDER_WAY: tuple[UnderWay, ...] = ("never", "late", "last", "paused")


@cache
def steps_of(
    protocol: str, scenario: str, slow: int = 0, is_mute: bool = False, lingers: bool = False
) -> tuple[str, ...]:
    """The steps of the run in which nobody dies."""
    world = CrashWorld(protocol, SCENARIOS[scenario], Plan(slow=slow, is_mute=is_mute, lingers=lingers))
    world.run()
    return tuple(world.steps)


def entries_of(protocol: str, scenario: str) -> list[int]:
    """The numbers of the steps at which a group makes something durable."""
    return [number for number, what in enumerate(steps_of(protocol, scenario), 1) if what == "entry"]


def play_all(protocol: str, scenario: str, plans: Sequence[Plan], at_least: int) -> None:
    """All of them."""
    assert len(plans) >= at_least, f"{len(plans)} runs"
    for plan in plans:
        played(protocol, scenario, plan)


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_undisturbed_run(protocol: str, scenario: str) -> None:
    """Each batch is answered once: what is refused is refused, what had to wait has happened."""
    world = CrashWorld(protocol, SCENARIOS[scenario], Plan())
    world.run()
    world.check()
    told = {row.id: status for batch, statuses in world.answers for row, status in zip(batch, statuses, strict=True)}
    expected = {
        row.id: Status.insufficient_funds if row.id == REFUSED else 0 for batch in world.batches for row in batch
    }
    assert len(world.answers) == len(world.batches) and told == expected
    kinds = Counter(steps_of(protocol, scenario))
    records = world.shards[0].machine.parts["decisions"].records  # type: ignore[attr-defined]
    assert not records, "all had voted"
    assert kinds["send"] == kinds["entry"] == kinds["hear"] and kinds["answer"] == len(world.batches)
    if WAITING in told:
        assert world.seat.core._number > len(world.batches), "it waited for another round"


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_coordinator_dies_at_every_step(protocol: str, scenario: str) -> None:
    """Before and after each send and each durable write, whatever becomes of what was under way."""
    steps = range(1, len(steps_of(protocol, scenario)) + 1)
    plans = [Plan(crash=step, under_way=way) for step, way in product(steps, UNDER_WAY)]
    play_all(protocol, scenario, plans, 220 if scenario == "three rounds" else 100)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_it_dies_while_it_records_what_lingers(scenario: str) -> None:
    """Before and after each record, on its way or durable, and each that is carried out meanwhile."""
    steps = range(1, len(steps_of("2pc", scenario, lingers=True)) + 1)
    plans = [Plan(crash=step, under_way=way, lingers=True) for step, way in product(steps, UNDER_WAY)]
    play_all("2pc", scenario, plans, 260 if scenario == "three rounds" else 110)


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_leader_dies_at_every_step(protocol: str, scenario: str) -> None:
    """Its call is lost before it is logged, or applied and not answered; the coordinator lives and asks again."""
    plans = [Plan(lost=step, is_applied=flag) for step in entries_of(protocol, scenario) for flag in (False, True)]
    play_all(protocol, scenario, plans, 36 if scenario == "three rounds" else 16)


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_both_die_at_every_step(protocol: str, scenario: str) -> None:
    """At once: and the group's next leader is the last to answer the next coordinator."""
    variants = product(entries_of(protocol, scenario), (False, True), UNDER_WAY)
    plans = [Plan(crash=step, lost=step, is_applied=flag, under_way=way) for step, flag, way in variants]
    play_all(protocol, scenario, plans, 140 if scenario == "three rounds" else 64)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_3pc_recovers_without_the_records_of_group_0(scenario: str) -> None:
    """From participants alone: group 0 comes back empty."""
    steps = range(1, len(steps_of("3pc", scenario)) + 1)
    plans = [Plan(crash=step, under_way=way, is_wiped=True) for step, way in product(steps, UNDER_WAY)]
    play_all("3pc", scenario, plans, 280 if scenario == "three rounds" else 120)


@pytest.mark.parametrize("is_mute", [False, True])
@pytest.mark.parametrize("slow", [1, 2, 3])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_it_does_not_matter_which_shards_are_heard(protocol: str, slow: int, is_mute: bool) -> None:
    """The one that the first coordinator reaches or hears last, and the one that the next reaches last, are any of three.

    So the first one abandons the round, with a vote that never was or one that it does not know; and the next one must wait.
    """
    steps = range(1, len(steps_of(protocol, "three shards", slow, is_mute)) + 1)
    ways: tuple[UnderWay, ...] = ("never", "late")
    variants = product(steps, ways, (1, 2, 3))
    plans = [Plan(crash=step, under_way=way, slow=slow, is_mute=is_mute, silent=last) for step, way, last in variants]
    play_all(protocol, "three shards", plans, 240)


@pytest.mark.parametrize("is_mute", [False, True])
@pytest.mark.parametrize("scenario", ["a lone payment", "two shards", "three rounds"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_it_dies_with_a_round_that_it_abandoned(protocol: str, scenario: str, is_mute: bool) -> None:
    """Before and after the record is durable; of the lone round nothing is left, and in 2pc that is recorded as well."""
    steps = range(1, len(steps_of(protocol, scenario, 2, is_mute)) + 1)
    plans = [Plan(crash=step, under_way=way, slow=2, is_mute=is_mute) for step, way in product(steps, UNDER_WAY)]
    play_all(protocol, scenario, plans, 110)


@pytest.mark.parametrize("slow", [1, 3])
def test_3pc_recovers_abandoned_rounds_without_the_records_of_group_0(slow: int) -> None:
    """Group 0 comes back empty, and another shard is heard last."""
    steps = range(1, len(steps_of("3pc", "three shards", slow, True)) + 1)
    variants = product(steps, (0, 2))
    plans = [Plan(crash=step, slow=slow, is_mute=True, silent=last, is_wiped=True) for step, last in variants]
    play_all("3pc", "three shards", plans, 90)


def play_twice(protocol: str, scenario: str, first: Plan, at_least: int, every: int = 1) -> None:
    """The next coordinator dies at every step of its recovery, for every step (or every second) at which the first died."""
    runs = 0
    for step in range(1, len(steps_of(protocol, scenario, first.slow, first.is_mute, first.lingers)) + 1, every):
        for again in count(1):
            plan = replace(first, crash=step, crash_again=again)
            runs += 1
            if played(protocol, scenario, plan).seat.epoch == 2:
                break
    assert runs >= at_least, f"{runs} runs"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_next_coordinator_dies_at_every_step_of_its_recovery(protocol: str) -> None:
    """What is under way from both is lost."""
    play_twice(protocol, "two shards", Plan(), 540)


@pytest.mark.parametrize("is_mute", [False, True])
def test_it_dies_again_in_2pc_in_the_middle_of_the_votes(is_mute: bool) -> None:
    """Of a round that was abandoned or is being recorded; each of the three coordinators reaches another shard last."""
    play_twice("2pc", "three shards", Plan(under_way="late", slow=2, is_mute=is_mute, silent=3), 450, every=3)
    play_twice("2pc", "two shards", Plan(slow=2, is_mute=is_mute, silent=1, lingers=True), 450, every=2)


def test_it_dies_again_in_3pc_with_everything_late() -> None:
    """What is under way from both arrives; each of the three coordinators reaches another shard last, or all alike."""
    play_twice("3pc", "three shards", Plan(under_way="late", slow=2, silent=3), 700, every=2)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_runs_take_every_transition(protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing in the protocol's table is left to chance."""
    taken: dict[tuple[Phase, Event], None] = {}
    honest = Coordinator._advance

    def advance(self: Coordinator, opened: Round, event: Event) -> list[Effect]:
        taken[opened.phase, event] = None
        return honest(self, opened, event)

    monkeypatch.setattr(Coordinator, "_advance", advance)
    for scenario, is_mute in product(("a lone payment", "three rounds"), (False, True)):
        for step in range(1, len(steps_of(protocol, scenario, 2, is_mute)) + 1, 2):
            played(protocol, scenario, Plan(crash=step, slow=2, is_mute=is_mute))
            played(protocol, scenario, Plan(crash=step))
    assert [pair for pair in PROTOCOLS[protocol].transitions if pair not in taken] == []
