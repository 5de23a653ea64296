"""Facts: what has happened in a shard, from a position on."""

from __future__ import annotations

from dataclasses import dataclass

from protocol.events import (
    CLUSTER_KINDS,
    NEWEST,
    OLDEST,
    PREFIX_BYTES_MAX,
    ROWS_MAX,
    WAIT_MS_MAX,
    EventKind,
    Position,
)
from protocol.operations import Body
from protocol.placement import COORDINATOR, SHARDS_MAX, called
from protocol.requests.checks import expect, is_count


@dataclass(frozen=True, slots=True)
class FactsRequest:
    """What a reader asks a group for."""

    group: int  # a shard, or 0
    kinds: list[str]
    prefix: str  # of account ids or lock names
    position: str | Position  # from which on; or oldest, or newest
    most: int  # rows of the record
    wait_ms: int  # for news

    def pack(self) -> Body:
        """`[shard, kinds, prefix, position, rows, wait_ms]`."""
        position = self.position if isinstance(self.position, str) else self.position.pack()
        return [self.group, self.kinds, self.prefix, position, self.most, self.wait_ms]

    @classmethod
    def unpack(cls, body: Body) -> FactsRequest:
        """From what `pack` gives."""
        expect(len(body) == 6, "[shard, kinds, prefix, position, rows, wait_ms]")
        group, kinds, prefix, position, most, wait_ms = body
        expect(type(group) is int and 0 <= group <= SHARDS_MAX, f"a shard of 0 to {SHARDS_MAX}")
        known = [kind.value for kind in EventKind if (kind in CLUSTER_KINDS) == (group == COORDINATOR)]
        is_list = type(kinds) is list and 0 < len(kinds) <= len(EventKind)
        is_known = is_list and all(kind in known for kind in kinds)
        expect(is_known, f"kinds of {called(group)}, some of {', '.join(known)}")
        is_prefix = type(prefix) is str and len(prefix.encode(errors="replace")) <= PREFIX_BYTES_MAX
        expect(is_prefix, f"a prefix of at most {PREFIX_BYTES_MAX} bytes")
        is_position = type(position) is list and len(position) == 2 and all(map(is_count, position))
        expect(is_position or position in (OLDEST, NEWEST), f"[rows, facts] from 0, {OLDEST} or {NEWEST} as a position")
        expect(is_count(most) and most <= ROWS_MAX, f"0 to {ROWS_MAX} rows")
        expect(is_count(wait_ms) and wait_ms <= WAIT_MS_MAX, f"a wait of 0 to {WAIT_MS_MAX} ms")
        return cls(group, kinds, prefix, Position.unpack(position) if is_position else position, most, wait_ms)

    @staticmethod
    def rows_in(body: Body) -> int:
        """Of the record, that it may be answered with, of a body of which nothing has been checked."""
        match body:
            case [_, _, _, _, int(most), _] if is_count(most):
                return min(most, ROWS_MAX)
        return 0
