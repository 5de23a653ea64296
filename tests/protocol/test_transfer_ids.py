"""Transfer ids: order, packing and text."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import ids
from protocol.ids import ID_MAX, IdGenerator


def unpacked(packed: bytes) -> list[int]:
    return [ids.unpack(packed[start : start + 16]) for start in range(0, len(packed), 16)]


@given(
    st.lists(st.tuples(st.integers(0, 2**48 - 1), st.integers(1, 50)), min_size=1, max_size=20),
    st.sampled_from([0, 1, 2**64 - 3, 2**80 - 2, 2**80 - 1]),
)
def test_ids_rise_whatever_the_clock_does(steps: list[tuple[int, int]], random_value: int) -> None:
    """Single ids and columns of one generator rise strictly, over carries and a clock that goes back."""
    now_ms = 0
    generator = IdGenerator(lambda: now_ms, lambda _bits: random_value)
    seen = [0]
    for now_ms, count in steps:
        try:
            seen.append(generator.next())
            seen += unpacked(generator.take(count))
        except ValueError:
            assert now_ms >= 2**48 - 1 or seen[-1] >> 80 >= 2**48 - 1  # only the last millisecond of all can run out
            break
    assert all(left < right for left, right in pairwise(seen))
    assert seen[-1] <= ID_MAX


def test_time_stands_in_front() -> None:
    """The upper 48 bits are the clock, the rest is as random as its source."""
    source = random.Random(7)
    generator = IdGenerator(lambda: 1_730_000_000_000, source.getrandbits)
    first = generator.next()
    assert first >> 80 == 1_730_000_000_000
    assert first & (2**80 - 1) == random.Random(7).getrandbits(80)
    assert unpacked(generator.take(3)) == [first + 1, first + 2, first + 3]


def test_zero_is_never_made() -> None:
    """A clock at zero without any random bits still gives a valid id."""
    assert IdGenerator(lambda: 0, lambda _bits: 0).next() == 1


def test_refusals() -> None:
    """A clock outside 48 bits, an exhausted generator and a silly count are told."""
    with pytest.raises(ValueError, match="clock"):
        IdGenerator(lambda: 2**48, lambda _bits: 0).next()
    last = IdGenerator(lambda: 2**48 - 1, lambda _bits: 2**80 - 2)
    assert last.next() == ID_MAX
    with pytest.raises(ValueError, match="run out"):
        last.next()
    with pytest.raises(ValueError, match="count"):
        last.take(0)


@given(st.integers(0, 2**128 - 1))
def test_bytes_and_text_round_trip(id: int) -> None:
    """An id survives both of its forms."""
    assert ids.unpack(ids.pack(id)) == id
    assert ids.parse(ids.format(id)) == id
    assert ids.parse(ids.format(id).upper()) == id


@pytest.mark.parametrize("text", ["", "0" * 31, "0" * 33, "g" * 32, "0x" + "0" * 30, " " + "0" * 31, "٠" * 32])
def test_refused_texts(text: str) -> None:
    """Only 32 hexadecimal digits are an id."""
    with pytest.raises(ValueError, match="32 hexadecimal digits"):
        ids.parse(text)


def test_refused_bytes() -> None:
    """Only 16 bytes are an id."""
    with pytest.raises(ValueError, match="16 bytes"):
        ids.unpack(b"123")
