"""What shards remember of the last rounds: bounded, and no part of their state."""

from __future__ import annotations

import pytest

from node.core.ledger import Ledger
from node.core.machine import Trail, trail
from protocol.status import Status
from tests.core.ledger.driving import id_bytes
from tests.core.ledger.model import Transfer
from tests.core.machine.shards import Shard, decision, legs

NO = int(Status.insufficient_funds)


@pytest.fixture
def shard() -> Shard:
    """Account a (100) and the world."""
    shard = Shard(Ledger())
    shard.accounts("world", minimum=None)
    shard.accounts("a")
    assert shard.transfers(Transfer(1, "world", "a", 100)) == [0]
    return shard


def debits(*rows: tuple[int, int]) -> tuple[str, list[object]]:
    """Legs of (id, amount), a transaction each."""
    return "ledger", legs(
        [Transfer(id, "a", "far", amount, side=1, number=place) for place, (id, amount) in enumerate(rows)]
    )


def traced(shard: Shard, id: int) -> list[list[object]]:
    """Rounds that the shard has seen an id in."""
    rows: list[list[object]] = shard.query("machine", "trace", "ledger", id_bytes(id)).body[2]
    return rows


def test_the_oldest_rounds_are_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """By number and by size; what was kept first of a round stays."""
    monkeypatch.setattr(trail, "ROUNDS_MAX", 3)
    monkeypatch.setattr(trail, "TRANSACTIONS_MAX", 10)
    kept: Trail[str] = Trail()
    for round_id in (1, 2, 3, 4):
        kept.keep(round_id, 2, f"round {round_id}")
    kept.keep(2, 2, "again")
    assert list(kept) == [(2, "round 2"), (3, "round 3"), (4, "round 4")]
    kept.keep(5, 7, "a large one")
    assert (list(kept), kept.get(4)) == ([(4, "round 4"), (5, "a large one")], "round 4")
    kept.keep(6, 11, "too large")
    assert (list(kept), kept.get(5)) == ([], None)


def test_phases_leave_their_stamps(shard: Shard) -> None:
    """Vote, prepared, precommitted, carried out and decision, each once it is there."""
    shard.prepare(5, 2, debits((10, 60), (11, 160)), protocol="3pc")
    prepared_ns = shard.now_ns
    expected = ["3pc", [1, 2], 0, prepared_ns, None, None, None, 0, None]
    assert traced(shard, 10) == [[5, 0, -1, 1, expected]]
    assert traced(shard, 11) == [[5, 1, -1, 1, [*expected[:2], NO, *expected[3:]]]]
    shard.precommit(5, decision(0, NO), epoch=2)
    expected[4], expected[7:] = shard.now_ns, [2, 0]
    assert traced(shard, 10) == [[5, 0, -1, 1, expected]]
    shard.decide((5, decision(0, NO)), epoch=2)
    expected[5:7] = [shard.now_ns, 0]
    assert traced(shard, 10) == [[5, 0, -1, 1, expected]]
    assert traced(shard, 11)[0][4] == [*expected[:2], NO, *expected[3:6], NO, 2, NO]
    assert shard.query("machine", "round", 5, 1, -1).body == ["round", traced(shard, 11)[0][4]]


def test_ids_are_found_among_others(shard: Shard) -> None:
    """Also where the bytes of one stand across two of them, and in several rounds; an unknown one is nowhere."""
    first, second = int.from_bytes(b"\1" * 8 + b"\2" * 8), int.from_bytes(b"\2" * 8 + b"\1" * 8)
    between = int.from_bytes(b"\2" * 16)
    shard.prepare(5, 2, debits((first, 1), (second, 1)))
    assert [(row[0], row[1]) for row in traced(shard, second)] == [(5, 1)]
    assert traced(shard, between) == traced(shard, 99) == []
    shard.decide((5, decision(NO, NO)))
    shard.prepare(6, 2, debits((between, 1), (second, 1)))
    assert [[row[0] for row in traced(shard, id)] for id in (first, second, between)] == [[5], [5, 6], [6]]


def test_a_shard_tells_its_open_rounds(shard: Shard) -> None:
    """With their ids; one that only a PRECOMMIT has opened has neither prepared nor ids."""
    shard.prepare(5, 2, debits((10, 1), (11, 1)))
    first_ns = shard.now_ns
    shard.precommit(7, decision(0), groups=(1, 3))
    ids = id_bytes(10) + id_bytes(11)
    rows = [[5, "2pc", [1, 2], first_ns, True, 0, ids, 2], [7, "3pc", [1, 3], shard.now_ns, False, 1, b"", 1]]
    assert shard.query("machine", "open", "ledger").body == ["open", rows, []]
    shard.decide((5, decision(0, 0)))
    assert shard.query("machine", "open", "ledger").body == ["open", rows[1:], [5]]


def test_the_trail_is_no_state(shard: Shard) -> None:
    """A checkpoint lacks it and the digest does not see it; of an open round what is stored stays known, of its record all."""
    shard.prepare(5, 1, debits((10, 1)))
    shard.decide((5, decision(0)))
    shard.prepare(6, 1, debits((11, 1)), protocol="3pc")
    prepared_ns = shard.now_ns
    shard.precommit(6, decision(0))
    shard.save()
    other = shard.restored(Ledger())
    assert other.machine.digest() == shard.machine.digest()
    record = shard.query("machine", "trace", "ledger", id_bytes(10)).body[1]
    assert other.query("machine", "trace", "ledger", id_bytes(10)).body == ["trace", record, []]
    assert record[0] == Status.created and record[2:] == ["a", "far"]
    assert traced(other, 11) == [[6, 0, -1, 1, ["3pc", [1, 2], 0, prepared_ns, None, None, None, 1, 0]]]
