"""Where accounts live: the ring's hash, and the table that says which nodes hold which group.

An account id is hashed to a 32-bit point. The ring is cut into `shards` equal arcs, counted from 1, so a point's shard is
`(point * shards >> 32) + 1`. A shard is replicated by the group of its number, and group 0 is the cluster's own: `called` is how
people are told of either. Where an id holds a `{tag}`, the tag alone is hashed, by Redis Cluster's rule: what stands between the
first `{` and the first `}` after it, unless that is nothing.

A split account has a share in every shard, and its *home* share is the one in the shard of its id. It pays from there, like any
account, and is paid in the payer's shard: `groups_of_transfers` is the one place that says so, for clients and nodes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from protocol.columns import Flag
from protocol.errors import ProtocolError

SHARDS_MAX: Final = 1_024  # each costs every node a group; beyond this a message of all groups would not fit a frame
NODES_MAX: Final = 256  # the table is sent to every client
HOST_CHARACTERS_MAX: Final = 253  # a DNS name
COORDINATOR: Final = 0  # the cluster's own group: its leader runs the commit rounds and keeps the locks
_SEPARATOR: Final = "\n"
_FEW: Final = 4  # ids, for which a column's overhead costs more than a call for each


def point(account_id: str) -> int:
    """The account's place on the ring, 0 to 2**32 - 1: CRC32, then the finaliser of MurmurHash3 (fmix32).

    CRC32 alone would place ids that differ in their last characters close together. Raises UnicodeEncodeError for text
    that has no UTF-8 form.
    """
    value = crc32(_hashed_part(account_id.encode()))
    value = (value ^ value >> 16) * 0x85EBCA6B & 0xFFFFFFFF
    value = (value ^ value >> 13) * 0xC2B2AE35 & 0xFFFFFFFF
    return value ^ value >> 16


def group_of(account_id: str, shards: int) -> int:
    """The account's shard, 1 to shards, which is the number of its group."""
    return (point(account_id) * shards >> 32) + 1


def groups_of(account_ids: Sequence[str], shards: int) -> NDArray[np.int32]:
    """The group of each account: `group_of`, for columns."""
    if len(account_ids) <= _FEW:
        return np.array([group_of(account_id, shards) for account_id in account_ids], np.int32)
    text = _SEPARATOR.join(account_ids)
    encoded = text.encode().split(b"\n")
    if len(encoded) != len(account_ids):  # an id with a line break, which no account has, or no ids at all
        encoded = [account_id.encode() for account_id in account_ids]
    if "{" in text:
        encoded = [  # `_hashed_part`, without a call for each id
            item[start:end] if (start := item.find(b"{") + 1) and (end := item.find(b"}", start)) > start else item
            for item in encoded
        ]
    value = np.fromiter(map(crc32, encoded), np.uint32, len(encoded))
    value ^= value >> np.uint32(16)
    value *= np.uint32(0x85EBCA6B)
    value ^= value >> np.uint32(13)
    value *= np.uint32(0xC2B2AE35)
    value ^= value >> np.uint32(16)
    scaled = value.astype(np.uint64) * np.uint64(shards) >> np.uint64(32)
    return scaled.astype(np.int32) + 1


def called(*groups: int) -> str:
    """As people are told: `shard 2`, `shards 2, 5`, `group 0` for the cluster's own, which is no shard."""
    shards = [str(group) for group in groups if group != COORDINATOR]
    names = ["group 0"] if COORDINATOR in groups else []
    if shards:
        names.append(f"{'shard' if len(shards) == 1 else 'shards'} {', '.join(shards)}")
    return " and ".join(names)


def groups_of_transfers(
    debits: Sequence[str],
    credits: Sequence[str],
    shards: int,
    split: Collection[str],
    flags: NDArray[np.uint16] | None = None,
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The groups of the debit and of the credit accounts. `split` holds the ids of the split accounts that are known.

    The group of the debit account is the scope of the transfer's id, split or not, so ledgers insist on it. A credit may go to
    any share: the one in the debit's group spares a round. But a reversal goes to the share that knows what it gives back: that of the
    account's own group. `flags` tells them, one a row; None where there are none.
    """
    groups = groups_of([*debits, *credits], shards)
    debit_groups, credit_groups = groups[: len(debits)], groups[len(debits) :]
    if split:
        near = np.fromiter((name in split for name in credits), np.bool_, len(credits))
        np.copyto(credit_groups, debit_groups, where=near if flags is None else near & ((flags & Flag.reversal) == 0))
    return debit_groups, credit_groups


def _hashed_part(encoded: bytes) -> bytes:
    before, brace, after = encoded.partition(b"{")
    if not brace:
        return before
    tag, brace, _ = after.partition(b"}")
    return tag if brace and tag else encoded


@dataclass(frozen=True, slots=True)
class NodeAddress:
    """How a node is reached."""

    id: int  # above 0
    host: str  # a name or an address
    port: int


@dataclass(frozen=True, slots=True)
class Placement:
    """One version of the placement table; immutable, replaced as a whole by one with a higher version."""

    version: int  # above 0, rises with each change
    shards: int  # arcs of the ring, fixed when the cluster is created
    replicas: tuple[tuple[int, ...], ...]  # node ids of each group, group 0 first; the preferred leader stands first
    nodes: tuple[NodeAddress, ...]  # by rising id

    def address(self, node: int) -> NodeAddress | None:
        """How the node is reached, or None for one that is not in the table."""
        return next((address for address in self.nodes if address.id == node), None)

    def groups_on(self, node: int) -> tuple[int, ...]:
        """The groups that have a replica on the node, rising."""
        return tuple(group for group, replicas in enumerate(self.replicas) if node in replicas)

    def pack(self) -> list[Any]:
        """The table as a list for msgpack."""
        addresses = [[address.id, address.host, address.port] for address in self.nodes]
        return [self.version, self.shards, [list(nodes) for nodes in self.replicas], addresses]

    @classmethod
    def unpack(cls, row: object) -> Placement:
        """Checks types, ranges and agreement within the table. Raises ProtocolError, saying what was expected."""
        if not isinstance(row, (list, tuple)) or len(row) != 4:
            raise ProtocolError("placement: expected [version, shards, replicas, nodes]")
        version, shards, groups, addresses = row
        if not _is_number(version, 1, 2**63 - 1) or not _is_number(shards, 1, SHARDS_MAX):
            raise ProtocolError(f"placement: expected a version above 0 and 1 to {SHARDS_MAX} shards")
        nodes = _unpack_addresses(addresses)
        known = {address.id: address for address in nodes}
        if not isinstance(groups, (list, tuple)) or len(groups) != shards + 1:
            raise ProtocolError(f"placement: expected replicas of {shards + 1} groups")
        return cls(version, shards, tuple(_unpack_replicas(group, known) for group in groups), nodes)


def _is_number(value: object, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high


def _unpack_addresses(rows: object) -> tuple[NodeAddress, ...]:
    if not isinstance(rows, (list, tuple)) or not 1 <= len(rows) <= NODES_MAX:
        raise ProtocolError(f"placement: expected 1 to {NODES_MAX} nodes")
    addresses: list[NodeAddress] = []
    for row in rows:
        if not isinstance(row, (list, tuple)) or len(row) != 3:
            raise ProtocolError("placement: a node must be [id, host, port]")
        id, host, port = row
        if not _is_number(id, 1, 2**31 - 1) or not _is_number(port, 1, 65_535):
            raise ProtocolError("placement: a node must have an id above 0 and a port of 1 to 65535")
        if not isinstance(host, str) or not 1 <= len(host) <= HOST_CHARACTERS_MAX:
            raise ProtocolError(f"placement: a node's host must be text of 1 to {HOST_CHARACTERS_MAX} characters")
        if addresses and id <= addresses[-1].id:
            raise ProtocolError("placement: nodes must stand by rising id")
        addresses.append(NodeAddress(id, host, port))
    return tuple(addresses)


def _unpack_replicas(row: object, known: dict[int, NodeAddress]) -> tuple[int, ...]:
    if not isinstance(row, (list, tuple)) or not row:
        raise ProtocolError("placement: a group must have a list of replicas")
    if not all(type(node) is int and node in known for node in row) or len(dict.fromkeys(row)) != len(row):
        raise ProtocolError("placement: a group's replicas must be distinct nodes of the table")
    return tuple(row)
