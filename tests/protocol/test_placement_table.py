"""The ring's hash and the placement table."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import frames, placement
from protocol.errors import ProtocolError
from protocol.placement import NodeAddress, Placement
from tests.protocol.wire_examples import LEAF

ACCOUNT_IDS = st.text(st.sampled_from("ab{}:ü\n"), max_size=12)
NODES = (NodeAddress(1, "one", 7101), NodeAddress(2, "two", 7102), NodeAddress(5, "::1", 7103))
TABLE = Placement(3, 2, ((1, 2, 5), (2, 1), (5, 2)), NODES)


@given(st.lists(ACCOUNT_IDS, max_size=30), st.integers(1, placement.SHARDS_MAX))
def test_columns_agree_with_single_ids(account_ids: list[str], shards: int) -> None:
    """The vectorised hash is the plain one."""
    column = placement.groups_of(account_ids, shards)
    assert column.dtype.name == "int32"
    assert column.tolist() == [placement.group_of(account_id, shards) for account_id in account_ids]
    assert all(1 <= shard <= shards for shard in column.tolist())


@pytest.mark.parametrize(
    ("account_id", "hashed"),
    [("{alice}:EUR", "alice"), ("x{a}{b}", "a"), ("{{a}}", "{a"), ("}{a}", "a"), ("a}{b", None), ("{}{a}", None)],
)
def test_tags_follow_redis_cluster(account_id: str, hashed: str | None) -> None:
    """Between the first opening brace and the first closing one after it, unless that is nothing."""
    if hashed is not None:
        assert placement.point(account_id) == placement.point(hashed)
    else:
        assert placement.point(account_id) != placement.point("a")
        assert placement.point(account_id) != placement.point("b")


def test_numbered_ids_spread_evenly() -> None:
    """Ids that differ in a counter only fill all shards alike."""
    counts = Counter(placement.groups_of([f"users:{number}" for number in range(32_000)], 16).tolist())
    assert len(counts) == 16
    assert max(counts.values()) < 2_000 * 1.1
    assert min(counts.values()) > 2_000 * 0.9


def test_table_round_trip_and_look_up() -> None:
    """The table survives the wire and answers what it is asked."""
    assert Placement.unpack(frames.unpack(frames.pack(TABLE.pack()))) == TABLE
    assert TABLE.address(2) == NODES[1]
    assert TABLE.address(3) is None
    assert TABLE.groups_on(5) == (0, 2)


def test_one_number_for_shards_and_their_groups() -> None:
    """What people are told; the cluster's own group is no shard."""
    assert placement.called(2) == "shard 2"
    assert placement.called(2, 5) == "shards 2, 5"
    assert placement.called(0) == "group 0"
    assert placement.called(0, 3) == "group 0 and shard 3"


@given(st.data())
def test_wrong_tables_give_protocol_error_only(data: st.DataObject) -> None:
    """A table with anything replaced is a valid table or a ProtocolError."""
    row: list[Any] = TABLE.pack()
    inner: list[Any] = data.draw(st.sampled_from([row, row[2], row[2][0], row[3], row[3][0]]))
    place = data.draw(st.integers(0, len(inner)))
    values: list[Any] = data.draw(st.lists(LEAF | st.lists(LEAF, max_size=3), max_size=2))
    inner[place : place + 1] = values
    try:
        assert Placement.unpack(row).pack() == row
    except ProtocolError as error:
        assert str(error).startswith("placement:")


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (0, 0), (1, 3), (1, True), (2, [[1], [1, 1], [1]]), (2, [[1], [3], [1]]), (2, [[1], [], [1]]),
        (3, []), (3, [[2, "b", 1], [1, "a", 1]]), (3, [[1, "", 1]]), (3, [[1, "a", 0]]), (3, [[0, "a", 1]]),
    ],
)  # fmt: skip
def test_contradictions_are_refused(place: int, value: object) -> None:
    """Unknown or repeated replicas, unsorted nodes, wrong counts."""
    row = TABLE.pack()
    row[place] = value
    with pytest.raises(ProtocolError, match="placement"):
        Placement.unpack(row)
