"""The ledger's bounds and the codes that its columns hold. Names, not numbers, are what the other modules use."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Int64s = NDArray[np.int64]
Int32s = NDArray[np.int32]
Keys = NDArray[np.uint64]
Marks = NDArray[np.bool_]
Codes = NDArray[np.uint8]
Positions = NDArray[np.intp]

BALANCE_BOUND = 2**62  # sums that are proven to stay below it can be added to any balance
NO_MINIMUM = -BALANCE_BOUND  # of posted - held: an account without a floor still ends where arithmetic does
NO_MAXIMUM = BALANCE_BOUND - 1  # of posted + incoming; so neither held nor incoming can exceed 2^63 - 1
PAGE_ACCOUNTS = 1_024  # accounts a checkpoint page: 64 kB of balances, a good size for one stored row
SEGMENT_TRANSFERS = 8_192  # transfers a sealed segment: a full request, about half a megabyte as a stored row
WINDOW_SEGMENTS = 4  # sealed segments in memory: 32,768 transfers may be in flight between resolve and apply
SMALL_BATCH = 8  # below it a plain loop beats the fixed cost of columns
RECENT_MAX = 512  # ids kept in a dictionary before they become a sorted array
INTERVALS = 4  # key ranges kept of an old segment; more than one, so that a few odd ids do not stretch its range
POSITION_BITS = 20  # of a place in the record, behind its segment: more than a segment's positions
MANY_LOOKUPS = 16  # from here on a dictionary of a segment's ids is cheaper than scans

CREDIT_LEG = 0x8000  # flag bit of a history row whose id belongs to another shard: not found by id
STATE_SHIFT = 16  # of `currency_and_state`: the code below, the state above; equal ones below 1 << 16 may trade
CURRENCY_MASK = 0xFFFF
NO_CURRENCY = 0xFFFF  # the code of letters that are no currency: above that of ZZZ
NOT_HERE = -1  # row of an account that was not found
NANOSECONDS = 1_000_000_000


class Side(IntEnum):
    """Which of a leg's accounts live in this shard."""

    debit = 1
    credit = 2
    both = 3


DEBIT, CREDIT, BOTH = int(Side.debit), int(Side.credit), int(Side.both)  # numpy is slow with members of an enum


def currency_code(currency: str) -> int:
    """A number above 0 for three capital letters: the same in every shard, and it fits 16 bits."""
    first, second, third = (ord(letter) - 65 for letter in currency)
    return (first * 26 + second) * 26 + third + 1


def currency_codes(letters: bytes) -> bytes:
    """The code of each three letters, uint16: 0 for three zero bytes, `NO_CURRENCY` for what is no three capital letters."""
    if not letters.strip(b"\0"):
        return b""
    numbers = np.frombuffer(letters, np.uint8).reshape(-1, 3).astype(np.int32) - 65
    codes = (numbers[:, 0] * 26 + numbers[:, 1]) * 26 + numbers[:, 2] + 1
    codes[((numbers < 0) | (numbers >= 26)).any(axis=1)] = NO_CURRENCY
    codes[(numbers == -65).all(axis=1)] = 0
    return codes.astype(np.uint16).tobytes()


def currency_text(code: int) -> str:
    """The three letters of a currency code."""
    rest = code - 1
    return "".join(chr(65 + letter) for letter in (rest // 676, rest // 26 % 26, rest % 26))
