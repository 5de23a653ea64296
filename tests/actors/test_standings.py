"""What leaders say of a node that is being replaced counts only for the row of the table under which they were asked."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from node.actors.members import MemberDesk
from node.actors.replacing import TICKS_BETWEEN, Replacing
from node.actors.router import Call, Router
from node.core.members import Member, MemberEvent, MemberState, MemberTable
from tests.actors.desk_world import Time

NODE = 3
GROUPS = [1, 2]  # led by another node than this one, which coordinates


class Coordinating:
    """The coordinator's node; calls to leaders wait in `calls`, proposals in `proposed`."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.proposed: list[tuple[Any, ...]] = []
        placement = SimpleNamespace(replicas={0: (1, 2)}, groups_on=lambda node: GROUPS)
        router = SimpleNamespace(node=1, leaders=[1, 2, 2], placement=placement, call_once=self.calls.append)
        self.members = SimpleNamespace(table=MemberTable(), propose=lambda *words: self.proposed.append(words[:3]))
        self.group0 = SimpleNamespace(is_serving=True)
        replicas = cast(Any, {0: self.group0})
        self.replacing = Replacing(
            cast(MemberDesk, self.members), cast(Router, router), replicas, lambda node: False, Time()
        )

    def see(self, data_id: int, state: MemberState) -> None:
        """The table has this row now, and is looked at."""
        self.members.table = MemberTable(1, 1, {NODE: Member(data_id, state)})
        for _ in range(TICKS_BETWEEN):
            self.replacing.tick()

    def answer(self, standing: str) -> None:
        """All leaders that were asked and have not answered say this."""
        calls, self.calls[:] = list(self.calls), []
        for call in calls:
            call.reply([standing])


def test_the_table_moves_on_when_all_groups_have_followed() -> None:
    """The control: answers that were asked under the row count."""
    node = Coordinating()
    node.see(7, MemberState.leaving)
    node.answer("out")
    node.see(7, MemberState.leaving)
    assert node.proposed == [(MemberEvent.vacate, NODE, 7)]


def test_what_was_said_of_an_earlier_folder_frees_no_later_one() -> None:
    """Another coordinator ended the first replacement; in the second one this node coordinates again."""
    node = Coordinating()
    node.see(7, MemberState.leaving)
    node.group0.is_serving = False
    node.answer("out")
    node.group0.is_serving = True
    node.see(8, MemberState.leaving)
    assert node.proposed == []


def test_not_taken_in_yet_is_not_let_go() -> None:
    """The new folder is lost while the groups take it in."""
    node = Coordinating()
    node.see(8, MemberState.joining)
    node.answer("out")
    node.see(8, MemberState.leaving)
    assert node.proposed == []


def test_an_answer_that_comes_late_counts_for_its_own_row() -> None:
    """Asked under one row, answered under the next."""
    node = Coordinating()
    node.see(8, MemberState.joining)
    calls = list(node.calls)
    node.see(8, MemberState.leaving)
    for call in calls:
        call.reply(["out"])
    node.see(8, MemberState.leaving)
    assert node.proposed == []
