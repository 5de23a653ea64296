"""The table of data folders as a value: what the part decides and what nodes tell each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum, StrEnum, unique
from typing import Any, Final

from protocol.errors import ProtocolError


@unique
class MemberState(IntEnum):
    """What a row of the table says of a node's folder."""

    member = 0  # it belongs to the number
    leaving = 1  # it is lost, and the node's groups are removing the node
    vacant = 2  # they have: another folder may register
    joining = 3  # another one has, and the groups are taking it in


@unique
class MemberEvent(StrEnum):
    """What can happen to a row; also the name of the command."""

    register = "register"
    leave = "leave"
    vacate = "vacate"
    settle = "settle"


TRANSITIONS: Final[dict[tuple[MemberState | None, MemberEvent], MemberState]] = {
    (None, MemberEvent.register): MemberState.member,
    (MemberState.member, MemberEvent.leave): MemberState.leaving,
    (MemberState.leaving, MemberEvent.vacate): MemberState.vacant,
    (MemberState.vacant, MemberEvent.register): MemberState.joining,
    (MemberState.joining, MemberEvent.leave): MemberState.leaving,
    (MemberState.joining, MemberEvent.settle): MemberState.member,
}
"""No row at all is None. Any other pair changes nothing: commands come late and twice."""


@dataclass(frozen=True, slots=True)
class Member:
    """A node's row."""

    data_id: int  # names its folder; while the row is vacant, the one that was lost
    state: MemberState

    def admits(self, data_id: int, *, is_new: bool) -> bool:
        """Whether a node with this folder, which is new or belongs to the cluster already, may be spoken with.

        For a vacant number only a new one comes into question: others are lost ones that somebody has put back.
        """
        if self.state is MemberState.vacant:
            return is_new and data_id != self.data_id
        return data_id == self.data_id and self.state is not MemberState.leaving


@dataclass(frozen=True, slots=True)
class MemberTable:
    """The identity of the cluster and its nodes' folders; a higher version is newer."""

    version: int = 0
    identity: int = 0
    rows: Mapping[int, Member] = field(default_factory=dict)  # by node

    def after(self, event: MemberEvent, node: int, data_id: int, fresh_identity: int = 0) -> MemberTable:
        """The table after an event; itself where the event changes nothing. The first one gives the cluster its identity."""
        row = self.rows.get(node)
        state = TRANSITIONS.get((row.state if row else None, event))
        wants_known = event is not MemberEvent.register
        if state is None or (row is not None and (row.data_id == data_id) != wants_known):
            return self
        rows = {**self.rows, node: Member(data_id, state)}
        return replace(self, version=self.version + 1, identity=self.identity or fresh_identity, rows=rows)

    def pack(self) -> list[Any]:
        """`[version, identity, [[node, data id, state], ...]]`."""
        return [self.version, self.identity, [[node, row.data_id, int(row.state)] for node, row in self.rows.items()]]

    @staticmethod
    def unpack(packed: list[Any]) -> MemberTable:
        """The inverse of `pack`; nothing is the empty table. Raises ProtocolError on any other shape."""
        try:
            version, identity, rows = packed or [0, 0, []]
            found = {node: Member(data_id, MemberState(state)) for node, data_id, state in rows}
            numbers = [version, identity, *found, *(row.data_id for row in found.values())]
        except (TypeError, ValueError) as error:
            raise ProtocolError("expected a table of members") from error
        if any(type(number) is not int or number < 0 for number in numbers):
            raise ProtocolError("expected natural numbers in the table of members")
        return MemberTable(version, identity, found)
