"""Group 0's part that remembers what rounds were decided, until every shard has carried the decision out."""

from __future__ import annotations

import msgpack

from node.core.commit.rounds import epoch_of
from node.core.machine import Answer, At, BasePart, Body, Change, Loaded, Need, Rows, Trail, digest_of

TABLE = "decision"
EPOCH_KEY = 0  # no round has this id,
COORDINATORS_KEY = 1  # nor this one: the lowest round of epoch 1 is 1 << 40 | 1
COORDINATORS_MAX = 64  # epochs whose node is known, for traces


class Decisions(BasePart):
    """Records of decided rounds: round id to `[groups, packed decision]`.

    Commands: `["begin", epoch, node of the coordinator]`, answered by `["begun", [[round id, [groups], decision], ...]]`,
    `["record", [forgotten round ids], round id, [groups], decision]` and `["forget", [round ids]]`.
    Questions: `["open"]` and `["trace", round id]`.
    """

    name = "decisions"
    tables: tuple[str, ...] = (TABLE,)

    def __init__(self) -> None:
        self.records: dict[int, tuple[list[int], bytes]] = {}
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
                    return ["stale_epoch", self.epoch]
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
            return ["stale_epoch", self.epoch]
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
        if body[0] == "open":
            return Answer(self._rows())
        recorded_ns, decision = self._trail.get(body[1]) or (None, None)
        if body[1] in self.records:
            decision = self.records[body[1]][1]
        return Answer([recorded_ns, decision, self.coordinators.get(epoch_of(body[1]))])

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
