"""The composition of parts: applies entries, keeps the open rounds, makes and loads checkpoints."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np

from node.core.machine.decision import first_failures, unpack_decision
from node.core.machine.entry import Kind, unpack_entry
from node.core.machine.part import Answer, At, Body, Change, Loaded, Need, Part, Rows, Statuses

TABLE = "machine"
TOGETHER_ROUND = -1  # round id of the one-shard round behind a `together` request; never open between entries
MARKS_MAX = 4  # an audit asks for its mark within seconds; older ones are of no use


@dataclass(slots=True)
class OpenRound:
    """A round that is prepared here and not yet decided."""

    parts: list[str]
    count: int  # transactions
    answer: Body  # what the first PREPARE gave, for a repeated one


class Machine:
    """A deterministic state machine made of parts. Not thread-safe; the replica actor owns it."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = {part.name: part for part in parts}
        self.applied = 0
        self.timestamp_ns = 0
        self.epoch = 0
        self.rounds: dict[int, OpenRound] = {}
        self._finished: dict[int, None] = {}  # decided rounds that a late PREPARE could still name
        self._oldest_open = 0
        self._marks: dict[str, Body] = {}

    @property
    def tables(self) -> tuple[str, ...]:
        """All checkpoint tables of the composition."""
        return (TABLE, *(table for part in self.parts.values() for table in part.tables))

    @property
    def sequence_tables(self) -> tuple[str, ...]:
        """The archives whose rows a replica never needs twice."""
        return tuple(table for part in self.parts.values() for table in part.sequence_tables)

    @property
    def live_tables(self) -> tuple[str, ...]:
        """The tables that `restore` reads."""
        archives = [table for part in self.parts.values() for table in part.archive_tables]
        return tuple(table for table in self.tables if table not in archives)

    # -- the log --------------------------------------------------------------------------------------------------

    def apply(self, index: int, data: bytes) -> list[Body]:
        """Applies the entry at `index`; one answer a request. An empty entry changes nothing but the index."""
        assert index == self.applied + 1, f"entry {index} after {self.applied}"
        self.applied = index
        if not data:
            return []
        self.timestamp_ns, requests = unpack_entry(data)
        at = At(index, self.timestamp_ns)
        return [self._apply_request(request, at) for request in requests]

    def _apply_request(self, request: Body, at: At) -> Body:
        match request:
            case [Kind.apply, part, body]:
                return self.parts[part].apply(body, at).body
            case [Kind.together, commands]:
                return self._apply_together(commands, at)
            case [Kind.round, epoch, oldest_open, decisions, prepare]:
                return self._apply_round(epoch, oldest_open, decisions, prepare, at)
            case [Kind.epoch, epoch]:
                return self._apply_epoch(epoch)
            case [Kind.mark, epoch, name]:
                return self._apply_mark(epoch, name)
            case _:
                raise AssertionError(f"unknown request {request[:1]}")

    def _apply_together(self, commands: list[Body], at: At) -> Body:
        statuses = np.zeros(1, np.uint8)
        for part, body in commands:
            votes, _ = self.parts[part].prepare(TOGETHER_ROUND, body, 1, at)
            if votes[0]:
                statuses = votes
                break
        for part in dict.fromkeys(part for part, _ in commands):
            self.parts[part].decide(TOGETHER_ROUND, statuses, at)
        return ["together", int(statuses[0])]

    def _apply_round(self, epoch: int, oldest_open: int, decisions: list[Body], prepare: Body | None, at: At) -> Body:
        if epoch < self.epoch:
            return ["stale_epoch", self.epoch]
        self.epoch = epoch
        for round_id, decision in decisions:
            self._decide(round_id, unpack_decision(decision), at)
        self._advance_oldest_open(oldest_open)
        return ["decided"] if prepare is None else self._prepare(prepare, at)

    def _prepare(self, prepare: Body, at: At) -> Body:
        round_id, count, commands = prepare
        if round_id in self.rounds:
            return self.rounds[round_id].answer
        if round_id in self._finished or round_id < self._oldest_open:
            return ["void"]
        votes = np.zeros(count, np.uint8)
        extras: list[list[Any]] = []
        for part, body in commands:
            more, extra = self.parts[part].prepare(round_id, body, count, at)
            votes = first_failures(votes, more)
            extras.append([part, extra])
        answer: Body = ["votes", votes.tobytes(), extras]
        self.rounds[round_id] = OpenRound([part for part, _ in commands], count, answer)
        return answer

    def _decide(self, round_id: int, statuses: Statuses, at: At) -> None:
        if (opened := self.rounds.pop(round_id, None)) is not None:
            for part in dict.fromkeys(opened.parts):
                self.parts[part].decide(round_id, statuses, at)
        self._finished[round_id] = None

    def _advance_oldest_open(self, oldest_open: int) -> None:
        if oldest_open > self._oldest_open:
            self._oldest_open = oldest_open
            self._finished = {round_id: None for round_id in self._finished if round_id >= oldest_open}

    def _apply_epoch(self, epoch: int) -> Body:
        if epoch < self.epoch:
            return ["stale_epoch", self.epoch]
        self.epoch = epoch
        return ["epoch", [[round_id, self.rounds[round_id].count] for round_id in sorted(self.rounds)]]

    def _apply_mark(self, epoch: int, name: str) -> Body:
        if epoch < self.epoch:
            return ["stale_epoch", self.epoch]
        totals = [[part.name, part.totals()] for part in self.parts.values()]
        self._marks[name] = ["mark", self.applied, self.digest(), len(self.rounds), totals]
        while len(self._marks) > MARKS_MAX:
            del self._marks[next(iter(self._marks))]
        return self._marks[name]

    # -- questions ------------------------------------------------------------------------------------------------

    def resolve(self, part: str, body: Body, loaded: Loaded) -> Body | Need:
        """At the leader: the command as it is to be logged."""
        return self.parts[part].resolve(body, loaded)

    def query(self, part: str, body: Body, loaded: Loaded) -> Answer | Need:
        """Answers a question from the applied state."""
        if part == TABLE:
            return Answer(self._marks.get(body[1], ["mark", 0, 0, 0, []]))
        return self.parts[part].query(body, loaded)

    def due(self, now_ns: int) -> list[Body]:
        """Requests that the leader should propose because of the time."""
        bodies = [(part.name, part.due(now_ns)) for part in self.parts.values()]
        return [[Kind.apply, name, body] for name, body in bodies if body is not None]

    def digest(self) -> int:
        """A digest of all state that replicas share; equal logs give equal digests."""
        digest = zlib.crc32(msgpack.packb([self.applied, self.timestamp_ns, self.epoch, sorted(self.rounds)]))
        for part in self.parts.values():
            digest = part.digest(digest)
        return digest

    # -- checkpoints ----------------------------------------------------------------------------------------------

    def changes(self) -> list[Change]:
        """All rows that have changed since the last call, and the applied index among them."""
        rounds = [[number, opened.parts, opened.count, opened.answer] for number, opened in self.rounds.items()]
        own: bytes = msgpack.packb(
            [self.applied, self.timestamp_ns, self.epoch, self._oldest_open, rounds, list(self._finished)]
        )
        changes = [change for part in self.parts.values() for change in part.changes()]
        return [*changes, Change(TABLE, 0, own)]

    def saved(self) -> None:
        """The last checkpoint is durable and readable."""
        for part in self.parts.values():
            part.saved()

    def restore(self, rows: Rows) -> None:
        """Loads a checkpoint into a fresh machine; an empty store leaves it fresh."""
        for _, value in rows(TABLE):
            self.applied, self.timestamp_ns, self.epoch, self._oldest_open, rounds, finished = msgpack.unpackb(value)
            self.rounds = {number: OpenRound(parts, count, answer) for number, parts, count, answer in rounds}
            self._finished = dict.fromkeys(finished)
        for part in self.parts.values():
            part.restore(rows)
