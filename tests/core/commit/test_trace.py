"""What the shards remember, put together: one transfer, and what is undecided."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import pytest

from node.core.commit import Decisions, NoteQuestion, TracedTransfer, describe, find_transfer, undecided_rounds
from node.core.commit import trace as traces
from node.core.commit.decisions import DecisionRecord, Records
from node.core.commit.legs import Legs
from node.core.ledger import Ledger
from node.core.machine import (
    ROUND_BITS,
    Answer,
    At,
    Body,
    Kind,
    OpenQuestion,
    Question,
    RoundQuestion,
    TraceQuestion,
    TransferRecord,
    VotesQuestion,
    pack_decision,
)
from protocol.status import Status
from tests.core.ledger.driving import id_bytes
from tests.core.ledger.model import Transfer
from tests.core.machine.shards import Shard, decision, legs

LEADERS = [3, 1, 2, 0]
GROUPS = {"a": 1, "b": 2, "c": 3}
ROUND = 7 << ROUND_BITS | 1
NO, YES, AGAIN = int(Status.exceeds_maximum_balance), 0, int(Status.retry)


Told = TypeVar("Told")


def ask(shard: Shard, question: Question[Told]) -> Told:
    """A question and its answer as they travel."""
    return question.read(shard.query(question.asked, *question.pack()).body)


class World:
    """Group 0, and a shard each for the accounts a, b (at most 50) and c."""

    def __init__(self) -> None:
        self.zero = Shard(Decisions())
        self.zero.entry([Kind.apply, "decisions", ["begin", 7, 3]])
        self.shards = {group: Shard(Ledger()) for group in GROUPS.values()}
        for name, group in GROUPS.items():
            body = [[name, "EUR", None, 50 if name == "b" else None, "", b""]]
            assert self.shards[group].command("ledger", ["accounts", body])[1] == b"\0"

    def prepare(
        self, id: int, amount: int = 10, round_id: int = ROUND, groups: tuple[int, ...] = (1, 2), **more: Any
    ) -> None:
        """A lone transfer from a to b, at these of its participants."""
        for group in groups:
            leg = Transfer(id, "a", "b", amount, side=group)
            self.shards[group].prepare(round_id, 1, ("ledger", legs([leg])), epoch=7, leg_layout=bytes([group]), **more)

    def prepare_chain(self, *rows: tuple[int, int], groups: tuple[int, ...] = (1, 2), **more: Any) -> None:
        """One transaction of transfers from a to b, (id, amount) each, at these of its participants."""
        numbers, round_rows = np.zeros(len(rows), np.int32), np.arange(len(rows))
        for group in groups:
            body = legs([Transfer(id, "a", "b", amount, side=group) for id, amount in rows])
            body[4] = round_rows.astype("<i4").tobytes()
            layout = Legs(round_rows, np.full(len(rows), group, np.uint8), "ledger", body).layout(numbers)
            self.shards[group].prepare(ROUND, 1, ("ledger", body), epoch=7, leg_layout=layout, **more)

    def decide(self, status: int, *groups: int, round_id: int = ROUND) -> None:
        """These participants carry it out."""
        for group in groups:
            self.shards[group].decide((round_id, decision(status)), epoch=7)

    def record(self, status: int) -> None:
        """Group 0 records the decision."""
        self.zero.entry([Kind.apply, "decisions", ["record", [], ROUND, [1, 2], decision(status)]])

    def ask(self, question: Question[Told], without: tuple[int, ...] = ()) -> dict[int, Told | None]:
        """All shards, but for those that are silent."""
        return {group: None if group in without else ask(shard, question) for group, shard in self.shards.items()}

    def find(self, id: int, debit: str = "", without: tuple[int, ...] = ()) -> TracedTransfer | None:
        """A node's first step."""
        answers = self.ask(TraceQuestion("ledger", id_bytes(id)), without)
        return find_transfer(answers, debit, GROUPS.get(debit, 0))

    def trace(self, id: int, debit: str = "", without: tuple[int, ...] = ()) -> Body:
        """All its steps."""
        found = self.find(id, debit, without)
        assert found is not None
        note = None
        if (place := found.place) is not None:
            found = found.completed(self.ask(RoundQuestion(place.round_id, place.number, place.row), without))
            note = ask(self.zero, NoteQuestion(place.round_id))
            if found.is_decided_by_votes:
                votes = self.ask(VotesQuestion(ROUND))
                found = found.decided_by({group: votes[group] for group in found.groups}) or found
        return describe(id, found, note, LEADERS, GROUPS.__getitem__).pack()

    def now(self, group: int) -> int:
        """The stamp of a shard's last entry."""
        return self.shards[group].now_ns


@pytest.fixture
def world() -> World:
    """Three shards."""
    return World()


def test_a_transfer_goes_through_its_phases(world: World) -> None:
    """Prepared by one, voted by both, carried out by one, by both; from the votes on the decision is known."""
    world.prepare(10, groups=(1,))
    first_ns = world.now(1)
    head = ["2pc", ROUND, 7, 3, None]
    one = [1, 1, YES, first_ns, None, None]
    undecided = int(Status.undecided)
    assert world.trace(10) == [undecided, None, *head, None, [one, [2, 2, None, None, None, None]]]
    world.prepare(10, groups=(2,))
    two = [2, 2, YES, world.now(2), None, None]
    assert world.trace(10) == [0, None, *head, 0, [one, two]]
    world.decide(YES, 2)
    two[5] = world.now(2)
    assert world.trace(10) == [0, None, *head, 0, [one, two]]
    world.decide(YES, 1)
    one[5] = world.now(1)
    assert world.trace(10) == world.trace(10, "a") == [0, world.now(1), *head, 0, [one, two]]


def test_a_recorded_decision_stands_before_it_is_carried_out(world: World) -> None:
    """With the time of the record, though one shard has not voted."""
    world.prepare(10, groups=(1,))
    world.record(NO)
    trace = world.trace(10)
    assert trace[0] == trace[7] == NO
    assert trace[6] == world.zero.now_ns


def test_the_objection_is_named(world: World) -> None:
    """By the shard that has it, before and after the decision."""
    world.prepare(10, amount=60)
    before = world.trace(10)
    world.decide(NO, 1, 2)
    after = world.trace(10)
    for trace in (before, after):
        assert (trace[0], trace[7], [row[2] for row in trace[8]]) == (NO, NO, [YES, NO])
    assert (before[1], after[1]) == (None, world.now(1))


CHAIN = (10, 10), (11, 60), (12, 10)  # b may have 50: it fails at the second
FAILED = pack_decision(np.array([NO], np.uint8), np.array([1], np.int32))


def told_of_chain(world: World) -> list[tuple[object, object]]:
    """Status and decision of each row."""
    return [(trace[0], trace[7]) for trace in (world.trace(id) for id, _ in CHAIN)]


def test_a_row_that_only_failed_with_its_chain_says_so(world: World) -> None:
    """Whether the decision follows from the votes or is carried out by one shard or by both: the reason is that of one row."""
    linked = (int(Status.linked_event_failed),) * 2
    expected = [linked, (NO, NO), linked]
    world.prepare_chain(*CHAIN)
    assert told_of_chain(world) == expected
    for group in (2, 1):
        world.shards[group].decide((ROUND, FAILED), epoch=7)
        assert told_of_chain(world) == expected
    assert [world.trace(id)[1] for id, _ in CHAIN] == [None, world.now(1), None]
    assert [row[2] for row in world.trace(10)[8]] == [YES, NO]


def test_a_chain_whose_decision_nobody_has_carried_out(world: World) -> None:
    """By group 0's record, or by what a majority has precommitted; one that must be tried again is that as a whole."""
    linked = (int(Status.linked_event_failed),) * 2
    world.prepare_chain(*CHAIN, protocol="3pc")
    assert told_of_chain(world) == [(Status.undecided, None)] * 3
    for group in (1, 2):
        world.shards[group].precommit(ROUND, FAILED, epoch=7)
    assert told_of_chain(world) == [linked, (NO, NO), linked]
    other = World()
    other.prepare_chain(*CHAIN, groups=(1,))
    other.zero.entry([Kind.apply, "decisions", ["record", [], ROUND, [1, 2], FAILED]])
    assert told_of_chain(other) == [linked, (NO, NO), linked]
    again = pack_decision(np.array([AGAIN], np.uint8), np.array([1], np.int32))
    other.shards[1].decide((ROUND, again), epoch=7)
    assert told_of_chain(other) == [(AGAIN, AGAIN)] * 3


def test_a_majority_that_has_precommitted_decides(world: World) -> None:
    """3pc: of two participants both, to the same attempt."""
    world.prepare(10, protocol="3pc")
    assert world.trace(10)[:3] == [Status.undecided, None, "3pc"]
    world.shards[1].precommit(ROUND, decision(YES), epoch=7)
    assert world.trace(10)[7] is None and world.trace(10)[8][0][4] == world.now(1)
    world.shards[2].precommit(ROUND, decision(YES), epoch=7)
    assert world.trace(10)[7] == YES
    assert [row[4] for row in world.trace(10)[8]] == [world.now(1), world.now(2)]


def test_the_round_that_made_the_record_counts(world: World) -> None:
    """A first round that came to nothing, and a later one that found the id known, are not what the user asks for."""
    second, third = ROUND + 1, ROUND + 2
    world.prepare(10)
    world.decide(AGAIN, 1, 2)
    assert (world.trace(10)[0], world.trace(10)[1], world.trace(10)[3]) == (AGAIN, None, ROUND)
    world.prepare(10, round_id=second)
    assert world.trace(10)[3] == second
    world.decide(YES, 1, 2, round_id=second)
    recorded_ns = world.now(1)
    world.prepare(10, round_id=third)
    world.decide(int(Status.exists), 1, 2, round_id=third)
    assert (world.trace(10)[0], world.trace(10)[1], world.trace(10)[3]) == (YES, recorded_ns, second)


def test_an_id_of_two_shards(world: World) -> None:
    """The debit account says which one is meant; without it, what happened counts."""
    world.shards[1].accounts("a2", minimum=None)
    world.shards[3].command("ledger", ["cancel", id_bytes(10), "c"])
    world.shards[1].transfers(Transfer(10, "a", "a2", 5))
    found = [world.find(10, debit) for debit in ("", "a", "c")]
    assert [one.record.status for one in found if one is not None and one.record is not None] == [
        Status.created,
        Status.created,
        Status.cancelled,
    ]
    assert world.find(10, "b") is world.find(11) is None


def test_a_transfer_of_one_shard_has_no_round(world: World) -> None:
    """Its shard, time and status; one between shards that nobody remembers has its shards all the same."""
    world.shards[1].accounts("a2", minimum=None)
    world.shards[1].transfers(Transfer(10, "a", "a2", 5))
    found = world.find(10)
    nothing = [None] * 5
    time_ns = world.now(1)
    assert found is not None
    alone = describe(10, found, None, LEADERS, lambda _: 1)
    assert alone.pack() == [0, time_ns, "one shard", *nothing, [[1, 1, None, None, None, time_ns]]]
    forgotten = TracedTransfer(1, TransferRecord(0, 5, "a", "b"), None, {})
    rows = [[1, 1, None, None, None, 5], [2, 2, None, None, None, None]]
    assert describe(10, forgotten, None, LEADERS, GROUPS.__getitem__).pack() == [0, 5, None, *nothing, rows]


def test_silent_groups_leave_gaps(world: World) -> None:
    """What one participant knows is told; and nobody who coordinates is known without group 0."""
    world.prepare(10)
    world.decide(YES, 1, 2)
    trace = world.trace(10, without=(1,))
    assert (trace[0], trace[1], trace[7]) == (YES, None, YES)
    assert [row[3] for row in trace[8]] == [None, world.trace(10)[8][1][3]]
    found = world.find(10)
    assert found is not None and describe(10, found, None, LEADERS, GROUPS.__getitem__).coordinator is None


def test_what_is_undecided_is_listed(world: World) -> None:
    """Oldest first, with the ids; not what is decided by all votes, by a record, by a majority or somewhere carried out."""
    late = ROUND + 1
    world.prepare(11, groups=(2,), round_id=late, protocol="3pc")
    late_ns = world.now(2)
    for _ in range(3):
        world.shards[1].entry()
    world.prepare(10, groups=(1,))
    oldest = [late, "3pc", [1, 2], [2], late_ns, id_bytes(11), 1]
    rows = [oldest, [ROUND, "2pc", [1, 2], [1], world.now(1), id_bytes(10), 1]]

    def listed(records: Records | None = None) -> list[Body]:
        undecided = undecided_rounds(world.ask(OpenQuestion("ledger")), records)
        assert undecided.count == len(undecided.rounds) and not undecided.silent
        return [
            [one.round_id, one.protocol, one.groups, one.prepared, one.opened_ns, one.ids, one.count]
            for one in undecided.rounds
        ]

    assert listed() == rows
    assert listed({ROUND: DecisionRecord((1, 2), b"")}) == rows[:1]
    world.prepare(11, groups=(1,), round_id=late, protocol="3pc")
    oldest[3], oldest[4] = [1, 2], late_ns
    assert listed() == rows
    world.prepare(10, groups=(2,))
    assert listed() == rows[:1]
    world.shards[1].precommit(late, decision(YES), epoch=7)
    assert listed() == rows[:1]
    world.shards[2].decide((late, decision(YES)), epoch=7)
    assert listed() == []


def test_more_is_undecided_than_is_told(world: World) -> None:
    """Of ids and rounds only so many are told, but all are counted."""
    ids = range(1, traces.IDS_MAX + 201)
    batch = [Transfer(id, "a", "b", 1, side=1, number=place) for place, id in enumerate(ids)]
    world.shards[1].prepare(ROUND, len(batch), ("ledger", legs(batch)), epoch=7)
    for number in range(1, traces.ROUNDS_MAX + 3):
        world.prepare(5_000 + number, 1, groups=(1,), round_id=ROUND + number)
    undecided = undecided_rounds(world.ask(OpenQuestion("ledger")), None)
    rows = undecided.rounds
    assert (len(rows), undecided.count) == (traces.ROUNDS_MAX, traces.ROUNDS_MAX + 3)
    assert (rows[0].round_id, len(rows[0].ids), rows[0].count) == (ROUND, 16 * traces.IDS_MAX, len(batch))


def test_coordinators_are_known_by_epoch() -> None:
    """Group 0 keeps them in its checkpoints, and when what was recorded only on its trail."""
    part = Decisions()
    part.apply(["begin", 7, 3], At(1, 100, 0))
    part.apply(["begin", 9, 2], At(2, 200, 0))
    late = 9 << ROUND_BITS | 1
    part.apply(["record", [], late, [1, 2], b"x"], At(3, 300, 0))
    part.apply(["record", [], late, [1, 2], b"y"], At(4, 400, 0))
    assert (told(part, ROUND), told(part, late)) == ([None, None, 3], [300, b"x", 2])
    part.apply(["forget", [late]], At(5, 500, 0))
    assert told(part, late) == [300, b"x", 2]
    other = Decisions()
    rows = sorted((change.key, change.value) for change in part.changes() if change.value is not None)
    other.restore(lambda _: rows)
    assert other.digest(0) == part.digest(0)
    assert told(other, late) == [None, None, 2]


def told(part: Decisions, round_id: int) -> Body:
    """What group 0 knows of a round."""
    answer = part.query(NoteQuestion(round_id).pack(), {})
    assert isinstance(answer, Answer)
    return answer.body
