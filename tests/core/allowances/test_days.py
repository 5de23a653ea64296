"""When days end: by the clocks of the owner's zone, whatever governments do to them."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.core.allowances.days import NANOSECONDS, end_of_day_ns, find_zone

HOUR_NS = 3_600 * NANOSECONDS
ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Pacific/Auckland",
    "Asia/Kathmandu",
    "America/Havana",
    "Asia/Beirut",
]


def ns(text: str) -> int:
    """A time in UTC."""
    return int(datetime.fromisoformat(f"{text}+00:00").timestamp()) * NANOSECONDS


@pytest.mark.parametrize(
    ("zone", "now", "ends"),
    [
        ("UTC", "2026-01-01T00:00:00", "2026-01-02T00:00:00"),
        ("UTC", "2026-01-01T23:59:59", "2026-01-02T00:00:00"),
        ("Europe/Berlin", "2026-01-01T22:59:59", "2026-01-01T23:00:00"),
        ("Europe/Berlin", "2026-01-01T23:00:00", "2026-01-02T23:00:00"),
        ("Europe/Berlin", "2026-03-28T23:00:00", "2026-03-29T22:00:00"),  # 23 hours: summer time begins
        ("Europe/Berlin", "2026-10-24T22:00:00", "2026-10-25T23:00:00"),  # 25 hours: it ends
        ("Pacific/Auckland", "2026-06-01T12:00:00", "2026-06-02T12:00:00"),
        (
            "America/Havana",
            "2026-03-08T04:59:59",
            "2026-03-08T05:00:00",
        ),  # that midnight is skipped: 1 o'clock begins the day
    ],
)
def test_a_day_ends_at_midnight_there(zone: str, now: str, ends: str) -> None:
    """Also where the clocks are changed on that day, or at midnight itself."""
    found = find_zone(zone)
    assert found is not None
    assert end_of_day_ns(found, ns(now)) == ns(ends)


@given(st.sampled_from(ZONES), st.integers(0, 4 * 10**9))
def test_days_are_of_23_to_25_hours_and_leave_no_gap(name: str, second: int) -> None:
    """From end to end, and every time belongs to one day."""
    zone = find_zone(name)
    assert zone is not None
    end_ns = end_of_day_ns(zone, second * NANOSECONDS)
    assert 0 < end_ns - second * NANOSECONDS <= 25 * HOUR_NS
    following_ns = end_of_day_ns(zone, end_ns)
    assert 23 * HOUR_NS <= following_ns - end_ns <= 25 * HOUR_NS
    assert end_of_day_ns(zone, end_ns - 1) == end_ns
    before, after = (
        datetime.fromtimestamp(seconds, zone).date() for seconds in (end_ns // NANOSECONDS - 1, end_ns // NANOSECONDS)
    )
    assert after - before == timedelta(days=1)


@pytest.mark.parametrize(
    "name",
    [
        "", "Mars/Olympus", "../etc/passwd", "/etc/localtime", "Europe", "Europe/", "x" * 65, "Zürich", "UTC\0",
        "localtime", "posixrules", "Factory", "right/UTC", "posix/Europe/Berlin",
    ],
)  # fmt: skip
def test_a_name_of_no_zone(name: str) -> None:
    """Whatever it is, no error and no file but the tz database's."""
    assert find_zone(name) is None
