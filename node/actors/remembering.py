"""What this node remembers of its peers, so that one whose disk was put back from a copy is found out.

A leader knows what each replica has acknowledged to it. Every few seconds, and when a replica's connection breaks, it tells all
others, and everybody stores it with the number of the peer's last start. A peer that starts again is told all that it had
acknowledged in its earlier starts, before it can vote or acknowledge anything; what it makes of that is in `recovery`.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from node.actors.peers import Link
from node.actors.replica import Replica
from node.core.raft import Acknowledged, NodeId
from node.ports import Clock, PeerMemory
from protocol.errors import ErrorCode, ProtocolError
from protocol.messages import Hello, Remember, Word

REMEMBER_SECONDS = 2.0  # until then only the leader knows what was acknowledged; each time costs an fsync of kilobytes
_PEER, _ACKNOWLEDGED = 0, 1  # kinds of rows in the store


@dataclass(slots=True)
class Known:
    """One peer."""

    data_id: int
    start: int = 0  # the last one
    last: int = 0  # the one before, of those that were seen here
    before: dict[int, Acknowledged] = field(default_factory=dict)  # group -> what it acknowledged before this start
    now: dict[int, Acknowledged] = field(default_factory=dict)  # and since

    def begin(self, start: int) -> None:
        """The peer has started again."""
        for group, told in self.now.items():
            _note(self.before, group, told)
        self.now, self.last, self.start = {}, self.start, start


def _note(known: dict[int, Acknowledged], group: int, told: Acknowledged) -> bool:
    before = known.get(group)
    if before is not None and (before.term, before.index) >= (told.term, told.index):
        return False
    known[group] = told
    return True


class Remembering:
    """One a node."""

    def __init__(
        self,
        store: PeerMemory,
        clock: Clock,
        replicas: Mapping[int, Replica],
        links: Mapping[int, Link],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self._store = store
        self._clock = clock
        self._replicas = replicas
        self._links = links
        self._spawn = spawn
        self._known: dict[int, Known] = {}
        self._is_changed = False
        self._is_saving = False
        self._save_at = 0.0
        for kind, node, *rest in store.load():
            if kind == _PEER:
                data_id, start, last = rest
                self._known[node] = Known(data_id, start, last)
            else:
                is_before, group, term, index, entry_term = rest
                known = self._known[node].before if is_before else self._known[node].now
                known[group] = Acknowledged(term, index, entry_term)

    def greet(self, hello: Hello) -> Word:
        """What a peer that connects is told; from here on its start is remembered. Raises ProtocolError for one that has ended."""
        node = hello.node
        known = self._known.get(node)
        if known is None or known.data_id != hello.data_id:
            known = self._known[node] = Known(hello.data_id)
        if known.start != hello.start:
            if hello.start == known.last:
                raise ProtocolError(f"node {node} has started anew since", ErrorCode.unknown_peer)
            self._learn_from_leaders(node)
            known.begin(hello.start)
            self._store.save(self._rows())
        rows: list[list[int]] = []
        for group, replica in self._replicas.items():
            told = known.before.get(group, Acknowledged(0, 0, 0))
            term, last_term, last_index = replica.raft.durable_end
            rows.append([group, term, last_term, last_index, told.term, told.index, told.entry_term])
        return Word(known.last, rows)

    def hear(self, message: Remember) -> None:
        """A leader tells what its replicas have acknowledged. Of a start that is not known here it is no news for anybody."""
        for node, start, group, term, index, entry_term in message.acknowledged:
            known = self._known.get(node)
            if known is not None and known.start == start:
                self._is_changed |= _note(known.now, group, Acknowledged(term, index, entry_term))

    def lost(self, node: int) -> None:
        """A peer's process is gone: what it has acknowledged is told and stored at the next tick."""
        self._save_at = 0.0

    def tick(self) -> None:
        """Now and then tells the others what replicas have acknowledged here, and stores what is new."""
        now = self._clock.monotonic()
        if now < self._save_at or self._is_saving:
            return
        self._save_at = now + REMEMBER_SECONDS
        news = [row for node in self._known for row in self._learn_from_leaders(node)]
        if news:
            for link in self._links.values():
                link.send(Remember(news))
        if self._is_changed:
            self._is_changed, self._is_saving = False, True
            self._spawn(self._save())

    async def _save(self) -> None:
        await self._store.save_soon(self._rows())
        self._is_saving = False

    def _learn_from_leaders(self, node: int) -> list[list[int]]:
        """What a peer has acknowledged to replicas here that lead; the news."""
        known, news = self._known[node], []
        for group, replica in self._replicas.items():
            told = replica.acknowledged_by(NodeId(node))
            if told is not None and _note(known.now, group, told):
                news.append([node, known.start, group, told.term, told.index, told.entry_term])
        self._is_changed |= bool(news)
        return news

    def _rows(self) -> list[list[int]]:
        rows = [[_PEER, node, known.data_id, known.start, known.last] for node, known in self._known.items()]
        for node, known in self._known.items():
            for is_before, acknowledged in ((1, known.before), (0, known.now)):
                rows += [
                    [_ACKNOWLEDGED, node, is_before, group, told.term, told.index, told.entry_term]
                    for group, told in acknowledged.items()
                ]
        return rows
