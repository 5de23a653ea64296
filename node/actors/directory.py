"""Who leads each group and which accounts are split, as this node knows it, and how clients and peers hear of it.

The router routes by it. A term has one leader, so of all that replicas here and peers say, the highest term counts, whoever says it: news
of a leader that cannot speak to this node come by way of others. That a leader has resigned is believed of itself alone, for
others may only have lost sight of it. A term that nobody is known to have won does not count: who campaigns in it hides no leader.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

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

    def learn_leader(self, group: int, term: int, leader: int, teller: int) -> None:
        """A node says who leads a group in a term that was won; 0: whoever has won it does not serve, or not any more."""
        router = self._router
        if leader == router.node != teller:
            return  # the replica here says so itself, as soon as it serves
        known = router.leaders[group]
        is_news = known == teller if leader == 0 else known == 0  # of the same term
        if term > router.terms[group] or (term == router.terms[group] and is_news):
            router.terms[group], router.leaders[group] = term, leader
            if leader != known:
                self.tell_soon()

    def lost_sight(self, group: int) -> None:
        """The replica here knows of no leader; if it led itself, nobody leads."""
        if self._router.leaders[group] == self._router.node:
            self._router.leaders[group] = 0
            self.tell_soon()

    def lost(self, node: int) -> None:
        """A peer's process is gone, and it leads nothing until somebody says so again."""
        for group, leader in enumerate(self._router.leaders):
            if leader == node:
                self._router.leaders[group] = 0
                self.tell_soon()

    def list_splits(self, accounts: list[str]) -> None:
        """These are split, and were not known to be."""
        self._new_splits += accounts
        self.tell_soon()

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

    def tell_soon(self) -> None:
        """Tells clients and peers all news of this turn of the loop."""
        if not self._is_dirty:
            self._is_dirty = True
            asyncio.get_running_loop().call_soon(self._tell)

    def _tell(self) -> None:
        self._is_dirty = False
        for_peers = self._router.placed(self._new_splits)
        for_clients = replace(for_peers, members=[])  # who has which data folder is the nodes' own business
        self._new_splits = []
        for session in self._sessions():
            if not session.is_peer:
                session.push(for_clients)
        for link in self._links.values():
            link.send(for_peers)

    # -- hearing --------------------------------------------------------------------------------------------------

    def on_placed(self, node: int, placed: Placed) -> None:
        """What a peer knows of leaders, and which accounts are split."""
        self._router.learn(placed.split)
        for group, (leader, term) in enumerate(zip(placed.leaders, placed.terms, strict=False)):
            if group < len(self._router.leaders):
                self.learn_leader(group, term, leader, node)
