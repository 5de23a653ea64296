"""The layout of a log entry: `[timestamp_ns, elapsed_ns, [request, ...]]` in msgpack. See the package for what each request means."""

from __future__ import annotations

from enum import IntEnum

import msgpack

from node.core.machine.operation import Body


class Kind(IntEnum):
    """The first item of a request."""

    apply = 0
    judge = 1
    round = 2
    epoch = 3
    mark = 4


def pack_entry(timestamp_ns: int, elapsed_ns: int, requests: list[Body]) -> bytes:
    """The bytes of an entry."""
    packed: bytes = msgpack.packb([timestamp_ns, elapsed_ns, requests])
    return packed


def unpack_entry(data: bytes) -> tuple[int, int, list[Body]]:
    """Both times and the requests of an entry that `pack_entry` made."""
    timestamp_ns, elapsed_ns, requests = msgpack.unpackb(data, max_bin_len=len(data), max_str_len=len(data))
    return timestamp_ns, elapsed_ns, requests
