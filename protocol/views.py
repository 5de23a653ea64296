"""What the client hands out: receipts, accounts, history, audits, the state of the cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from protocol.placement import Placement
from protocol.status import AccountState, Status

ACCOUNT_STATES = tuple(state.name for state in AccountState)


@dataclass(frozen=True, slots=True)
class Receipt:
    """An accepted transfer or hold."""

    id: int
    status: Status  # `created`, or `exists` when it had been accepted before


@dataclass(frozen=True, slots=True)
class Account:
    """An account as of the read. Amounts in minor units."""

    id: str
    currency: str
    posted: int  # credits minus debits
    held: int
    incoming: int  # credits of rounds that are not decided
    minimum_balance: int | None
    maximum_balance: int | None
    status: str  # open, frozen or closed
    owner: str
    metadata: bytes
    version: int

    @staticmethod
    def unpack(row: list[Any]) -> Account:
        """`[id, currency, posted, held, incoming, minimum, maximum, state, owner, metadata, version, undecided]`."""
        state = ACCOUNT_STATES[row[7]]
        return Account(row[0], row[1], row[2], row[3], row[4], row[5], row[6], state, row[8], row[9], row[10])

    @property
    def available(self) -> int | None:
        """What can be spent now; None without a lower limit."""
        return None if self.minimum_balance is None else self.posted - self.held - self.minimum_balance


@dataclass(frozen=True, slots=True)
class Entry:
    """One transfer in an account's history."""

    id: int
    debit: str
    credit: str
    amount: int
    code: int
    flags: int
    reference: str
    timestamp_ns: int


@dataclass(frozen=True, slots=True)
class CurrencyTotals:
    """One currency in an audit."""

    currency: str
    debits: int  # ever posted
    credits: int
    held: int
    in_flight: int
    posted: int  # sum over all accounts
    balanced: bool


@dataclass(frozen=True, slots=True)
class ShardDigest:
    """One group in an audit: each replica's digest at the cut, None for a node that did not answer."""

    group: int
    index: int
    digests: dict[int, int | None]

    @property
    def agrees(self) -> bool:
        """Whether the replicas that answered, a majority at least, are equal."""
        known = [digest for digest in self.digests.values() if digest is not None]
        return len(known) * 2 > len(self.digests) and len(dict.fromkeys(known)) == 1


@dataclass(frozen=True, slots=True)
class Report:
    """An audit at one consistent cut."""

    currencies: dict[str, CurrencyTotals]
    shards: tuple[ShardDigest, ...]

    @property
    def balanced(self) -> bool:
        """Whether every currency balances and all replicas agree."""
        return all(row.balanced for row in self.currencies.values()) and all(shard.agrees for shard in self.shards)


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """The cluster as one node sees it."""

    placement: Placement
    leaders: tuple[int, ...]  # node of each group's leader, group 0 (the coordinator) first; 0 unknown
    node: int  # who answered
    up: tuple[int, ...]  # nodes it is connected to, itself included
    groups: tuple[tuple[Any, ...], ...]  # its replicas: group, role, term, leader, commit, applied, last index, waiting
    rounds: int  # commit rounds that this node has run
    shed: int  # requests that this node has refused as `busy` since it started, because it was full or slow

    @property
    def coordinator(self) -> int:
        """The node that runs commit rounds, 0 while there is none."""
        return self.leaders[0]
