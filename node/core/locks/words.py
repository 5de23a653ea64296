"""What can be said to the locks: the actions, their rows, and which of them are refused at sight."""

from __future__ import annotations

from enum import StrEnum, unique

from node.core.machine import Body
from protocol.names import is_shown
from protocol.status import LOCK_NAME_BYTES_MAX, LOCK_TTL_MS_MAX, LOCK_TTL_MS_MIN, LockStatus


@unique
class LockAction(StrEnum):
    """The first item of an operation `[action, name, claim, owner, ttl_ms, token, age_ns, ticket]`."""

    acquire = "acquire"  # get the lock, or stand in its queue
    get_at_once = "try"  # get the lock, or be refused
    renew = "renew"  # the lease begins anew, with another time to live unless that is 0
    release = "release"  # give the lock back, or stop waiting for it


def refusal(operation: Body) -> LockStatus | None:
    """Why an operation is refused whatever the state of the lock, if it is."""
    action, name, _, _, ttl_ms, *_ = operation
    if not name:
        return LockStatus.lock_name_must_not_be_empty
    if len(name.encode()) > LOCK_NAME_BYTES_MAX:
        return LockStatus.lock_name_too_long
    if not is_shown(name, spaces=True):
        return LockStatus.lock_name_has_invalid_characters
    takes_ttl = action in (LockAction.acquire, LockAction.get_at_once) or (action == LockAction.renew and ttl_ms != 0)
    if takes_ttl and not LOCK_TTL_MS_MIN <= ttl_ms <= LOCK_TTL_MS_MAX:
        return LockStatus.lock_ttl_out_of_range
    return None
