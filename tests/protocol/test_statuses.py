"""Statuses are numbers on the wire and names for people."""

from __future__ import annotations

from enum import IntEnum

import pytest

from protocol.status import AccountState, AccountStatus, AllowanceStatus, LockStatus, Status


@pytest.mark.parametrize("kind", [Status, AccountStatus, AllowanceStatus, LockStatus, AccountState])
def test_text_of_a_status_is_its_name(kind: type[IntEnum]) -> None:
    """Whichever way it becomes text; it still compares as a number."""
    for member in kind:
        assert str(member) == f"{member}" == f"{member:s}" == f"{member:>60}".strip() == member.name
        assert member == member.value and kind(int(member)) is member
