"""The rows of a shard's record stand in order of time, also where several requests share an entry."""

from __future__ import annotations

from itertools import pairwise

import pytest

from node.core.ledger import Ledger
from node.core.machine import Body, Kind, pack_entry
from protocol.status import Status
from tests.core.ledger.driving import columns
from tests.core.ledger.model import Transfer
from tests.core.machine.shards import Shard, decision, legs

TIMESTAMP = 7


@pytest.fixture
def shard() -> Shard:
    shard = Shard(Ledger())
    shard.accounts("world", minimum=None)
    shard.accounts("a", "b")
    assert shard.transfers(Transfer(1, "world", "a", 1_000)) == [0]
    return shard


def stamps(shard: Shard, account: str) -> list[int]:
    """Of all rows of its history."""
    _, rows, _ = shard.query("ledger", "history", account, None, 1_000, False).body
    return [row[TIMESTAMP] for row in rows]


def local(shard: Shard, first: int, count: int = 3) -> Body:
    """A batch within the shard, as a request of an entry."""
    rows = [Transfer(first + number, "a", "b", 1) for number in range(count)]
    return shard.request("ledger", ["transfers", columns(rows).pack()])


def rises(seen: list[int]) -> bool:
    return all(first < second for first, second in pairwise(seen))


@pytest.mark.parametrize("count", [3, 100])
def test_a_decision_behind_a_local_batch_in_one_entry(shard: Shard, count: int) -> None:
    """The round's row is later than the batch's, whether that goes one by one or by columns."""
    shard.prepare(5, 1, ("ledger", legs([Transfer(10, "a", "far", 5, side=1)])))
    shard.entry(local(shard, 100, count), [Kind.round, 1, [0, 0], [[5, decision(0)]], [], None])
    seen = stamps(shard, "a")
    assert len(seen) == count + 2 and rises(seen)


def test_the_rows_of_one_round(shard: Shard) -> None:
    """Each has a time of its own."""
    shard.prepare(5, 2, ("ledger", legs([Transfer(10 + n, "a", "far", 5, number=n, side=1) for n in range(2)])))
    shard.decide((5, decision(0, 0)))
    seen = stamps(shard, "a")
    assert len(seen) == 3 and rises(seen)


def test_two_local_batches_in_one_entry(shard: Shard) -> None:
    """The second goes on behind the first."""
    shard.entry(local(shard, 100), local(shard, 200))
    seen = stamps(shard, "a")
    assert len(seen) == 7 and rises(seen)


def test_a_tombstone_behind_a_local_batch_in_one_entry(shard: Shard) -> None:
    """What it is answered with is the time of its row, then and later."""
    cancel = shard.request("ledger", ["cancel", (9).to_bytes(16, "big"), "a"])
    _, first = shard.entry(local(shard, 100), cancel)
    again = shard.command("ledger", ["cancel", (9).to_bytes(16, "big"), "a"])
    assert first[:2] == ["outcome", Status.cancelled] and first == again
    assert stamps(shard, "a")[-1] < first[2]


def test_an_entry_within_the_times_of_the_rows_before(shard: Shard) -> None:
    """Its rows go on behind them, in a process too that has been started meanwhile."""
    shard.entry(local(shard, 100))
    shard.save()
    restarted = shard.restored(Ledger())
    for one in (shard, restarted):
        one.apply(pack_entry(shard.now_ns + 1, shard.elapsed_ns + 1, [local(one, 200)]))
        seen = stamps(one, "a")
        assert len(seen) == 7 and rises(seen)
    assert restarted.machine.digest() == shard.machine.digest()
