"""What this node remembers of its peers, so that one whose disk was put back from a copy is found out.

A leader knows what each replica has acknowledged to it. Every few seconds, and when a replica's connection breaks, it tells all
others, and everybody stores it with the start of the peer's process that has acknowledged it. A peer that starts again is told all
that it had acknowledged in its other starts, and which those were, before it can vote or acknowledge anything; what it makes of that is
in `doubts`.

The hello of a process that is dead may arrive when its successor is long connected, and starts have no order that an old copy of a
folder would keep. But nobody says more than its hello before it has heard the recollection, which a dead process never does. So a start
counts as *ended* once another one has answered on a connection that was opened later; until then each may come again.

What is stored is advice: where the disk refuses it, the node goes on as a poorer witness, and tries again.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from node.actors.peers import Link
from node.actors.recollection import AcknowledgedRow, GroupRecollection, StartRow, from_store, to_store
from node.actors.replica import Replica
from node.core.raft import Acknowledged, NodeId
from node.notices import MemorySaved, MemoryUnsaved
from node.ports import Clock, OperatorLog, PeerMemory, StorageFailed
from protocol.errors import ErrorCode, ProtocolError
from protocol.messages import Acknowledgements, Hello, Recollection

REMEMBER_SECONDS = 2.0  # until then only the leader knows what was acknowledged; each time costs an fsync of kilobytes
STARTS_MAX = 16  # of one peer: what an earlier one still has on its way costs a connection, no more


@dataclass(slots=True)
class Known:
    """One peer."""

    data_id: int
    starts: dict[int, dict[int, Acknowledged]] = field(default_factory=dict)
    """What each has acknowledged, by group; the start that has said hello last stands last."""
    ended: frozenset[int] = frozenset()
    """Starts whose process is surely gone."""

    @property
    def current(self) -> int:
        """The start that has said hello last; 0 for none."""
        return next(reversed(self.starts), 0)

    def begin(self, start: int) -> None:
        """It has said hello; what the oldest one of too many has acknowledged counts for the next."""
        self.starts[start] = self.starts.pop(start, {})
        if len(self.starts) > STARTS_MAX:
            oldest = self.starts.pop(next(iter(self.starts)))
            for group, told in oldest.items():
                self.note(next(iter(self.starts)), group, told)

    def note(self, start: int, group: int, told: Acknowledged) -> bool:
        """Whether this is news of that start."""
        known = self.starts.get(start)
        if known is None or not _is_beyond(told, known.get(group)):
            return False
        known[group] = told
        return True

    def note_current(self, group: int, told: Acknowledged) -> bool:
        """What a leader has been told until now; news only beyond what other starts have told it, which it does not tell apart."""
        is_news = all(_is_beyond(told, known.get(group)) for known in self.starts.values())
        return is_news and self.note(self.current, group, told)

    def acknowledged_before(self, start: int, group: int) -> Acknowledged | None:
        """By any other start."""
        told = [known[group] for other, known in self.starts.items() if other != start and group in known]
        return max(told, key=lambda one: (one.term, one.index), default=None)


def _is_beyond(told: Acknowledged, known: Acknowledged | None) -> bool:
    return known is None or (told.term, told.index) > (known.term, known.index)


class Remembering:
    """One a node."""

    def __init__(
        self,
        store: PeerMemory,
        clock: Clock,
        replicas: Mapping[int, Replica],
        links: Mapping[int, Link],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        operator: OperatorLog,
    ) -> None:
        self._store = store
        self._operator = operator
        self._clock = clock
        self._replicas = replicas
        self._links = links
        self._spawn = spawn
        self._known: dict[int, Known] = {}
        self._is_changed = False
        self._is_saving = False
        self._is_refused = False  # by the disk, as people have been told
        self._greeted: list[Callable[[], None]] = []  # who hears what is remembered once it is known who has asked
        self._save_at = 0.0
        for row in map(from_store, store.load()):
            if isinstance(row, StartRow):
                self._known.setdefault(row.node, Known(row.data_id)).begin(row.start)
            else:
                self._known[row.node].note(row.start, row.group, row.acknowledged)

    # -- connections ----------------------------------------------------------------------------------------------

    def check_hello(self, hello: Hello) -> ProtocolError | None:
        """Why a peer is refused whose process is known to have ended, or None."""
        known = self._known.get(hello.node)
        if known is None or known.data_id != hello.data_id or hello.start not in known.ended:
            return None
        return ProtocolError(f"node {hello.node} has started anew since", ErrorCode.unknown_peer)

    def greet(self, hello: Hello, tell: Callable[[Recollection], None]) -> None:
        """A peer has connected, and is told what is remembered of it as soon as its start is stored."""
        known = self._known.get(hello.node)
        if known is None or known.data_id != hello.data_id:
            known = self._known[hello.node] = Known(hello.data_id)
        if known.current != hello.start:
            self._learn_from_leaders(hello.node)
            known.begin(hello.start)
            self._is_changed = True
        if self._is_changed or self._is_saving:
            self._greeted.append(lambda: tell(self._recollection(hello, known)))
            self._save_soon()
        else:
            tell(self._recollection(hello, known))

    def answered(self, hello: Hello) -> None:
        """The peer has said more on the connection that was opened last: its process lives, and all others of its have ended."""
        known = self._known[hello.node]
        if known.data_id == hello.data_id and hello.start == known.current:
            known.ended = frozenset(known.starts) - {hello.start}

    def _recollection(self, hello: Hello, known: Known) -> Recollection:
        groups: list[list[int]] = []
        for group, replica in self._replicas.items():
            told = known.acknowledged_before(hello.start, group)
            groups.append(GroupRecollection(group, replica.raft.state.term, replica.raft.promised_end, told).pack())
        return Recollection([start for start in known.starts if start != hello.start], groups)

    # -- news -----------------------------------------------------------------------------------------------------

    def hear(self, message: Acknowledgements) -> None:
        """A leader tells what its replicas have acknowledged. Of a start that is not known here it is no news for anybody."""
        for row in map(AcknowledgedRow.unpack, message.rows):
            known = self._known.get(row.node)
            if known is not None:
                self._is_changed |= known.note(row.start, row.group, row.acknowledged)

    def lost(self, node: int) -> None:
        """A peer's process is gone: what it has acknowledged is told and stored at the next tick."""
        self._save_at = 0.0

    def tick(self) -> None:
        """Now and then tells the others what replicas have acknowledged here, and stores what is new."""
        now = self._clock.monotonic()
        if now < self._save_at or self._is_saving:
            return
        self._save_at = now + REMEMBER_SECONDS
        news = [row.pack() for node in self._known for row in self._learn_from_leaders(node)]
        if news:
            for link in self._links.values():
                link.send(Acknowledgements(news))
        if self._is_changed:
            self._save_soon()

    def _learn_from_leaders(self, node: int) -> list[AcknowledgedRow]:
        """What a peer has acknowledged to replicas here that lead; the news."""
        known, news = self._known[node], []
        for group, replica in self._replicas.items():
            told = replica.acknowledged_by(NodeId(node))
            if told is not None and known.note_current(group, told):
                news.append(AcknowledgedRow(node, known.current, group, told))
        self._is_changed |= bool(news)
        return news

    # -- storing --------------------------------------------------------------------------------------------------

    def _save_soon(self) -> None:
        if not self._is_saving:
            self._is_saving = True
            self._spawn(self._save())

    async def _save(self) -> None:
        """Once, and again for whoever has come meanwhile."""
        while True:
            self._is_changed, greeted, self._greeted = False, self._greeted, []
            try:
                await self._store.save(self._rows())
            except StorageFailed as error:
                if not self._is_refused:
                    self._operator.tell(MemoryUnsaved(str(error)))
                self._is_changed = self._is_refused = True
            else:
                if self._is_refused:
                    self._operator.tell(MemorySaved())
                self._is_refused = False
            for tell in greeted:
                tell()
            if not self._greeted:
                break
        self._is_saving = False

    def _rows(self) -> list[list[int]]:
        rows: list[StartRow | AcknowledgedRow] = []
        for node, known in self._known.items():
            for start, acknowledged in known.starts.items():
                rows.append(StartRow(node, known.data_id, start))
                rows += [AcknowledgedRow(node, start, group, told) for group, told in acknowledged.items()]
        return [to_store(row) for row in rows]
