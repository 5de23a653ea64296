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
ENDS = (Event.voted, Event.nothing_agreed, Event.given_up, Event.nothing_left)  # of a voting


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
    assert len(PAIRS) == len(Phase) * len(Event) == 6 * 11


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


def test_what_must_be_durable_before_it_is_told() -> None:
    """In 2pc the votes of all decide; some of them are nothing, not even for an abort. In 3pc votes never decide a commit."""
    two, three = PROTOCOLS["2pc"].transitions, PROTOCOLS["3pc"].transitions
    assert [two[Phase.voting, event] for event in ENDS] == ["deciding", "deciding", "recording", "recording"]
    assert [three[Phase.voting, event] for event in ENDS] == ["precommitting", "deciding", "precommitting", "deciding"]


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
    (record,) = core._advance(opened, Event.given_up)
    assert record == node.core.commit.Record(7, (1, 2), packed(0), ())
    core.epoch = 0  # that of the round
    assert core.recorded(7) == []
    assert list(opened.waiting) == [1, 2] and len(GROUPS) == 3
    core._advance(opened, Event.carried_out)
    assert not core.rounds and core._forgotten == [7]
