"""Group 0's part that remembers what rounds were decided, until every shard has carried the decision out."""

from __future__ import annotations

import msgpack

from node.core.commit.rounds import epoch_of
from node.core.machine import Answer, At, BasePart, Body, Change, Loaded, Need, Rows, StaleEpoch, Trail, digest_of

TABLE = "decision"
EPOCH_KEY = 0  # no round has this id,
COORDINATORS_KEY = 1  # nor this one: the lowest round of epoch 1 is 1 << 40 | 1
COORDINATORS_MAX = 64  # epochs whose node is known, for traces


Records = dict[int, tuple[list[int], bytes]]
"""Participants and packed decision by round id."""


def begin_command(epoch: int, node: int) -> Body:
    """For `Decisions`: the coordinator of this epoch is that node."""
    return ["begin", epoch, node]


def records_of(answer: Body) -> Records | None:
    """All that are kept, as a beginning epoch is told; None if a later one has begun."""
    match answer:
        case ["begun", rows]:
            return {round_id: (groups, decision) for round_id, groups, decision in rows}
        case _:
            return None


def is_stale(answer: Body) -> bool:
    """Whether a command was refused because a later epoch has begun."""
    kind, *_ = answer
    return bool(kind == "stale_epoch")


class Decisions(BasePart):
    """Records of decided rounds.

    Commands: `begin_command`, answered by `["begun", [[round id, [groups], decision], ...]]`, `Record.command` and `Forget.command`.
    Questions: `["open"]` and `["trace", round id]`.
    """

    name = "decisions"
    tables: tuple[str, ...] = (TABLE,)

    def __init__(self) -> None:
        self.records: Records = {}
        self.epoch = 0
        self.coordinators: dict[int, int] = {}  # node by epoch
        self._dirty: dict[int, None] = {}
        self._trail: Trail[tuple[int, bytes]] = Trail()  # when what was recorded

    def apply(self, body: Body, at: At) -> Body:
        """Begins an epoch, records one round or forgets some; repeating any of it changes nothing.

        Whatever comes from an epoch that is over is answered `["stale_epoch", epoch]`: its rounds count as aborted.
        """
        match body:
            case ["begin", epoch, node]:
                return self._begin(epoch, node)
            case ["record", forgotten, round_id, groups, decision]:
                if epoch_of(round_id) < self.epoch:
                    return StaleEpoch(self.epoch).pack()
                self._forget(forgotten)
                if round_id not in self.records:
                    self.records[round_id] = groups, decision
                    self._trail.keep(round_id, 1, (at.timestamp_ns, decision))
                self._dirty[round_id] = None
            case ["forget", forgotten]:
                self._forget(forgotten)
            case _:
                raise AssertionError(f"unknown command {body[:1]}")
        return ["recorded"]

    def _begin(self, epoch: int, node: int) -> Body:
        if epoch < self.epoch:
            return StaleEpoch(self.epoch).pack()
        self.epoch = epoch
        self.coordinators[epoch] = node
        self._dirty |= {EPOCH_KEY: None, COORDINATORS_KEY: None}
        while len(self.coordinators) > COORDINATORS_MAX:
            del self.coordinators[next(iter(self.coordinators))]
        return ["begun", self._rows()]

    def _rows(self) -> Body:
        return [[round_id, groups, decision] for round_id, (groups, decision) in self.records.items()]

    def _forget(self, round_ids: list[int]) -> None:
        for round_id in round_ids:
            if self.records.pop(round_id, None) is not None:
                self._dirty[round_id] = None

    def query(self, body: Body, loaded: Loaded) -> Answer | Need:
        """`["open"]`: all records. `["trace", round id]`: `[stamp of its record, decision, node of its coordinator]`, or None each."""
        match body:
            case ["open"]:
                return Answer(self._rows())
            case ["trace", round_id]:
                recorded_ns, decision = self._trail.get(round_id) or (None, None)
                if round_id in self.records:
                    _, decision = self.records[round_id]
                return Answer([recorded_ns, decision, self.coordinators.get(epoch_of(round_id))])
            case _:
                raise AssertionError(f"unknown question {body[:1]}")

    def totals(self) -> Body:
        """How many rounds are not carried out everywhere."""
        return [len(self.records)]

    def digest(self, seed: int) -> int:
        """Over the epoch, the coordinators and the records in order of their ids."""
        state = [self.epoch, list(self.coordinators.items()), sorted(self.records.items())]
        return digest_of(state, seed)

    def changes(self) -> list[Change]:
        """One row a record, one for the epoch, and one for the coordinators."""
        changes = []
        if EPOCH_KEY in self._dirty:
            del self._dirty[EPOCH_KEY]
            changes.append(Change(TABLE, EPOCH_KEY, msgpack.packb(self.epoch)))
        if COORDINATORS_KEY in self._dirty:
            del self._dirty[COORDINATORS_KEY]
            changes.append(Change(TABLE, COORDINATORS_KEY, msgpack.packb(list(self.coordinators.items()))))
        for round_id in self._dirty:
            record = self.records.get(round_id)
            changes.append(Change(TABLE, round_id, None if record is None else msgpack.packb(record)))
        self._dirty.clear()
        return changes

    def restore(self, rows: Rows) -> None:
        """Loads the epoch, the coordinators and the records."""
        for round_id, value in rows(TABLE):
            if round_id == EPOCH_KEY:
                self.epoch = msgpack.unpackb(value)
            elif round_id == COORDINATORS_KEY:
                self.coordinators = dict(msgpack.unpackb(value))
            else:
                self.records[round_id] = tuple(msgpack.unpackb(value))
