"""A group that is away for long: what the others remember of the rounds behind it stays small."""

from __future__ import annotations

from node.core.commit import Ticket
from node.core.commit.coordinator import LASTING_AFTER
from node.core.machine import Kind
from protocol import frames
from tests.core.commit.bench import round_id, round_of, with_group_3_away
from tests.core.ledger.model import Transfer
from tests.core.machine.shards import Shard, decision, legs

ROUNDS = 3 * LASTING_AFTER
EPOCH = 1 << 40


def test_the_rounds_behind_one_that_lasts_are_told_to_be_over() -> None:
    """Only the round that waits for the group is named, whatever ends behind it."""
    bench, lasting = with_group_3_away(1)
    bench.record_all()
    bench.take(bench.core.give_up([Ticket(1)]))
    bench.tick()
    bench.asks = [ask for ask in bench.asks if ask.group != 3]
    bench.decide_all()
    for number in range(2, ROUNDS):
        bench.submit(number, (number, 1, 2))
        bench.round()
    bench.submit(ROUNDS, (ROUNDS, 1, 2))
    bench.go_on()
    over = round_of(bench.prepares()[0]).over
    assert over.below <= lasting < over.own and over.lasting == (lasting,)
    assert round_id(bench.prepares()[0]) - over.own < LASTING_AFTER


def test_what_was_finished_is_forgotten_but_for_what_lasts() -> None:
    """So the answer to a new coordinator fits a message however long the group was away; late PREPAREs stay superseded."""
    shard = Shard()
    for number in range(1, ROUNDS):
        shard.decide((EPOCH + number, decision(0)), over=(EPOCH, EPOCH + number, EPOCH + 1))
    for late in (1, 2, ROUNDS - 1):
        assert shard.prepare(
            EPOCH + late, 1, ("ledger", legs([Transfer(1, "a", "far", 1, side=1)])), over=(EPOCH, EPOCH + 2)
        ) == ["superseded"]
    other = shard
    shard.save()
    for one in (other, shard.restored()):
        (answer,) = one.entry([Kind.epoch, 2])
        frames.unpack(frames.pack(answer))
        assert [number - EPOCH for number, _ in answer[2]] == [1, ROUNDS - 1]


def test_calls_that_overtake_each_other() -> None:
    """The higher bound counts with its names; for the same bound, the fewer names."""
    shard = Shard()
    for number in range(1, 6):
        shard.decide((EPOCH + number, decision(0)))
    shard.decide(over=(0, EPOCH + 6, EPOCH + 2, EPOCH + 4))
    shard.decide(over=(0, EPOCH + 3, EPOCH + 1))
    shard.decide(over=(0, EPOCH + 6, EPOCH + 4))
    shard.decide(over=(0, EPOCH + 6, EPOCH + 2, EPOCH + 4))
    (answer,) = shard.entry([Kind.epoch, 2])
    assert [number - EPOCH for number, _ in answer[2]] == [4]
