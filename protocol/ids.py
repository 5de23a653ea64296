"""Transfer ids: 128 bits that sort by time, as TigerBeetle advises.

The upper 48 bits are milliseconds since 1970, the lower 80 bits are random at the first id of a millisecond and count
up after it. So ids of one generator rise strictly, ids of two generators do not meet, and an index of ids only grows at
its end. They are names, not secrets: one id says what the next may be. On the wire an id is 16 bytes, big-endian, so
that bytes sort as the numbers do; as text it is 32 hexadecimal digits.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, NewType

import numpy as np

TransferId = NewType("TransferId", int)

ID_BYTES: Final = 16
ID_MAX: Final = 2**128 - 2  # 0 and 2**128 - 1 name nothing
RANDOM_BITS: Final = 80
TIME_MS_MAX: Final = 2**48 - 1  # the year 10889
TAKE_MAX: Final = 2**20  # ids at once; 16 MiB of them
_HEX = re.compile("[0-9a-fA-F]{32}")
_LOW_MASK: Final = 2**64 - 1


class IdGenerator:
    """Makes strictly rising ids.

    `now_ms()` gives milliseconds since 1970 and may go backwards; `random_bits(n)` gives an integer of n random bits
    (`secrets.randbits` serves). Not safe to share between threads.
    """

    __slots__ = ("_last", "_now_ms", "_random_bits")

    def __init__(self, now_ms: Callable[[], int], random_bits: Callable[[int], int]) -> None:
        self._now_ms = now_ms
        self._random_bits = random_bits
        self._last = 0

    def next(self) -> TransferId:
        """One new id."""
        return TransferId(self._reserve(1))

    def take(self, count: int) -> bytes:
        """`count` new ids, strictly rising, packed as 16 big-endian bytes each."""
        if not 1 <= count <= TAKE_MAX:
            raise ValueError(f"ids: expected a count of 1 to {TAKE_MAX}, got {count}")
        first = self._reserve(count)
        pairs = np.empty((count, 2), ">u8")
        first_low = np.uint64(first & _LOW_MASK)
        low = np.arange(count, dtype=np.uint64) + first_low
        pairs[:, 0] = np.uint64(first >> 64) + (low < first_low)
        pairs[:, 1] = low
        return pairs.tobytes()

    def _reserve(self, count: int) -> int:
        time_ms = self._now_ms()
        if not 0 <= time_ms <= TIME_MS_MAX:
            raise ValueError(f"ids: the clock shows {time_ms} ms, expected 0 to {TIME_MS_MAX}")
        first = self._last + 1
        if time_ms > self._last >> RANDOM_BITS:
            first = max(1, time_ms << RANDOM_BITS | self._random_bits(RANDOM_BITS))
        if first + count - 1 > ID_MAX:
            raise ValueError("ids: the generator has run out of ids")
        self._last = first + count - 1
        return first


def pack(id: int) -> bytes:
    """The 16 big-endian bytes of an id."""
    return id.to_bytes(ID_BYTES, "big")


def unpack(packed: bytes) -> TransferId:
    """The id in 16 big-endian bytes. Raises ValueError for another length."""
    if len(packed) != ID_BYTES:
        raise ValueError(f"id: expected {ID_BYTES} bytes, got {len(packed)}")
    return TransferId(int.from_bytes(packed, "big"))


def parse(text: str) -> TransferId:
    """The id of 32 hexadecimal digits. Raises ValueError for any other text."""
    if not _HEX.fullmatch(text):
        raise ValueError(f"id {text[:40]!r}: expected 32 hexadecimal digits")
    return TransferId(int(text, 16))


def format(id: int) -> str:
    """The 32 lower-case hexadecimal digits of an id."""
    return f"{id:032x}"
