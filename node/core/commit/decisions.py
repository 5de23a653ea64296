"""Group 0's part that remembers what rounds were decided, until every shard has carried the decision out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar

import msgpack

from node.core.commit.rounds import Forget, Record, epoch_of
from node.core.machine import Answer, At, BasePart, Body, Change, Loaded, Need, Rows, StaleEpoch, Trail, digest_of
from protocol.errors import ProtocolError

TABLE = "decision"
EPOCH_KEY = 0  # no round has this id,
COORDINATORS_KEY = 1  # nor this one: the lowest round of epoch 1 is 1 << 40 | 1
COORDINATORS_MAX = 64  # epochs whose node is known, for traces


@dataclass(frozen=True, slots=True)
class DecisionRecord:
    """What group 0 keeps of a decided round."""

    groups: tuple[int, ...]  # the participants
    decision: bytes

    def pack(self) -> Body:
        """For a checkpoint, and as it travels."""
        return [list(self.groups), self.decision]

    @staticmethod
    def unpack(body: Body) -> DecisionRecord:
        """Reads `pack`."""
        groups, decision = body
        return DecisionRecord(tuple(groups), decision)


Records = dict[int, DecisionRecord]
"""By round id."""


def pack_records(records: Records) -> Body:
    """As they travel."""
    return [[round_id, *record.pack()] for round_id, record in records.items()]


def unpack_records(rows: Body) -> Records:
    """Reads `pack_records`."""
    return {round_id: DecisionRecord.unpack(record) for round_id, *record in rows}


@dataclass(frozen=True, slots=True)
class Begin:
    """For `Decisions`: the coordinator of this epoch is that node."""

    epoch: int
    node: int

    def command(self) -> Body:
        """As it is logged."""
        return ["begin", self.epoch, self.node]

    @staticmethod
    def unpack(body: Body) -> Begin:
        """Reads `command`."""
        _, epoch, node = body
        return Begin(epoch, node)


def records_of(answer: Body) -> Records | None:
    """All that are kept, as a beginning epoch is told; None if a later one has begun."""
    match answer:
        case ["begun", rows]:
            return unpack_records(rows)
        case _:
            return None


@dataclass(frozen=True, slots=True)
class Note:
    """What group 0 remembers of a round."""

    recorded_ns: int | None = None  # stamp of its record; None where there is none, or it is not remembered
    decision: bytes | None = None
    coordinator: int | None = None  # node that began it


@dataclass(frozen=True, slots=True)
class RecordsQuestion:
    """Which records there are."""

    asked: ClassVar[str] = "decisions"

    def pack(self) -> Body:
        """See `Question`."""
        return ["open"]

    def read(self, body: Body) -> Records:
        """See `Question`."""
        return unpack_records(body)


@dataclass(frozen=True, slots=True)
class NoteQuestion:
    """What is known of a round, for a trace."""

    asked: ClassVar[str] = "decisions"
    round_id: int

    def pack(self) -> Body:
        """See `Question`."""
        return ["trace", self.round_id]

    def answer(self, note: Note) -> Body:
        """What `read` reads."""
        return [note.recorded_ns, note.decision, note.coordinator]

    def read(self, body: Body) -> Note:
        """See `Question`."""
        return Note(*body)


def is_stale(answer: Body) -> bool:
    """Whether a command was refused because a later epoch has begun."""
    kind, *_ = answer
    return bool(kind == "stale_epoch")


class Decisions(BasePart):
    """Records of decided rounds.

    Commands: `Begin`, answered by `["begun", records]`, `Record` and `Forget`. Questions: `RecordsQuestion` and `NoteQuestion`.
    """

    name = "decisions"
    tables: tuple[str, ...] = (TABLE,)

    def __init__(self) -> None:
        self.records: Records = {}
        self.epoch = 0
        self.coordinators: dict[int, int] = {}  # node by epoch
        self._dirty: dict[int, None] = {}
        self._trail: Trail[Note] = Trail()  # when what was recorded

    def apply(self, body: Body, at: At) -> Body:
        """Begins an epoch, records one round or forgets some; repeating any of it changes nothing.

        Whatever comes from an epoch that is over is answered `["stale_epoch", epoch]`: its rounds count as aborted.
        """
        match body[0]:
            case "begin":
                return self._begin(Begin.unpack(body))
            case "record":
                record = Record.unpack(body)
                if epoch_of(record.round_id) < self.epoch:
                    return StaleEpoch(self.epoch).pack()
                self._forget(record.forgotten)
                if record.round_id not in self.records:
                    self.records[record.round_id] = DecisionRecord(record.groups, record.decision)
                    self._trail.keep(record.round_id, 1, Note(at.timestamp_ns, record.decision))
                self._dirty[record.round_id] = None
            case "forget":
                self._forget(Forget.unpack(body).round_ids)
            case _:
                raise AssertionError(f"unknown command {body[:1]}")
        return ["recorded"]

    def _begin(self, begin: Begin) -> Body:
        if begin.epoch < self.epoch:
            return StaleEpoch(self.epoch).pack()
        self.epoch = begin.epoch
        self.coordinators[begin.epoch] = begin.node
        self._dirty |= {EPOCH_KEY: None, COORDINATORS_KEY: None}
        while len(self.coordinators) > COORDINATORS_MAX:
            del self.coordinators[next(iter(self.coordinators))]
        return ["begun", pack_records(self.records)]

    def _forget(self, round_ids: Iterable[int]) -> None:
        for round_id in round_ids:
            if self.records.pop(round_id, None) is not None:
                self._dirty[round_id] = None

    def query(self, body: Body, loaded: Loaded) -> Answer | Need:
        """All records, or what is known of a round."""
        match body:
            case ["open"]:
                return Answer(pack_records(self.records))
            case ["trace", int(round_id)]:
                return Answer(NoteQuestion(round_id).answer(self._note(round_id)))
            case _:
                raise ProtocolError("decisions: expected open or trace")

    def _note(self, round_id: int) -> Note:
        note = replace(self._trail.get(round_id) or Note(), coordinator=self.coordinators.get(epoch_of(round_id)))
        record = self.records.get(round_id)
        return note if record is None else replace(note, decision=record.decision)

    def totals(self) -> Body:
        """How many rounds are not carried out everywhere."""
        return [len(self.records)]

    def digest(self, seed: int) -> int:
        """Over the epoch, the coordinators and the records in order of their ids."""
        records = pack_records(dict(sorted(self.records.items())))
        state = [self.epoch, list(self.coordinators.items()), records]
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
            changes.append(Change(TABLE, round_id, None if record is None else msgpack.packb(record.pack())))
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
                self.records[round_id] = DecisionRecord.unpack(msgpack.unpackb(value))
