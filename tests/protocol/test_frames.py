"""Frames and the strict reading of msgpack."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import frames
from protocol.errors import ErrorCode, ProtocolError
from protocol.frames import FrameDecoder

LIMIT_BYTES = 4_096
BODIES = st.lists(st.binary(max_size=300), min_size=1, max_size=5)


def feed_all(pieces: list[bytes]) -> list[bytes]:
    decoder = FrameDecoder(LIMIT_BYTES)
    bodies = [bytes(body) for piece in pieces for body in decoder.feed(piece)]
    assert decoder.is_between_frames
    return bodies


@given(BODIES, st.data())
def test_any_cutting_gives_the_same_bodies(bodies: list[bytes], data: st.DataObject) -> None:
    """Where the stream is cut makes no difference."""
    stream = b"".join(map(frames.encode_body, bodies))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert feed_all(pieces) == bodies


@given(BODIES)
def test_byte_at_a_time(bodies: list[bytes]) -> None:
    """A stream that drips is read like any other."""
    stream = b"".join(map(frames.encode_body, bodies))
    assert feed_all([stream[place : place + 1] for place in range(len(stream))]) == bodies


@given(st.binary(min_size=1, max_size=200), st.data())
def test_each_flipped_bit_is_seen(body: bytes, data: st.DataObject) -> None:
    """A flipped bit never gives another body: an error, or a frame that stays open because its length grew."""
    frame = bytearray(frames.encode_body(body))
    place = data.draw(st.integers(0, len(frame) * 8 - 1))
    frame[place // 8] ^= 1 << place % 8
    decoder = FrameDecoder(LIMIT_BYTES)
    try:
        assert decoder.feed(bytes(frame)) == []
        assert not decoder.is_between_frames
    except ProtocolError as error:
        assert error.code in (ErrorCode.bad_frame, ErrorCode.frame_too_large)


def test_errors_last_and_name_their_code() -> None:
    """After an error the decoder gives the same one for ever."""
    decoder = FrameDecoder(10)
    with pytest.raises(ProtocolError) as first:
        decoder.feed(frames.encode_body(b"x" * 11))
    assert first.value.code == ErrorCode.frame_too_large
    with pytest.raises(ProtocolError) as second:
        decoder.feed(frames.encode_body(b"fine"))
    assert second.value is first.value
    assert not decoder.is_between_frames
    with pytest.raises(ProtocolError) as third:
        FrameDecoder(10).feed(bytes(4) + b"\1" * 4)
    assert third.value.code == ErrorCode.bad_frame


def test_limit_is_exact_and_can_be_raised() -> None:
    """A body of exactly the limit passes; a handshake that succeeded may raise the limit."""
    decoder = FrameDecoder(10)
    assert [bytes(body) for body in decoder.feed(frames.encode_body(b"x" * 10))] == [b"x" * 10]
    decoder.limit_bytes = 11
    assert len(decoder.feed(frames.encode_body(b"x" * 11))) == 1


def test_a_sender_keeps_to_the_limit() -> None:
    """A frame that nobody would accept is not made."""
    with pytest.raises(ProtocolError) as caught:
        frames.encode_body(b"x" * 11, 10)
    assert caught.value.code == ErrorCode.frame_too_large
    assert frames.header(b"abc") + b"abc" == frames.encode_body(b"abc")
    assert frames.encode([1]) == frames.encode_body(b"\x91\x01")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=15,
)


@given(VALUES)
def test_value_round_trip(value: object) -> None:
    """What may travel arrives as it was."""
    assert frames.unpack(frames.pack(value)) == value


@given(st.binary(max_size=200))
def test_garbage_gives_protocol_error_only(body: bytes) -> None:
    """Random bytes are a value or a ProtocolError(bad_message), and a value can be packed again."""
    try:
        value = frames.unpack(body)
    except ProtocolError as error:
        assert error.code == ErrorCode.bad_message
    else:
        frames.pack(value)


BAD_BODIES = {
    "empty": b"",
    "extra bytes": b"\xc0\xc0",
    "cut": b"\x92\x01",
    "reserved byte": b"\xc1",
    "invalid UTF-8": b"\xa2\xff\xfe",
    "surrogate": b"\xa3\xed\xa0\x80",
    "list as a key": b"\x81\x90\x01",
    "number as a key": b"\x81\x01\x01",
    "map as a key": b"\x81\x80\x01",
    "extension": b"\xd4\x05\x00",
    "empty extension": b"\xc7\x00\x05",
    "timestamp": b"\xd6\xff\x00\x00\x00\x00",
    "empty timestamp": b"\xc7\x00\xff",
    "forged list header": b"\xdd\xff\xff\xff\xff",
    "forged map header": b"\xdf\xff\xff\xff\xff",
    "forged bytes header": b"\xc6\xff\xff\xff\xff",
    "forged text header": b"\xdb\xff\xff\xff\xff",
    "nested forged headers": b"\xdc\x3f\xff" * 1_000,
    "nested too deep": b"\x91" * 17 + b"\xc0",
    "nested far too deep": b"\x91" * 100_000,
    "nested maps": b"\x81\xa0" * 17 + b"\xc0",
    "long list": b"\xdd\x00\x00\x40\x01" + b"\xc0" * 16_385,
}


@pytest.mark.parametrize("name", BAD_BODIES)
def test_bad_bodies(name: str) -> None:
    """Each way to break the rules of values is refused as a bad message."""
    with pytest.raises(ProtocolError) as caught:
        frames.unpack(BAD_BODIES[name])
    assert caught.value.code == ErrorCode.bad_message


def test_depth_limit_is_exact() -> None:
    """16 levels pass."""
    assert frames.unpack(b"\x91" * 16 + b"\xc0")
    assert frames.unpack(msgpack.packb([[1, 2], {"a": [3]}])) == [[1, 2], {"a": [3]}]
