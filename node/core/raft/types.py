"""The nouns of the log: nodes, entries, what is stored of them, and the checksum that chains them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, unique
from struct import Struct
from typing import Any, Final, NewType
from zlib import crc32

from protocol.errors import ProtocolError

NodeId = NewType("NodeId", int)
"""Number of a node, 1 and up, never reused. `NOBODY` (0) stands for none."""

NOBODY: Final = NodeId(0)

INTEGER_MAX: Final = 2**63 - 1
"""Terms, indexes and contexts fit a signed 64-bit column of any store."""

TERM_MAX: Final = 2**23 - 1
"""A round's id carries a term above its 40 bits. With an election a minute it takes sixteen years to get there."""

ENTRY_OVERHEAD_BYTES: Final = 32
"""What an entry weighs in a message apart from its data: header fields and their framing, rounded up."""

_ONLY_INT: Final = {int}
_HEADER: Final = Struct(">QQB")


@unique
class EntryKind(IntEnum):
    """What the data of an entry is."""

    normal = 0
    """Opaque bytes for the machine above; empty for the entry that opens a term."""
    change = 1
    """An encoded `MembershipChange`."""


_ENTRY_KINDS: Final = tuple(EntryKind)


def chain_checksum(previous_checksum: int, term: int, index: int, kind: int, data: bytes) -> int:
    """CRC32 over an entry's header and data, seeded with the checksum of the entry before it."""
    return crc32(data, crc32(_HEADER.pack(term, index, kind), previous_checksum))


@dataclass(frozen=True, slots=True)
class Entry:
    """One item of a group's log."""

    term: int
    """Term of the leader that appended it."""
    index: int
    """Position in the log, from 1 without gaps."""
    kind: EntryKind
    """What the data is."""
    data: bytes
    """Raw bytes, never parsed here unless the kind is `change`."""
    checksum: int
    """`chain_checksum` over this entry and, through its predecessor's, over the whole log before it."""

    def pack(self) -> list[object]:
        """The entry as a list of numbers and bytes."""
        return [self.term, self.index, int(self.kind), self.data, self.checksum]

    @staticmethod
    def unpack(packed: object) -> Entry:
        """The inverse of `pack`; raises ProtocolError on any other shape."""
        if not isinstance(packed, (list, tuple)) or len(packed) != 5:
            raise ProtocolError("an entry is a list of 5")
        term, index, kind, data, checksum = packed
        if type(kind) is not int or kind not in (0, 1):
            raise ProtocolError("unknown kind of entry")
        if type(data) is not bytes:
            raise ProtocolError("the data of an entry is bytes")
        check_naturals((term, index, checksum))
        return Entry(known_term(term), index, _ENTRY_KINDS[kind], data, checksum)


@dataclass(frozen=True, slots=True, order=True)
class LogEnd:
    """Where a log ends. Of two, the greater one holds all that was committed by what is in the other (section 5.4.1 of the Raft paper)."""

    term: int = 0
    """Term of the last entry."""
    index: int = 0
    """Its index."""


@dataclass(frozen=True, slots=True)
class HardState:
    """What must be durable before any message shows it."""

    term: int = 0
    """Latest term seen."""
    vote: NodeId = NOBODY
    """Who got this replica's vote in that term."""
    commit: int = 0
    """Highest index known to be committed; may lag on disk without harm."""


def natural(value: object) -> int:
    """The value, if it is an integer from 0 to `INTEGER_MAX`; else ProtocolError. Booleans are no integers here."""
    if type(value) is not int or not 0 <= value <= INTEGER_MAX:
        raise ProtocolError("expected a natural number of at most 63 bits")
    return value


def check_naturals(values: tuple[Any, ...]) -> None:
    """Raises ProtocolError unless each is what `natural` takes: one look at all of them is what a message of the log can afford."""
    if set(map(type, values)) != _ONLY_INT or min(values) < 0 or max(values) > INTEGER_MAX:
        for value in values:
            natural(value)


def known_term(value: object) -> int:
    """The value, if it is 0 or a term that elections can reach; else ProtocolError."""
    term = natural(value)
    if term > TERM_MAX:
        raise ProtocolError(f"expected a term up to {TERM_MAX}")
    return term
