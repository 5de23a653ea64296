"""Valid messages of every kind, and what a hostile program makes of them."""

from __future__ import annotations

import struct
import zlib
from random import Random
from typing import Any

import msgpack

from protocol.columns import Flag
from protocol.messages import NEVER_MS, PROTOCOL_VERSION, Kind

IDS = [number.to_bytes(16, "big") for number in range(1, 4)]
NASTY: list[Any] = [
    None, True, False, 0, 1, -1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**64 - 1, -(2**31), -(2**63), 1.5, float("nan"),
    float("inf"), "", "\n", "a\nb", "\x00", "\x1b[2J", "{}", "{x}", "é" * 300, "x" * 5_000, "\u202e", "EUR", b"", b"\x00" * 16,
    b"\xff" * 16, b"\xff" * 17, b"x" * 2_000, [], [[]], {}, {"status": 9}, {"minimum": 2**63}, {"a": {"b": []}}, [None] * 300,
    msgpack.ExtType(1, b"x"), msgpack.Timestamp(1),
]  # fmt: skip
PLACEMENT: list[Any] = [1, 1, [[1, "h", 1]], [[1], [1]]]


def nested(depth: int) -> list[Any]:
    """Lists in lists."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def bodies() -> dict[str, list[Any]]:
    """A valid body for every operation."""
    columns: list[Any] = [b"".join(IDS[:2]), "a\nb", "b\na", struct.pack("<2q", 5, 6)]
    full = [
        *columns, struct.pack("<2H", Flag.linked, 0), struct.pack("<2I", 1, 2), "r\ns", bytes(32), bytes(8),
    ]  # fmt: skip
    return {
        "accounts": [["m1", "EUR", 0, None, "owner", b"meta"], ["m2", "EUR", None, 5, "", b""]],
        "update": ["a", {"minimum": -5, "owner": "o", "metadata": b"x", "status": 0, "maximum": None}, IDS[0], b""],
        "transfers": columns,
        "transfers ": full,
        "outcome": [IDS[0], "a"],
        "balances": ["a", "b", "nobody"],
        "history": ["a", None, 10, True],
        "transfer": [IDS[0], "a"],
        "find": [IDS[0]],
        "cluster": [],
        "audit": [],
        "machine": [[0, "ledger", ["accounts", []]]],
        "mark": ["m"],
    }


def messages() -> list[list[Any]]:
    """A valid message of every kind, as the list that travels."""
    requests = [
        [int(Kind.request), 7, name.strip(), -1, NEVER_MS, 0, body]
        for name, body in bodies().items()
        if name != "audit"
    ]
    raft: list[Any] = [0, 1, 2, 3, 0, 0, 0, [], 0, 0, 0, None]
    return [
        *requests,
        [int(Kind.hello), PROTOCOL_VERSION, "", "client", 0, "", 0],
        [int(Kind.hello), PROTOCOL_VERSION, "", "peer", 2, "", 1],
        [int(Kind.welcome), 1, "c", 1, 3, PLACEMENT, [0, 1], 1_000, 10, [], 5],
        [int(Kind.reply), 7, [], 5],
        [int(Kind.failure), 7, "busy", "text", 5, 0, False, 5],
        [int(Kind.placed), PLACEMENT, [1, 1], []],
        [int(Kind.raft), [[1, raft]]],
        [int(Kind.snapshot_piece), 1, 9, 5, 1, 0, True, b"data", 0],
        [int(Kind.snapshot_ack), 1, 9, 0, True, 0],
        [int(Kind.goodbye), "bye"],
    ]


def frame(body: bytes) -> bytes:
    """A sound frame of any body."""
    return struct.pack(">II", len(body), zlib.crc32(body)) + body


def pack(value: Any) -> bytes:
    """msgpack, of things that no sound client sends too."""
    packed: bytes = msgpack.packb(value)
    return packed


def mutate_value(random: Random, value: Any, depth: int = 0) -> Any:
    """Changes something somewhere inside."""
    if isinstance(value, dict) and value and random.random() < 0.8:
        copy = dict(value)
        key = random.choice(list(copy))
        copy[random.choice([key, key, "nothing", ""])] = mutate_value(random, copy[key], depth + 1)
        return copy
    if not isinstance(value, list) or not value or random.random() < 0.1:
        return mutate_leaf(random, value)
    copy_list = list(value)
    place = random.randrange(len(copy_list))
    match random.randrange(10):
        case 0:
            del copy_list[place]
        case 1:
            copy_list.insert(place, random.choice(NASTY))
        case 2:
            other = random.randrange(len(copy_list))
            copy_list[place], copy_list[other] = copy_list[other], copy_list[place]
        case 3:
            copy_list[place] = nested(random.choice([3, 14, 40, 400]))
        case _:
            copy_list[place] = mutate_value(random, copy_list[place], depth + 1)
    return copy_list


def mutate_leaf(random: Random, value: Any) -> Any:
    """Another value, sometimes of the same type."""
    if isinstance(value, bytes) and value and random.random() < 0.5:
        changed = bytearray(value)
        changed[random.randrange(len(changed))] = random.choice([0, 127, 128, 255])
        return bytes(changed[: random.choice([len(changed), len(changed), len(changed) - 1])])
    if isinstance(value, str) and random.random() < 0.4:
        return random.choice([value + "\n", value + "\x00", "\r" + value, value * 200, "~" + value])
    return random.choice(NASTY)


def mutate_bytes(random: Random, whole: bytes) -> bytes:
    """Damages a frame on its way."""
    changed = bytearray(whole)
    match random.randrange(7):
        case 0:
            changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
        case 1:
            del changed[random.randrange(1, len(changed)) :]
        case 2:
            first, second = (random.randrange(len(changed)) for _ in range(2))
            changed[first], changed[second] = changed[second], changed[first]
        case 3:
            changed[:4] = struct.pack(
                ">I", random.choice([0, 1, len(whole) - 9, len(whole), 2**16, 2**24, 2**31, 2**32 - 1])
            )
        case 4:
            changed += random.randbytes(random.randrange(1, 40))
        case 5:
            return frame(bytes(changed[8:-1]) + random.randbytes(1))  # a sound checksum over damaged msgpack
        case _:
            body = bytearray(changed[8:])
            body[random.randrange(len(body))] ^= 1 << random.randrange(8)
            return frame(bytes(body))
    return bytes(changed)
