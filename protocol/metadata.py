"""Small typed metadata of a transfer: up to 8 keys, whose values are text, integers of 64 bits, true or false.

It travels, is kept and is compared as one text, its only one: JSON with the keys in the order of their UTF-8 bytes, no blanks, and no
escapes but those that JSON demands (RFC 8785 for such values). The empty text is none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from protocol.errors import BadArgument, ProtocolError
from protocol.status import (
    METADATA_KEY_BYTES_MAX,
    METADATA_KEYS_MAX,
    METADATA_TEXT_BYTES_MAX,
    TRANSFER_METADATA_BYTES_MAX,
)

Value = str | int | bool
Metadata = Mapping[str, Value]
EXPECTED = (
    f"at most {METADATA_KEYS_MAX} keys of 1 to {METADATA_KEY_BYTES_MAX} bytes, with text of up to {METADATA_TEXT_BYTES_MAX} bytes, "
    f"integers of 64 bits, true or false, {TRANSFER_METADATA_BYTES_MAX} bytes in all"
)


def pack(metadata: object) -> str:
    """Its one text. Raises ProtocolError(bad_request), saying what was expected."""
    if not isinstance(metadata, Mapping) or len(metadata) > METADATA_KEYS_MAX:
        raise _wrong(f"{metadata!r:.80}", f"a mapping of {EXPECTED}")
    for key, value in metadata.items():
        if not _is_text(key, METADATA_KEY_BYTES_MAX) or not key:
            raise _wrong(f"key {key!r:.80}", f"text of 1 to {METADATA_KEY_BYTES_MAX} bytes")
        if not _is_value(value):
            what = f"text of up to {METADATA_TEXT_BYTES_MAX} bytes, an integer of 64 bits, true or false"
            raise _wrong(f"{key} {value!r:.80}", what)
    text = _text_of(dict(metadata)) if metadata else ""
    if len(text.encode()) > TRANSFER_METADATA_BYTES_MAX:
        raise _wrong(f"of {len(text.encode())} bytes", f"at most {TRANSFER_METADATA_BYTES_MAX} bytes as JSON")
    return text


def unpack(text: str) -> dict[str, Value]:
    """What `pack` has packed."""
    return json.loads(text) if text else {}


def check(text: str) -> None:
    """Raises ProtocolError(bad_request) for a text that `pack` does not make."""
    if not text:
        return
    try:
        found = json.loads(text) if len(text) <= TRANSFER_METADATA_BYTES_MAX else None
        if isinstance(found, dict) and found and pack(found) == text:
            return
    except (ValueError, ProtocolError):
        pass
    raise _wrong(f"{text!r:.80}", f"an object in JSON, keys in order and no blanks, of {EXPECTED}")


def _text_of(metadata: dict[str, Value]) -> str:
    return json.dumps(metadata, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _is_text(value: object, bytes_max: int) -> bool:
    if not isinstance(value, str):
        return False
    try:
        return len(value.encode()) <= bytes_max
    except UnicodeEncodeError:
        return False


def _is_value(value: object) -> bool:
    is_number = type(value) is bool or (type(value) is int and -(2**63) <= value < 2**63)
    return is_number or _is_text(value, METADATA_TEXT_BYTES_MAX)


def _wrong(found: str, expected: str) -> BadArgument:
    return BadArgument(f"metadata {found}: expected {expected}")
