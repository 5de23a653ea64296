"""The questions to a replica: each waits for a read point, is answered from what has been applied by then, and waits for open rounds."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from node.actors.actor import RETRY_AFTER_MS, Failed, malformed, not_done
from node.actors.events import MembershipQuery, Query
from node.core.machine import Need
from node.core.raft import ProposalDropped, Ready
from node.ports import ShardStore
from protocol.errors import ErrorCode, ProtocolError

if TYPE_CHECKING:
    from node.actors.replica import Replica
    from node.actors.replica_ports import ReplicaPorts

QUERIES_WAITING_MAX = 4_096  # reads that wait for a read point or for an undecided round


class Questions:
    """Owned by one replica; implements `Shelf`."""

    def __init__(self, replica: Replica, ports: ReplicaPorts) -> None:
        self._replica = replica
        self._ports = ports
        self._new: list[Query | MembershipQuery] = []  # of this drain: they share a read point
        self._asked: dict[int, list[Query | MembershipQuery]] = {}  # by the context of their read point
        self._confirmed: deque[tuple[int, list[Query | MembershipQuery]]] = deque()
        """With the index that must be applied."""
        self._undecided: list[Query] = []
        self._idle: list[Query] = []  # that wait for news
        self._told = (
            0,
            0,
            0,
        )  # facts of the record and of the journal, and open rounds, when those were looked at last

    @property
    def store(self) -> ShardStore:
        """Where rows are read that are not in memory."""
        return self._replica.store

    def add(self, query: Query | MembershipQuery) -> None:
        """A new question; one that may be `stale` is answered from what is there."""
        if isinstance(query, Query) and query.stale:
            self._read(query)
        elif not self._replica.is_serving:
            query.reply(self._replica.not_leader())
        elif len(self._new) + len(self._undecided) + len(self._idle) >= QUERIES_WAITING_MAX:
            text = f"expected at most {QUERIES_WAITING_MAX} reads waiting in a shard"
            query.reply(not_done(ErrorCode.busy, text, RETRY_AFTER_MS))
        elif isinstance(query, Query) and query.is_early:
            self._read(query)
        else:
            self._new.append(query)

    def ask_read_point(self) -> None:
        """One for all that have come."""
        if not self._new:
            return
        queries, self._new = self._new, []
        try:
            self._asked[self._replica.raft.read_index()] = queries
        except ProposalDropped:
            for query in queries:
                query.reply(self._replica.not_leader())

    def settle(self, ready: Ready) -> None:
        """Read points have come, or never will; entries may have been applied."""
        for read in ready.reads:
            self._confirmed.append((read.index, self._asked.pop(read.context)))
        for context in ready.reads_lost:
            for query in self._asked.pop(context, []):
                query.reply(self._replica.not_leader())
        while self._confirmed and self._confirmed[0][0] <= self._replica.machine.applied:
            for query in self._confirmed.popleft()[1]:
                self._read(query)

    def _read(self, query: Query | MembershipQuery) -> None:
        """Answers a confirmed question at once, or has it answered in its turn."""
        if isinstance(query, MembershipQuery):
            query.answer(self._replica.membership)
        elif query.is_heavy or self.answer(query) is not None:
            self._ports.read(self, query)

    def answer(self, query: Query) -> Need | None:
        """Answers from the applied state, or says which stored rows that takes."""
        try:
            answer = self._replica.machine.query(query.part, query.body, query.loaded)
        except ProtocolError as error:
            query.reply(malformed(error))
            return None
        if isinstance(answer, Need):
            return answer
        if not answer.is_news and query.is_early:
            query.is_early, query.loaded = False, {}
            self.add(query)
        elif not answer.is_news and self._ports.clock.monotonic() < query.until and self._replica.is_serving:
            query.loaded = {}
            self._idle.append(query)
            if answer.is_undecided:
                self._replica.hurry()
        elif not (answer.is_undecided and answer.is_news) or query.stale:
            query.reply(answer.body)
        elif self._ports.clock.monotonic() > query.deadline:
            query.reply(not_done(ErrorCode.busy, "a commit round on this account is not decided yet", RETRY_AFTER_MS))
        elif not self._replica.is_serving:
            query.reply(self._replica.not_leader())
        else:
            query.loaded = {}
            self._undecided.append(query)
            self._replica.hurry()
        return None

    def tick(self) -> None:
        """Looks again at everything that was undecided; what is overdue is told so."""
        self._look_again(self._undecided, [])
        if self._idle:
            now = self._ports.clock.monotonic()
            over, self._idle = [q for q in self._idle if q.until <= now], [q for q in self._idle if q.until > now]
            for query in over:
                self._read(query)

    def applied(self) -> None:
        """Entries were applied: short questions are looked at again at once, long ones at the next tick only."""
        if self._undecided:
            short = [query for query in self._undecided if not query.is_heavy]
            self._look_again(short, [query for query in self._undecided if query.is_heavy])
        if self._idle:
            machine = self._replica.machine
            told = machine.recorded, machine.journal.count, len(machine.rounds)
            if told != self._told:
                self._told, idle, self._idle = told, self._idle, []
                for query in idle:
                    self._read(query)

    def _look_again(self, queries: list[Query], left: list[Query]) -> None:
        self._undecided = left
        for query in queries:
            self._read(query)

    def fail_all(self, failed: Failed) -> None:
        """Leadership is gone; read points that were asked for are told one by one that they are lost."""
        for query in [*self._undecided, *self._idle, *self._new]:
            query.reply(failed)
        self._undecided, self._idle, self._new = [], [], []
