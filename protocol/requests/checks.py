"""What bodies are judged by."""

from __future__ import annotations

from protocol.errors import ProtocolError
from protocol.ids import ID_BYTES


def expect(condition: bool, expected: str) -> None:
    """Raises ProtocolError, saying what was expected, unless the condition holds."""
    if not condition:
        raise ProtocolError(f"expected {expected}")


def is_id(value: object) -> bool:
    """16 bytes."""
    return type(value) is bytes and len(value) == ID_BYTES


def is_version(value: object) -> bool:
    """A log index, or 0 for none."""
    return type(value) is int and 0 <= value < 2**64


def is_limit(value: object) -> bool:
    """Minor units, or None for none."""
    return value is None or (type(value) is int and -(2**63) <= value < 2**63)


def is_count(value: object) -> bool:
    """An integer from 0."""
    return type(value) is int and 0 <= value < 2**63
