"""How amounts and times are written for people."""

from __future__ import annotations

import pytest

from node.cli.shown import amount, moment, seconds
from node.cli.tracing import phase_rows
from protocol.views import Participant
from scripts.local.logs import Line


def test_amounts_have_the_digits_of_their_currency() -> None:
    """And none is not zero."""
    assert [amount(-5, "EUR"), amount(5, "JPY"), amount(None, "EUR")] == ["-0.05", "5", None]


def test_moments_are_cut_to_the_microsecond() -> None:
    """The digits that are there are exact, whatever a double would make of them."""
    assert moment(1_767_323_045_123_456_999) == "2026-01-02T03:04:05.123456Z"
    assert [moment(0), moment(None)] == ["1970-01-01T00:00:00.000000Z", None]


@pytest.mark.parametrize(("ns", "text"), [(-400_000, "0.000 s"), (-600_000, "-0.001 s"), (12_345_600_000, "12.346 s")])
def test_durations_are_in_seconds(ns: int, text: str) -> None:
    """Nothing is behind by zero."""
    assert seconds(ns) == text


@pytest.mark.parametrize(("fields", "shown"), [
    ({"group": 2, "leader": 3}, "shard 2 leader=3"),
    ({"round": 7, "groups": [1, 4]}, "round=7 shards 1, 4"),
    ({"group": 0, "term": 5}, "group 0 term=5"),
    ({"group": "x y"}, 'group="x y"'),
])  # fmt: skip
def test_a_line_of_the_log_calls_shards_as_all_else_does(fields: dict[str, object], shown: str) -> None:
    """For people; whatever else stands in such a field is shown as it is."""
    told = {"timestamp": "2026-01-02T03:04:05.123456Z", "level": "info", "node": 1, "event": "leader changed", **fields}
    assert Line("2026-01-02T03:04:05.123456Z", 1, "", told).shown().endswith(f"leader changed        {shown}")


def test_the_phases_of_a_trace_name_shards() -> None:
    """As a column."""
    (row,) = phase_rows([Participant(2, 3, None, None, None, None)])
    assert (row["shard"], row["leader"], row["phase"]) == (2, 3, "nothing yet")
