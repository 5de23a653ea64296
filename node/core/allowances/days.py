"""When a day ends, by the tz database. Only a leader asks; what it finds is logged."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

NANOSECONDS = 1_000_000_000
DAY_NS = 24 * 3_600 * NANOSECONDS
ZONE_BYTES_MAX = 64  # twice the longest name there is
MACHINES_OWN = (
    "localtime",
    "posixrules",
    "Factory",
)  # whatever each machine makes of them: an account's days would hang on who leads
OTHERS = (
    "right/",
    "posix/",
)  # copies of all zones, one of them with leap seconds, which are not there on every machine


@lru_cache(maxsize=1_024)
def find_zone(name: str) -> ZoneInfo | None:
    """The time zone of that name (`Europe/Berlin`, `UTC`); None if there is none."""
    if not name or len(name) > ZONE_BYTES_MAX or not name.isascii() or name.startswith(OTHERS) or name in MACHINES_OWN:
        return None
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # no name of a zone, or that of a folder of them
        return None


def end_after_whole_days_ns(end_ns: int, now_ns: int) -> int:
    """The first time behind this one that is some times 24 hours behind `end_ns`: for a zone that this node does not know."""
    return end_ns + (max(0, now_ns - end_ns) // DAY_NS + 1) * DAY_NS


def end_of_day_ns(zone: ZoneInfo, now_ns: int) -> int:
    """The first midnight of the zone's clocks behind this time, both in ns since 1970. Days have 23 to 25 hours."""
    here = datetime.fromtimestamp(now_ns // NANOSECONDS, zone)
    midnight = datetime(here.year, here.month, here.day, tzinfo=zone)
    while True:
        midnight += timedelta(days=1)
        ends_ns = int(midnight.timestamp()) * NANOSECONDS
        if ends_ns > now_ns:
            return ends_ns
