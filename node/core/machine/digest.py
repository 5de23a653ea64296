"""Digests of state, by which replicas are compared."""

from __future__ import annotations

from hashlib import blake2b

import msgpack


def digest_of(state: object, seed: int) -> int:
    """64 bits over what msgpack can pack, chained from the 64 bits of `seed`."""
    hashed = blake2b(seed.to_bytes(8, "big"), digest_size=8)
    hashed.update(msgpack.packb(state))
    return int.from_bytes(hashed.digest(), "big")
