"""What a caller may demand of a transfer besides funds: a version, a lock, a commit protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from protocol.client.arguments import check_text, is_list, wrong
from protocol.columns import COMMIT_PROTOCOLS, FINAL_VERSION, SEPARATOR
from protocol.status import LOCK_NAME_BYTES_MAX

NUMBER_MAX = FINAL_VERSION - 1  # of versions and tokens


class Guards(NamedTuple):
    """Columns of a batch."""

    if_version: bytes
    lock: str
    token: bytes
    commit: str  # no column but one word


class Guard(Protocol):
    """A lock that is held: `client.lock` gives one, but any object with these two will do."""

    @property
    def name(self) -> str: ...
    @property
    def token(self) -> int: ...


def pack_guards(count: int, if_version: int | Sequence[int] | None, lock: Guard | None, commit: str | None) -> Guards:
    """Columns of `count` rows. Raises ProtocolError(bad_request), saying what was expected."""
    if commit is not None and commit not in COMMIT_PROTOCOLS:
        raise wrong(f"commit protocol {commit!r}: expected {' or '.join(COMMIT_PROTOCOLS)}, or None")
    versions = b"" if if_version is None else _pack_versions(count, if_version)
    if lock is None:
        return Guards(versions, "", b"", commit or "")
    if not (hasattr(lock, "name") and hasattr(lock, "token")):
        raise wrong(f"lock {lock!r}: expected one that `client.lock` gives, or an object with its name and token")
    names = SEPARATOR.join([_check_name(lock.name)] * count)
    return Guards(versions, names, _token(lock.token) * count, commit or "")


def check_version(version: object) -> int:
    """A version that an account can have."""
    return _check_number(version, "if_version", 1, "or None for any")


def _pack_versions(count: int, if_version: int | Sequence[int]) -> bytes:
    if not isinstance(if_version, (Sequence, np.ndarray)) or not is_list(if_version):
        return check_version(if_version).to_bytes(8, "little") * count
    if len(if_version) != count:
        raise wrong(f"if_version: expected {count} versions, one a row, got {len(if_version)}")
    checked = [_check_number(version, "if_version", 0, "0 for any") for version in if_version]
    return np.array(checked, "<u8").tobytes()


def _token(token: object) -> bytes:
    return _check_number(token, "lock token", 1, "as it was granted").to_bytes(8, "little")


def _check_number(number: object, name: str, least: int, more: str) -> int:
    if not isinstance(number, (int, np.integer)) or isinstance(number, bool) or not least <= number <= NUMBER_MAX:
        raise wrong(f"{name} {number!r}: expected an integer of {least} to {NUMBER_MAX}, {more}")
    return int(number)


def _check_name(name: object) -> str:
    size = len(name.encode(errors="replace")) if isinstance(name, str) else 0
    if not isinstance(name, str) or SEPARATOR in name or not 1 <= size <= LOCK_NAME_BYTES_MAX:
        raise wrong(f"lock name {str(name)[:80]!r}: expected one line of 1 to {LOCK_NAME_BYTES_MAX} bytes")
    return check_text(name, "lock name")
