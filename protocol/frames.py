"""Frames: a body's length, its CRC32 and the body, and the strict reading of msgpack that bodies are made of.

A frame is `length` (4 bytes, big-endian), `crc32` (4 bytes, big-endian, the zlib polynomial over the body) and `length`
bytes of body. Whatever a peer sends, reading it either works or raises ProtocolError.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any, Final
from zlib import crc32

import msgpack

from protocol.errors import ErrorCode, ProtocolError

HEADER_BYTES: Final = 8
FRAME_BYTES_MAX: Final = 16 * 2**20  # a body between nodes: one append of the largest entries, or a piece of a snapshot
CLIENT_FRAME_BYTES_MAX: Final = 4 * 2**20  # a body from a client: a full batch with all columns at their longest
HELLO_FRAME_BYTES_MAX: Final = 8 * 2**10  # the first body of a connection, so that strangers cannot fill the memory
ARRAY_ITEMS_MAX: Final = 16_384  # twice the largest request; bounds what a forged array header makes us allocate
MAP_ITEMS_MAX: Final = 1_024  # maps carry named settings, never data
DEPTH_MAX: Final = 16  # bodies nest 6 deep; msgpack packs 511 levels only, and what was read must be packable again

_HEADER = struct.Struct(">II")

Buffer = bytes | bytearray | memoryview


def pack(value: object) -> bytes:
    """msgpack of lists, maps with text keys, text, bytes, integers, booleans and None. Raises ProtocolError for integers beyond 64 bits."""
    try:
        packed: bytes = msgpack.packb(value)
    except OverflowError as error:  # a sum, as all that comes from outside was within them
        text = "an integer beyond 64 bits: expected -2^63 to 2^64 - 1"
        raise ProtocolError(text, ErrorCode.bad_request) from error
    return packed


def unpack(body: Buffer) -> Any:
    """The value in a body. Raises ProtocolError(bad_message) for all but one sound value within the limits."""
    try:
        value = msgpack.unpackb(
            body, raw=False, strict_map_key=True, ext_hook=_refuse_extension,
            max_array_len=ARRAY_ITEMS_MAX, max_map_len=MAP_ITEMS_MAX, max_ext_len=0,
        )  # fmt: skip
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise ProtocolError(f"body is not msgpack within the limits: {error or type(error).__name__}") from error
    _check_depth(value)
    return value


def _refuse_extension(code: int, _data: bytes) -> object:
    raise ValueError(f"extension type {code}")


def _check_depth(value: object, levels: int = DEPTH_MAX) -> None:
    if type(value) is list:
        items: Iterable[object] = value
    elif type(value) is dict:
        items = value.values()
    else:
        return
    if not levels:
        raise ProtocolError(f"body nests deeper than {DEPTH_MAX} levels")
    for item in items:
        if type(item) is list or type(item) is dict:  # a call for each number would cost more than all else
            _check_depth(item, levels - 1)


def header(body: Buffer, limit_bytes: int = FRAME_BYTES_MAX) -> bytes:
    """The 8 bytes that go before a body, for a sender that does not want to copy it. Raises like `encode_body`."""
    if len(body) > limit_bytes:
        raise ProtocolError(f"frame of {len(body)} bytes: at most {limit_bytes}", ErrorCode.frame_too_large)
    return _HEADER.pack(len(body), crc32(body))


def encode_body(body: Buffer, limit_bytes: int = FRAME_BYTES_MAX) -> bytes:
    """The frame of a packed body. Raises ProtocolError(frame_too_large) beyond the limit."""
    return b"".join((header(body, limit_bytes), body))


def encode(value: object, limit_bytes: int = FRAME_BYTES_MAX) -> bytes:
    """The frame of a value that is still to be packed."""
    return encode_body(pack(value), limit_bytes)


class FrameDecoder:
    """Cuts a byte stream into bodies, whatever the pieces it arrives in.

    A frame that lies within one piece is handed out as a view of it, any other is copied once. `limit_bytes` may be
    raised between pieces, when a handshake has succeeded. After an error the stream has no known boundary any more, so
    every later call raises the same error; whole frames of the piece that held the error are dropped with it.
    """

    __slots__ = ("_body", "_crc", "_error", "_head", "_length", "limit_bytes")

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._head = b""  # the beginning of a header
        self._length = -1  # of the body under way, -1 while the header is not complete
        self._crc = 0
        self._body = bytearray()
        self._error: ProtocolError | None = None

    @property
    def is_between_frames(self) -> bool:
        """Whether everything fed so far was whole frames: how a clean end of the stream is told from a cut."""
        return self._length < 0 and not self._head and self._error is None

    @property
    def held_bytes(self) -> int:
        """Of a body whose end has not come yet."""
        return len(self._body)

    def feed(self, piece: bytes) -> list[memoryview]:
        """Bodies completed by this piece, which must not change afterwards.

        Raises ProtocolError with the code bad_frame (checksum) or frame_too_large.
        """
        if self._error is not None:
            raise self._error
        try:
            return self._cut(memoryview(piece))
        except ProtocolError as error:
            self._error = error
            self._body = bytearray()
            raise

    def _cut(self, piece: memoryview) -> list[memoryview]:
        bodies: list[memoryview] = []
        position, end = 0, len(piece)
        while True:
            if self._length < 0:
                position = self._read_header(piece, position)
                if self._length < 0:
                    return bodies
            missing = self._length - len(self._body)
            if end - position < missing:
                self._body += piece[position:]
                return bodies
            rest = piece[position : position + missing]
            position += missing
            bodies.append(self._complete(rest))

    def _read_header(self, piece: memoryview, position: int) -> int:
        """Reads a header where there is one whole; the position behind what was read."""
        if self._head or len(piece) - position < HEADER_BYTES:
            taken = min(HEADER_BYTES - len(self._head), len(piece) - position)
            self._head += piece[position : position + taken]
            if len(self._head) < HEADER_BYTES:
                return position + taken
            self._length, self._crc = _HEADER.unpack(self._head)
            self._head = b""
        else:
            taken = HEADER_BYTES
            self._length, self._crc = _HEADER.unpack_from(piece, position)
        if self._length > self.limit_bytes:
            raise ProtocolError(
                f"frame of {self._length} bytes: at most {self.limit_bytes} here", ErrorCode.frame_too_large
            )
        return position + taken

    def _complete(self, rest: memoryview) -> memoryview:
        body = rest
        if self._body:
            self._body += rest
            body = memoryview(self._body)
            self._body = bytearray()
        if crc32(body) != self._crc:
            raise ProtocolError(f"frame of {self._length} bytes: checksum does not match", ErrorCode.bad_frame)
        self._length = -1
        return body
