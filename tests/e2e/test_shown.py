"""How amounts and times are written for people."""

from __future__ import annotations

import re

import pytest

from node.cli.events import Tables
from node.cli.output import COLUMNS_MAX
from node.cli.shown import amount, moment, seconds
from node.cli.tracing import phase_rows
from protocol.events import Event, EventKind, Series
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
    line = Line("2026-01-02T03:04:05.123456Z", 1, "", told).shown()
    assert line.startswith(f"{moment(1_767_323_045_123_456_000)}  node 1 ")
    assert line.endswith(f"leader changed        {shown}")


def test_the_phases_of_a_trace_name_shards() -> None:
    """As a column."""
    (row,) = phase_rows([Participant(2, 3, None, None, None, None)])
    assert (row["shard"], row["leader"], row["phase"]) == (2, 3, "nothing yet")


def test_a_table_of_events_has_the_columns_of_each_kind() -> None:
    """With a head wherever another kind follows; lines with nothing in them are left out at the end of a row."""
    paid = {"debit": "world", "credit": "alice", "currency": "JPY", "code": 0, "reference": ""}

    def event(kind: EventKind, name: str, **data: object) -> Event:
        return Event(kind, name, 1, Series.record, 0, 10**18, data)

    transfer = event(EventKind.transfers, "transfer", id=7, amount=1_000, **paid)
    hold = event(EventKind.holds, "hold", id=9, amount=5, ttl=60, **paid)
    capture = event(EventKind.transfers, "capture", id=8, amount=1_000, hold=9, **paid)
    allowance = event(EventKind.allowances, "allowance_set", account="bob", amount=77, zone="UTC")
    text = Tables().page([capture, transfer, hold, capture, allowance], {"bob": "EUR"})
    heads = [block.splitlines()[0].split()[2:] for block in text.split("\n\n")]
    transfers, holds = ["amount", "currency", "code"], ["amount", "currency", "ttl", "reason"]
    assert heads == [transfers, holds, transfers, ["amount", "account", "zone"]]
    first, set_aside, captured, allowed = text.split("\n\n")
    assert f"{7:032x}" in first and len(first.splitlines()) == 3 + 3 + 2, first
    assert "60" in set_aside and f"{9:032x}" in set_aside and f"{9:032x}" in captured and "0.77" in allowed
    assert max(map(len, text.splitlines())) <= COLUMNS_MAX


def test_events_that_tell_no_currency_are_shown_in_that_of_their_account() -> None:
    """As a node tells them that knows none: by the account of an event, or the one that is debited."""
    ended = Event(EventKind.holds, "hold_ended", 1, Series.journal, 0, 10**18, {"hold": 9, "rest": 5, "debit": "alice"})
    paid = Event(
        EventKind.transfers, "transfer", 1, Series.record, 0, 10**18, {"amount": 7, "currency": "", "debit": "bob"}
    )
    text = Tables().page([ended, paid], {"alice": "JPY", "bob": "EUR"})
    assert re.search(r"hold_ended +5\n", text) and re.search(r"transfer +0\.07\n", text), text
