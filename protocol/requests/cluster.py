"""What is asked of the cluster as a whole, or of one node."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum, unique

from protocol.errors import ProtocolError
from protocol.operations import Body
from protocol.placement import NODES_MAX
from protocol.requests.checks import expect

SLOW_DISK_MS_MAX = 60_000  # a write that takes longer is as good as a disk that stands still


@dataclass(frozen=True, slots=True)
class EmptyRequest:
    """Of `cluster`, `audit` and `undecided`, to which there is nothing to add."""

    def pack(self) -> Body:
        """`[]`."""
        return []

    @classmethod
    def unpack(cls, body: Body) -> EmptyRequest:
        """From what `pack` gives."""
        expect(body == [], "an empty body")
        return cls()


@dataclass(frozen=True, slots=True)
class ReplaceRequest:
    """Brings a node back whose data folder is lost."""

    node: int
    data_id: int = 0  # of the folder; 0 to ask only how far it is

    def pack(self) -> Body:
        """`[node, data id]`."""
        return [self.node, self.data_id]

    @classmethod
    def unpack(cls, body: Body) -> ReplaceRequest:
        """From what `pack` gives."""
        expect(len(body) == 2 and all(type(number) is int for number in body), "[node, data id]")
        node, data_id = body
        expect(0 < node <= NODES_MAX and 0 <= data_id < 2**63, f"a node of 1 to {NODES_MAX}, and a data id from 0")
        return cls(node, data_id)


@unique
class FaultKind(StrEnum):
    """What can be broken on purpose."""

    cut = "cut"  # these nodes and this one hear nothing of each other
    mute = "mute"  # these nodes hear nothing of this one
    slow_disk = "slow_disk"  # every write of the log takes so much longer
    heal = "heal"  # all is well again


@dataclass(frozen=True, slots=True)
class FaultRequest:
    """Breaks something of a node."""

    kind: FaultKind
    nodes: tuple[int, ...] = ()  # of `cut` and `mute`
    ms: int = 0  # of `slow_disk`

    def pack(self) -> Body:
        """`["cut", [node id, ...]]`, `["mute", [node id, ...]]`, `["slow_disk", milliseconds]` or `["heal"]`."""
        match self.kind:
            case FaultKind.cut | FaultKind.mute:
                return [self.kind.value, [*self.nodes]]
            case FaultKind.slow_disk:
                return [self.kind.value, self.ms]
            case FaultKind.heal:
                return [self.kind.value]

    @classmethod
    def unpack(cls, body: Body) -> FaultRequest:
        """From what `pack` gives."""
        match body:
            case [FaultKind.heal]:
                return cls(FaultKind.heal)
            case [FaultKind.cut | FaultKind.mute as kind, list(nodes)] if all(map(_is_node, nodes)):
                return cls(FaultKind(kind), tuple(nodes))
            case [FaultKind.slow_disk, int(ms)] if 0 <= ms <= SLOW_DISK_MS_MAX and type(ms) is int:
                return cls(FaultKind.slow_disk, ms=ms)
        links = '["cut", [node id, ...]], ["mute", [node id, ...]]'
        raise ProtocolError(f'expected {links}, ["slow_disk", 0 to {SLOW_DISK_MS_MAX}] or ["heal"]')


def _is_node(value: object) -> bool:
    return type(value) is int and value > 0
