"""Consistent cuts: which one is being made, and which groups have yet to reach its marker."""

from __future__ import annotations

from dataclasses import replace

from node.core.commit.rounds import Cut, CutMade, Effect
from node.core.machine import Marker


class Cuts:
    """One cut at a time; others wait. A group that is being marked is told no decision beside the marker's own."""

    def __init__(self) -> None:
        self._waiting: list[Cut] = []
        self._current: Cut | None = None

    def ask(self, cut: Cut, groups: tuple[int, ...]) -> None:
        """Queues a cut; without groups of its own it goes over `groups`."""
        self._waiting.append(cut if cut.groups else replace(cut, groups=groups))

    def start(self) -> Cut | None:
        """The next cut to send markers for, if none is under way."""
        if self._current is not None or not self._waiting:
            return None
        self._current = self._waiting.pop(0)
        return self._current

    def holds(self, group: int) -> bool:
        """Whether the group has yet to reach the marker."""
        cut = self._current
        return cut is not None and group in cut.groups and group not in cut.answers

    def is_under_way(self, name: str) -> bool:
        """Whether markers of this cut are out."""
        return self._current is not None and self._current.name == name

    def answered(self, name: str, group: int, answer: Marker) -> list[Effect]:
        """A group has reached the marker. Only its first answer counts: behind it, later decisions go there."""
        cut = self._current
        if cut is None or cut.name != name:
            return []
        cut.answers.setdefault(group, answer)
        if len(cut.answers) < len(cut.groups):
            return []
        self._current = None
        return [CutMade(name, cut.answers)]

    def abandon(self, name: str) -> list[int]:
        """Gives a cut up; the groups that have not reached its marker."""
        self._waiting = [cut for cut in self._waiting if cut.name != name]
        cut = self._current
        if cut is None or cut.name != name:
            return []
        self._current = None
        return [group for group in cut.groups if group not in cut.answers]
