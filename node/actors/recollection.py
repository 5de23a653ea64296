"""What nodes tell each other of their logs, and what they store of it: rows of integers, packed and unpacked here alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from node.core.raft import Acknowledged, LogEnd

_START, _ACKNOWLEDGED = 0, 1  # kinds of rows in the store


@dataclass(frozen=True, slots=True)
class GroupRecollection:
    """What a peer knows of one group, and remembers of the receiver's replica of it."""

    group: int
    term: int  # of the sender's replica
    end: LogEnd  # of what it has, or had, on its disk
    acknowledged: Acknowledged | None  # by earlier starts of the receiver

    def pack(self) -> list[int]:
        """As it is in the message."""
        told = self.acknowledged or Acknowledged(0, 0, 0)
        return [self.group, self.term, self.end.term, self.end.index, told.term, told.index, told.entry_term]

    @staticmethod
    def unpack(row: Sequence[int]) -> GroupRecollection:
        """The inverse of `pack`."""
        group, term, last_term, last_index, *told = row
        return GroupRecollection(group, term, LogEnd(last_term, last_index), Acknowledged(*told) if told[0] else None)


@dataclass(frozen=True, slots=True)
class StartRow:
    """A start of a peer's process on a data folder."""

    node: int
    data_id: int
    start: int


@dataclass(frozen=True, slots=True)
class AcknowledgedRow:
    """What a start of a peer's process has acknowledged in a group."""

    node: int
    start: int
    group: int
    acknowledged: Acknowledged

    def pack(self) -> list[int]:
        """As it is in the message."""
        told = self.acknowledged
        return [self.node, self.start, self.group, told.term, told.index, told.entry_term]

    @staticmethod
    def unpack(row: Sequence[int]) -> AcknowledgedRow:
        """The inverse of `pack`."""
        node, start, group, *told = row
        return AcknowledgedRow(node, start, group, Acknowledged(*told))


def to_store(row: StartRow | AcknowledgedRow) -> list[int]:
    """As it is stored."""
    if isinstance(row, StartRow):
        return [_START, row.node, row.data_id, row.start]
    return [_ACKNOWLEDGED, *row.pack()]


def from_store(row: Sequence[int]) -> StartRow | AcknowledgedRow:
    """The inverse of `to_store`."""
    kind, *rest = row
    return StartRow(*rest) if kind == _START else AcknowledgedRow.unpack(rest)
