"""The layout of a log entry: `[FORM, timestamp_ns, elapsed_ns, [request, ...]]` in msgpack. See the package for what each request means."""

from __future__ import annotations

import msgpack

from node.core.machine.operation import Body

# Of entries and checkpoints of all parts: raised when any of them changes, or what applying one does. Below 128, so that it takes one byte.
FORM = 6
FORM_PLACE = 1  # behind the byte that says that four items follow


class UnknownForm(Exception):
    """An entry or a checkpoint that another version of this program has written: nothing of it may be taken, or acknowledged."""

    def __init__(self, found: int) -> None:
        age = "newer" if found > FORM else "older"
        super().__init__(
            f"written by a version of ringpay that is {age} (form {found} of entries, this one knows {FORM})"
        )


def pack_entry(timestamp_ns: int, elapsed_ns: int, requests: list[Body]) -> bytes:
    """The bytes of an entry."""
    packed: bytes = msgpack.packb([FORM, timestamp_ns, elapsed_ns, requests])
    return packed


def check_form(data: bytes) -> None:
    """Raises UnknownForm unless the entry is of this form, or empty."""
    if data and data[FORM_PLACE] != FORM:
        raise UnknownForm(data[FORM_PLACE])


def unpack_entry(data: bytes) -> tuple[int, int, list[Body]]:
    """Both times and the requests of an entry that `pack_entry` made."""
    _, timestamp_ns, elapsed_ns, requests = msgpack.unpackb(data, max_bin_len=len(data), max_str_len=len(data))
    return timestamp_ns, elapsed_ns, requests
