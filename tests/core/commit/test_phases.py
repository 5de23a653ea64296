"""The transition tables, seen through the coordinator: what is not in them cannot happen, and the guide shows them as they are."""

from __future__ import annotations

from itertools import product

import pytest

import node.core.commit
from node.core.commit import PROTOCOLS, diagram
from node.core.commit.phases import Event, Phase
from node.core.commit.rounds import Round
from tests.core.commit.bench import GROUPS, packed, ready

PAIRS = list(product(Phase, Event))


def opened_round(protocol: str, phase: Phase) -> Round:
    """A round that stands there."""
    return Round(7, PROTOCOLS[protocol], phase, (1, 2), 1, decision=packed(0))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_is_not_in_the_table_cannot_happen(protocol: str) -> None:
    """Every phase with every event, in the table or not."""
    transitions = PROTOCOLS[protocol].transitions
    for phase, event in PAIRS:
        core = ready(protocol).core
        opened = core.rounds[7] = opened_round(protocol, phase)
        if (phase, event) in transitions:
            core._advance(opened, event)
            assert opened.phase == transitions[phase, event]
            assert (7 in core.rounds) == (opened.phase != Phase.ended)
            continue
        with pytest.raises(KeyError):
            core._advance(opened, event)
        assert opened.phase == phase
    assert len(PAIRS) == len(Phase) * len(Event) == 48


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_round_can_end_and_none_ends_undecided(protocol: str) -> None:
    """From each phase that can be reached there is a way to the end, and it leads through `deciding`."""
    transitions = PROTOCOLS[protocol].transitions
    following: dict[Phase, list[Phase]] = {}
    for (before, _), after in transitions.items():
        following.setdefault(before, []).append(after)
    reached = [Phase.voting, Phase.orphaned]
    for phase in reached:
        reached += [after for after in following.get(phase, []) if after not in reached]
    assert Phase.ended in reached
    assert [before for before, after in following.items() if Phase.ended in after] == [Phase.deciding]
    assert [phase for phase in reached if phase not in following] == [Phase.ended]


def test_a_commit_passes_through_a_durable_phase() -> None:
    """Votes alone never lead to a decision that somebody must be told."""
    assert PROTOCOLS["2pc"].transitions[Phase.voting, Event.agreed] == Phase.recording
    assert PROTOCOLS["3pc"].transitions[Phase.voting, Event.agreed] == Phase.precommitting


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_guide_shows_the_tables(protocol: str) -> None:
    """The diagrams in the package's guide are those of the tables."""
    guide = node.core.commit.__doc__
    assert guide is not None
    shown = guide.split(f"{protocol}\n```mermaid\n")[1].split("\n```")[0]
    assert shown == diagram(PROTOCOLS[protocol].transitions)


def test_the_effects_of_a_phase() -> None:
    """Recording asks group 0, precommitting and deciding ask the participants, the end forgets the round."""
    core = ready().core
    opened = core.rounds[7] = opened_round("2pc", Phase.voting)
    (record,) = core._advance(opened, Event.agreed)
    assert record == node.core.commit.Record(7, (1, 2), packed(0), ())
    core._advance(opened, Event.recorded)
    assert list(opened.waiting) == [1, 2] and len(GROUPS) == 3
    core._advance(opened, Event.carried_out)
    assert not core.rounds and core._forgotten == [7]
