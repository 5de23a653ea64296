"""The operation `fault`: a client breaks something on purpose, in a cluster under test."""

from __future__ import annotations

from typing import Any

from node.ports import Faults
from protocol.errors import ErrorCode, ProtocolError

SLOW_DISK_MS_MAX = 60_000  # a write that takes longer is as good as a disk that stands still


def check_fault(body: list[Any]) -> list[Any]:
    """`["cut", [node id, ...]]`, `["mute", [node id, ...]]`, `["slow_disk", milliseconds]` or `["heal"]`."""
    match body:
        case ["heal"]:
            return body
        case ["cut" | "mute", list(nodes)] if all(type(node) is int and node > 0 for node in nodes):
            return body
        case ["slow_disk", int(ms)] if 0 <= ms <= SLOW_DISK_MS_MAX and type(ms) is int:
            return body
    links = '["cut", [node id, ...]], ["mute", [node id, ...]]'
    raise ProtocolError(f'expected {links}, ["slow_disk", 0 to {SLOW_DISK_MS_MAX}] or ["heal"]')


def apply_fault(faults: Faults | None, body: list[Any]) -> list[Any]:
    """The answer, once it is done. Raises ProtocolError in a cluster that is not under test."""
    if faults is None:
        raise ProtocolError("expected fault_switch = true in cluster.toml", ErrorCode.bad_request)
    match body:
        case ["cut", nodes]:
            faults.cut(nodes)
        case ["mute", nodes]:
            faults.mute(nodes)
        case ["slow_disk", ms]:
            faults.slow_disk(ms / 1000)
        case _:
            faults.heal()
    return []
