"""What a caller may demand of a transfer, before anything is sent."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from protocol.client.guards import check_version, pack_guards
from protocol.columns import Transfers
from protocol.errors import ErrorCode, ProtocolError, Refused


@dataclass(frozen=True)
class Held:
    """Any object with these two is a lock."""

    name: str
    token: int


def test_columns() -> None:
    """One value for all rows, or a version a row; what is not demanded takes no place."""
    assert pack_guards(2, None, None, None) == (b"", "", b"", "")
    versions, names, tokens, commit = pack_guards(2, 7, Held("payroll", 9), "3pc")
    assert np.frombuffer(versions, "<u8").tolist() == [7, 7] and np.frombuffer(tokens, "<u8").tolist() == [9, 9]
    assert (names, commit) == ("payroll\npayroll", "3pc")
    assert np.frombuffer(pack_guards(3, [0, 2**64 - 2, 5], None, None)[0], "<u8").tolist() == [0, 2**64 - 2, 5]
    assert np.frombuffer(pack_guards(2, np.array([1, 0]), None, None)[0], "<u8").tolist() == [1, 0]  # type: ignore[arg-type]  # as good as a sequence
    assert pack_guards(1, np.int64(4), None, None)[0] == (4).to_bytes(8, "little")  # type: ignore[arg-type]  # as good as an int


@pytest.mark.parametrize(
    ("version", "lock", "commit", "expected"),
    [
        (0, None, None, "if_version 0: expected an integer of 1 to 18446744073709551614, or None for any"),
        (-1, None, None, "if_version -1: expected"), (2**64, None, None, "expected an integer of 1 to"),
        (1.0, None, None, "if_version 1.0: expected"), (True, None, None, "if_version True: expected"),
        ("7", None, None, "if_version"), ([1, 2], None, None, "if_version: expected 1 versions, one a row, got 2"),
        (2**64 - 1, None, None, f"expected an integer of 1 to {2**64 - 2}"),
        ([-1], None, None, "if_version -1: expected an integer of 0 to"),
        (None, Held("", 1), None, "lock name '': expected one line of 1 to 64 bytes"),
        (None, Held("a\nb", 1), None, "expected one line"), (None, Held("ö" * 33, 1), None, "1 to 64 bytes"),
        (None, Held("a", 0), None, "lock token 0: expected an integer of 1 to"), (None, Held("a", 2**64), None, "lock token"),
        (None, None, "4pc", "commit protocol '4pc': expected 2pc or 3pc"), (None, None, "", "commit protocol ''"),
    ],
)  # fmt: skip
def test_what_cannot_be(version: int | None, lock: Held | None, commit: str | None, expected: str) -> None:
    """A ProtocolError says what was expected."""
    with pytest.raises(ProtocolError) as raised:
        pack_guards(1, version, lock, commit)
    assert raised.value.code == ErrorCode.bad_request and expected in str(raised.value)


def test_a_version() -> None:
    """Accounts have versions from 1."""
    assert check_version(1) == 1
    with pytest.raises(ProtocolError):
        check_version(None)


def test_rows_with_a_lock() -> None:
    """Empty names are no locks."""
    batch = Transfers(bytes(32), "a\nb", "c\nd", bytes(16))
    assert not batch.has_lock
    assert not replace(batch, lock="\n", token=bytes(16)).has_lock
    assert replace(batch, lock="\npayroll", token=bytes(16)).has_lock


def test_a_refusal_names_the_version() -> None:
    """In its text and as a number."""
    refused = Refused("version_conflict", "the version that the account has now", 17)
    assert refused.version == 17
    assert str(refused) == "version_conflict: expected the version that the account has now, 17"
    assert Refused("insufficient_funds").version is None
