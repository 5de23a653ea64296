"""The table of data folders: every pair of state and event, late and repeated commands, checkpoints."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from node.core.machine import Kind, Machine, pack_entry
from node.core.members import TRANSITIONS, Member, MemberEvent, Members, MemberState, MemberTable
from protocol.errors import ProtocolError

OLD, NEW = 11, 22
REACHED: dict[MemberState | None, list[tuple[MemberEvent, int]]] = {
    None: [],
    MemberState.member: [(MemberEvent.register, OLD)],
    MemberState.leaving: [(MemberEvent.register, OLD), (MemberEvent.leave, OLD)],
    MemberState.vacant: [(MemberEvent.register, OLD), (MemberEvent.leave, OLD), (MemberEvent.vacate, OLD)],
    MemberState.joining: [
        (MemberEvent.register, OLD), (MemberEvent.leave, OLD), (MemberEvent.vacate, OLD), (MemberEvent.register, NEW),
    ],
}  # fmt: skip


def reach(state: MemberState | None) -> MemberTable:
    """A table in which node 2 is in this state."""
    table = MemberTable().after(MemberEvent.register, 1, 5, 777)
    for event, data_id in REACHED[state]:
        table = table.after(event, 2, data_id, 999)
    return table


@pytest.mark.parametrize(("state", "event", "data_id"), list(product(REACHED, MemberEvent, [OLD, NEW, 33])))
def test_every_event_in_every_state(state: MemberState | None, event: MemberEvent, data_id: int) -> None:
    """Only what fits the transition and names the right folder changes anything, and only that row, by one version."""
    before = reach(state)
    after = before.after(event, 2, data_id, 999)
    known = before.rows[2].data_id if 2 in before.rows else None
    is_right = known is None or (data_id != known if event is MemberEvent.register else data_id == known)
    if (state, event) in TRANSITIONS and is_right:
        assert after.rows[2] == Member(data_id, TRANSITIONS[state, event])
        assert (after.version, after.identity, after.rows[1]) == (before.version + 1, 777, before.rows[1])
        assert after.after(event, 2, data_id, 999) is after, "a copy that comes late changes nothing"
    else:
        assert after is before


@pytest.mark.parametrize(
    ("state", "admitted"),
    [(MemberState.member, [OLD]), (MemberState.leaving, []), (MemberState.vacant, [NEW, 33]), (MemberState.joining, [NEW])],
)  # fmt: skip
def test_whom_a_row_admits(state: MemberState, admitted: list[int]) -> None:
    """A lost folder never again; a new one from the moment on when the groups have let the lost one go."""
    row = reach(state).rows[2]
    assert [data_id for data_id in (OLD, NEW, 33) if row.admits(data_id, is_new=True)] == admitted
    belonging = [] if state is MemberState.vacant else admitted
    assert [data_id for data_id in (OLD, NEW, 33) if row.admits(data_id, is_new=False)] == belonging


def test_the_first_folder_gives_the_cluster_its_identity() -> None:
    """Later ones bring identities that nobody takes."""
    table = reach(MemberState.joining)
    assert table.identity == 777


@pytest.mark.parametrize("state", list(REACHED))
def test_a_table_travels(state: MemberState | None) -> None:
    """Packed and unpacked it is the same; the empty list is the empty table."""
    table = reach(state)
    assert MemberTable.unpack(table.pack()) == table
    assert MemberTable.unpack([]) == MemberTable()


@pytest.mark.parametrize(
    "packed", [[1], [1, 2, 3], [1, 2, [[1, 2, 9]]], [1, 2, [[1, -2, 0]]], ["1", 2, []], [1, 2, [[1, None, 0]]]]
)
def test_nonsense_is_no_table(packed: list[object]) -> None:
    """It comes from outside: an error, never a half-read table."""
    with pytest.raises(ProtocolError):
        MemberTable.unpack(packed)


def test_the_table_outlives_a_checkpoint() -> None:
    """Replicas with equal logs have equal digests, and one that is loaded from a checkpoint as well."""
    machine, twin, loaded = (Machine([Members()]) for _ in range(3))
    told: list[Any] = []
    for index, (event, data_id) in enumerate(REACHED[MemberState.joining], 1):
        entry = pack_entry(index, 0, [[int(Kind.apply), "members", [event.value, 2, data_id, 777]]])
        ((name, told),), repeated = machine.apply(index, entry), twin.apply(index, entry)
        assert [[name, told]] == repeated and name == "members"
    rows: dict[str, dict[int, bytes]] = {table: {} for table in machine.tables}
    for change in machine.changes():
        assert change.value is not None
        rows[change.table][change.key] = change.value
    loaded.restore(lambda table: sorted(rows[table].items()))
    assert machine.digest() == twin.digest() == loaded.digest()
    part = loaded.parts["members"]
    assert isinstance(part, Members) and part.table == MemberTable.unpack(told)
