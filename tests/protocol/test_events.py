"""Cursors and prefixes that are none: told as bad requests, whatever they are made of."""

from __future__ import annotations

import base64
import zlib
from typing import Any

import msgpack
import pytest

from protocol.client.events import check_prefix
from protocol.errors import ProtocolError
from protocol.events import Cursor, Position

CLUSTER = "books/0123456789abcdef"


def cursor(*content: Any) -> str:
    """With a good checksum."""
    packed = msgpack.packb(content)
    return base64.urlsafe_b64encode(packed + zlib.crc32(packed).to_bytes(4, "little")).decode().rstrip("=")


def test_a_cursor_is_read_back() -> None:
    """By shard, rows and facts."""
    made = Cursor(CLUSTER, {0: Position(0, 7), 3: Position(10**12, 5)})
    assert Cursor.unpack(made.pack()) == made == Cursor.unpack(cursor(1, CLUSTER, [0, 0, 7, 3, 10**12, 5]))


@pytest.mark.parametrize(
    "text",
    [
        "", "AAAA", "é", "\ud800", cursor(1, CLUSTER, [1, 2]), cursor(2, CLUSTER, [1, 2, 3]), cursor(1, 5, [1, 2, 3]),
        cursor(1, CLUSTER, ["1", 2, 3]), cursor(1, CLUSTER, [1, 2.5, 3]), cursor(1, CLUSTER, [1, None, 3]),
        cursor(1, CLUSTER, [True, 2, 3]), cursor(1, CLUSTER, 5), cursor(1, CLUSTER, {1: 2}), cursor(1), cursor(),
        cursor(1, CLUSTER, [[1], 2, 3]),
    ],
)  # fmt: skip
def test_what_is_no_cursor(text: str) -> None:
    """A good checksum or not."""
    with pytest.raises(ProtocolError, match="expected oldest, newest, or the cursor of an earlier subscription"):
        Cursor.unpack(text)


@pytest.mark.parametrize("prefix", ["\ud800", 5, None, b"a", "é" * 33])
def test_what_no_name_begins_with(prefix: object) -> None:
    """Told before anything is sent."""
    with pytest.raises(ProtocolError, match=r"prefix .*: expected"):
        check_prefix(prefix)
