"""How people read amounts and times: decimals of the currency, ISO 8601 in UTC, seconds. Programs get integers, in minor units and ns."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from protocol import money

NANOSECONDS = 1_000_000_000


def amount(minor: int | None, currency: str) -> str | None:
    """Such as 12.34; nothing for none."""
    return None if minor is None else money.format(minor, currency)


def moment(stamp_ns: int | None) -> str | None:
    """Such as 2026-01-02T03:04:05.123456Z, to the microsecond; nothing for none."""
    if stamp_ns is None:
        return None
    seconds, rest = divmod(stamp_ns, NANOSECONDS)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest // 1_000:06d}Z"


def seconds(duration_ns: int) -> str:
    """Such as 0.123 s."""
    return f"{round(duration_ns / NANOSECONDS, 3) + 0.0:.3f} s"  # with a zero that has no sign


def metadata_text(metadata: Mapping[str, str | int | bool]) -> str:
    """A transfer's metadata, such as order=7, paid=true."""
    return ", ".join(f"{key}={str(value).lower() if type(value) is bool else value}" for key, value in metadata.items())
