"""What a body of the wrong shape gets."""

from __future__ import annotations

from typing import Any

import pytest

from node.core.ledger.operations import decode_update
from protocol.errors import ProtocolError

ID = b"0123456789abcdef"
WRONG: dict[str, tuple[dict[Any, Any], str]] = {
    "a limit that is a fraction": ({"minimum": 0.5}, "expected minimum as an integer of minor units, or null"),
    "a state that is none": ({"status": 3}, "expected status as 0, 1 or 2"),
    "an owner that is no text": ({"owner": b"ann"}, "expected owner as text"),
    "a version below 0": ({"if_version": -1}, "expected if_version as an integer of 0 to 2^64 - 1"),
    "a field that is none": ({"colour": "red"}, "expected a field of minimum, .*, if_version, not colour"),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_update_is_told_what_was_expected(name: str) -> None:
    """By the name of the field."""
    fields, expected = WRONG[name]
    with pytest.raises(ProtocolError, match=expected.replace("^", r"\^")):
        decode_update(["alice", fields, ID, b""])


@pytest.mark.parametrize(
    ("fields", "id", "after", "expected"),
    [
        ({}, b"short", b"", "an id of 16 bytes"),
        ({}, bytes(16), b"", "that are not all 0"),
        ({}, ID, None, "the id that it follows, or a version"),
        ({"if_version": 0}, ID, None, "the id that it follows, or a version"),
        ({}, ID, b"short", "the id that it follows, or a version"),
    ],
)
def test_an_update_without_identity_or_condition(
    fields: dict[Any, Any], id: bytes, after: object, expected: str
) -> None:
    """Late copies of it could not be told from new ones."""
    with pytest.raises(ProtocolError, match=expected):
        decode_update(["alice", fields, id, after])
    decode_update(["alice", {"if_version": 5}, ID, None])
