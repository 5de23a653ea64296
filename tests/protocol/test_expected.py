"""Every refusal says what would have passed."""

from __future__ import annotations

from protocol.expected import EXPECTED, EXPECTED_OF_ACCOUNT, EXPECTED_OF_LOCK
from protocol.status import AccountStatus, LockStatus, Status

DONE = {"created", "exists", "updated", "granted", "renewed", "released", "waiting"}
INTERNAL = {"elsewhere", "share_short", "undecided", "retry"}  # never the answer to a client


def test_what_would_have_passed_is_said() -> None:
    """But for what nodes settle among themselves."""
    silent = [status.name for status in Status if status not in EXPECTED]
    silent += [status.name for status in AccountStatus if status not in EXPECTED_OF_ACCOUNT]
    silent += [status.name for status in LockStatus if status not in EXPECTED_OF_LOCK]
    assert set(silent) == DONE | INTERNAL
