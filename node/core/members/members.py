"""Group 0's part that knows which cluster this is and which data folder each node has."""

from __future__ import annotations

import msgpack

from node.core.machine import Answer, At, BasePart, Body, Change, Loaded, Need, Rows, digest_of
from node.core.members.table import MemberEvent, MemberTable

TABLE = "member"


def event_command(event: MemberEvent, node: int, data_id: int, identity: int) -> Body:
    """For `Members`: what has happened to a node's data folder; `identity` is the cluster's, where this may be its first."""
    return [event.value, node, data_id, identity]


def table_of(answer: Body) -> MemberTable:
    """The table that followed."""
    _, packed = answer
    return MemberTable.unpack(packed)


class Members(BasePart):
    """Commands: `[MemberEvent, node, data id, identity that the cluster gets if it has none]`.

    Each is answered by `["members", the packed table]`, in which the node's row says whether it had its way.
    """

    name = "members"
    tables: tuple[str, ...] = (TABLE,)

    def __init__(self) -> None:
        self.table = MemberTable()
        self._saved = self.table

    def apply(self, body: Body, at: At) -> Body:
        """Carries out an event, or nothing where it comes late or twice."""
        event, node, data_id, identity = body
        self.table = self.table.after(MemberEvent(event), node, data_id, identity)
        return ["members", self.table.pack()]

    def query(self, body: Body, loaded: Loaded) -> Answer | Need:
        """`["table"]`: the table, by a read that is linearizable."""
        assert body == ["table"], f"unknown question {body[:1]}"
        return Answer(["members", self.table.pack()])

    def totals(self) -> Body:
        """How many nodes have registered."""
        return [len(self.table.rows)]

    def digest(self, seed: int) -> int:
        """Over the whole table."""
        return digest_of(self.table.pack(), seed)

    def changes(self) -> list[Change]:
        """One row for all: it has as many numbers as the cluster has nodes."""
        if self.table is self._saved:
            return []
        self._saved = self.table
        return [Change(TABLE, 0, msgpack.packb(self.table.pack()))]

    def restore(self, rows: Rows) -> None:
        """Loads the table."""
        for _, packed in rows(TABLE):
            self.table = MemberTable.unpack(msgpack.unpackb(packed))
        self._saved = self.table
