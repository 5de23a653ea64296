"""Who leads each group and which accounts are split, as this node knows it, and how clients and peers hear of it.

The router routes by it. Of a group with a replica here the replica says who leads. Of other groups only the leader itself is
believed, or while nobody is known to lead the hint of a replica that was asked. Whoever has said that it leads is believed until
it says otherwise or is lost: what a deposed leader said may come late, behind its successor's only word.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping

from node.actors.peers import Link
from node.actors.router import Router
from node.actors.session import Session
from node.core.splits import Splits
from protocol.messages import Placed
from protocol.placement import COORDINATOR


class Directory:
    """One a node. News of one turn of the loop are told together."""

    def __init__(self, router: Router, links: Mapping[int, Link], sessions: Callable[[], Iterable[Session]]) -> None:
        self._router = router
        self._links = links
        self._sessions = sessions
        self._is_dirty = False
        self._listed = 0  # split accounts that group 0's replica here had when it was last looked at
        self._new_splits: list[str] = []  # not told to clients and peers yet
        self._claims: dict[int, list[int]] = {}  # who says that it leads a group elsewhere; the last word stands last

    def set_leader(self, group: int, leader: int) -> None:
        """A group has another leader; 0: none that is known."""
        if self._router.leaders[group] != leader:
            self._router.leaders[group] = leader
            self._tell_soon()

    def lost(self, node: int) -> None:
        """A peer's process is gone, and it leads nothing.

        Where a replica here is told too, that may find its leader again before it has said that it lost it, and then says nothing.
        """
        for group, _ in self._elsewhere(self._router.leaders):
            self._unclaim(group, node)

    def list_splits(self, accounts: list[str]) -> None:
        """These are split, and were not known to be."""
        self._new_splits += accounts
        self._tell_soon()

    def learn_splits(self) -> None:
        """What group 0's replica here has listed meanwhile."""
        if (replica := self._router.replicas.get(COORDINATOR)) is None:
            return
        part = replica.machine.parts[Splits.name]
        assert isinstance(part, Splits)
        if len(part.ids) > self._listed:
            self._listed = len(part.ids)
            self._router.learn(part.ids)

    # -- telling --------------------------------------------------------------------------------------------------

    def placed(self) -> Placed:
        """All of it, for whoever is new."""
        return Placed(self._router.placement.pack(), list(self._router.leaders), list(self._router.split))

    def _tell_soon(self) -> None:
        if not self._is_dirty:
            self._is_dirty = True
            asyncio.get_running_loop().call_soon(self._tell)

    def _tell(self) -> None:
        self._is_dirty = False
        placed = Placed(self._router.placement.pack(), list(self._router.leaders), self._new_splits)
        self._new_splits = []
        for session in self._sessions():
            if not session.is_peer:
                session.push(placed)
        for link in self._links.values():
            link.send(placed)

    # -- hearing --------------------------------------------------------------------------------------------------

    def on_placed(self, node: int, leaders: list[int], split: list[str]) -> None:
        """What a peer says about itself, for groups without a replica here, and which accounts are split."""
        self._router.learn(split)
        for group, leader in self._elsewhere(leaders):
            if leader == node:
                self._claims[group] = [*self._others(group, node), node]
                self.set_leader(group, node)
            else:
                self._unclaim(group, node)

    def on_welcome(self, node: int, leaders: list[int], split: list[str]) -> None:
        """What a peer says on another connection than its own, where later news may have come before: fills gaps only."""
        self._router.learn(split)
        for group, leader in self._elsewhere(leaders):
            if leader == node:
                claims = self._claims.get(group, [])
                self._claims[group] = claims if node in claims else [node, *claims]
                if not self._router.leaders[group]:
                    self.set_leader(group, node)

    def _unclaim(self, group: int, node: int) -> None:
        """A peer does not lead the group; whoever else says so does."""
        claims = self._claims[group] = self._others(group, node)
        if self._router.leaders[group] == node:
            self.set_leader(group, claims[-1] if claims else 0)

    def _others(self, group: int, node: int) -> list[int]:
        return [other for other in self._claims.get(group, []) if other != node]

    def _elsewhere(self, leaders: list[int]) -> list[tuple[int, int]]:
        named = enumerate(leaders[: len(self._router.leaders)])
        return [(group, leader) for group, leader in named if group not in self._router.replicas]
