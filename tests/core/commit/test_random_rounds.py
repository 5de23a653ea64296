"""Whatever is lost, repeated, late or replaced: all or none, nothing made or lost, one decision a round, all answered."""

from __future__ import annotations

from collections import Counter

import pytest

from protocol.status import Status
from tests.core.commit.world import COMMITS, World

STEPS = 500


def run(seed: int, count: int, protocol: str) -> World:
    """Steps at random, then lets everything arrive."""
    world = World(seed, count, protocol)
    for _ in range(STEPS):
        chance = world.random.random()
        if chance < 0.06:
            world.submit(world.random_batch())
        elif chance < 0.08:
            world.local()
        elif chance < 0.095:
            world.replace()
        elif chance < 0.11:
            world.resign(world.random.choice(world.leaders))
        elif chance < 0.13:
            world.mark()
        elif chance < 0.135 and world.marks:
            world.abandon_cut()
        if world.pool:
            world.step()
    world.settle()
    return world


@pytest.mark.parametrize("protocol", COMMITS)
@pytest.mark.parametrize("seed", range(20))
def test_random_rounds(seed: int, protocol: str) -> None:
    """Real ledgers on three or four shards, coordinators that come and go."""
    world = run(seed, 3 + seed % 2, protocol)
    check_ended(world)
    check_conserved(world)
    check_atomic(world)
    check_answers(world)


def check_ended(world: World) -> None:
    """No reservation, no open round and no owed answer is left."""
    assert not world.leader.tickets and world.leaders == [world.leader]
    for shard in world.shards.values():
        assert shard.machine.rounds == {}
        for _, _, held, incoming, _, _ in shard.machine.parts["ledger"].totals():
            assert (held, incoming) == ("0", "0")


def check_conserved(world: World) -> None:
    """Over all shards debits equal credits, currency by currency."""
    sums: Counter[str] = Counter()
    for shard in world.shards.values():
        for currency, posted, *_ in shard.machine.parts["ledger"].totals():
            sums[currency] += int(posted)
    assert set(sums.values()) == {0}


def check_atomic(world: World) -> None:
    """A transfer is in both histories or in neither, once; linked ones share their fate."""
    books, once = world.histories(), ids_used_once(world)
    for batch in world.batches:
        there = [(books[row.debit][row.id], books[row.credit][row.id]) for row in batch.rows]
        for place, row in enumerate(batch.rows):
            if row.id not in once:
                continue
            assert there[place] in ((0, 0), (1, 1)), (row, there[place])
            if row.flags and place + 1 < len(there) and batch.rows[place + 1].id in once:
                assert there[place] == there[place + 1], "a chain happens as one"


def ids_used_once(world: World) -> Counter[int]:
    """Ids that no second row claims."""
    counts = Counter([*world.local_ids, *(row.id for batch in world.batches for row in batch.rows)])
    return Counter({id: 1 for id, count in counts.items() if count == 1})


def check_answers(world: World) -> None:
    """Every batch is answered, with what the books say."""
    books, once = world.histories(), ids_used_once(world)
    for batch in world.batches:
        assert batch.answers and max(batch.answers[-1]) < Status.undecided, "an answer is owed"
        for answer in batch.answers:
            for row, status in zip(batch.rows, answer, strict=True):
                if row.id in once and status < Status.undecided:
                    assert (status <= Status.exists) == (books[row.debit][row.id] == 1), (row, answer)


@pytest.mark.parametrize("protocol", COMMITS)
def test_the_runs_exercise_what_they_claim(protocol: str) -> None:
    """Rounds commit and abort, marks are reached (some while rounds are open), coordinators change."""
    worlds = [run(seed, 3, protocol) for seed in range(5)]
    went = [flag for world in worlds for flags in world.committed.values() for flag in flags]
    assert went.count(True) > 20 and went.count(False) > 20
    assert sum(world.cuts for world in worlds) >= sum(world.open_at_cuts for world in worlds) > 0
    assert max(world.leader.epoch for world in worlds) > 3
    records = sum(world.records for world in worlds)
    assert records == 0 if protocol == "3pc" else 10 < records < sum(len(world.decided) for world in worlds)
