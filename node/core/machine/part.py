"""What a part of a shard's state machine is: the contract between the machine and the ledger, orders, limits and the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Body = list[Any]
"""A command's or an answer's body: a msgpack list whose first item names the command."""

Statuses = NDArray[np.uint8]
"""One `protocol.status.Status` a transaction."""

Int32s = NDArray[np.int32]
Marks = NDArray[np.bool_]
NO_ROWS: Int32s = np.zeros(0, np.int32)

Rows = Callable[[str], Iterable[tuple[int, bytes]]]
"""Reads a checkpoint table in key order."""


@dataclass(frozen=True, slots=True)
class At:
    """Where and when an entry is applied."""

    index: int  # the entry's index in the shard's log
    timestamp_ns: int  # the wall's time as the leader stamped it, rising strictly from entry to entry
    elapsed_ns: int  # time counted in this log, never falling: what lives for a while lives by this


@dataclass(frozen=True, slots=True)
class Change:
    """One row of a checkpoint: `value` None deletes it."""

    table: str
    key: int
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Need:
    """Stored rows that must be read before a command can be resolved or a question answered: (table, key) pairs."""

    keys: tuple[tuple[str, int], ...]
    spent: tuple[tuple[str, int], ...] = ()  # rows that were looked through and need not be kept

    def missing(self, loaded: Loaded) -> tuple[tuple[str, int], ...]:
        """The rows to read now."""
        keys = tuple(key for key in self.keys if key not in loaded)
        assert keys, f"{self.keys[:1]} is needed and not in the store"
        return keys

    def fill(self, loaded: Loaded, rows: Loaded) -> Loaded:
        """What to come back with when the missing rows were read, beside what was `loaded` before."""
        return {**loaded, **dict.fromkeys(self.spent, SPENT), **rows}


Loaded = Mapping[tuple[str, int], bytes | None]
"""Rows that were read for a `Need`."""

SPENT = b""
"""Stands for a row that was looked through in vain."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command or a question gave. `is_undecided`: an open round may still change it, so a linearizable read waits."""

    body: Body
    is_undecided: bool = False


class Part(Protocol):
    """A deterministic piece of a shard's state. Never reads a clock, a random source, a file or the order of a set."""

    name: str
    tables: tuple[str, ...]  # all checkpoint tables
    archive_tables: tuple[str, ...]  # those that grow with history: read row by row for a `Need`, never as a whole

    sequence_tables: tuple[str, ...]  # those of the archives whose rows are numbered from 0 and never change

    def resolve(self, body: Body, loaded: Loaded) -> Body | Need:
        """At the leader, before the log: turns a client's command into the one that is logged (names become rows)."""
        ...

    def apply(self, body: Body, at: At) -> Answer:
        """Carries out a logged command at once, alone."""
        ...

    def prepare(self, round_id: int, body: Body, count: int, at: At) -> tuple[Statuses, bytes]:
        """Reserves what `count` transactions of a round need here.

        Gives the votes, 0 for yes, one a transaction, and what else the part tells the coordinator. A round may bring a
        part several bodies; `decide` comes once for all of them.
        """
        ...

    def decide(self, round_id: int, statuses: Statuses, at: At, failed: Int32s = NO_ROWS) -> None:
        """Carries out the prepared transactions whose status is 0 and releases the others, recording why.

        `failed` is the row of the round at which each transaction failed; empty where every transaction is one transfer.
        """
        ...

    def query(self, body: Body, loaded: Loaded) -> Answer | Need:
        """Answers a question from the applied state."""
        ...

    def due(self, elapsed_ns: int) -> Body | None:
        """A command that the leader should propose because so much time has been counted (expiry), or None."""
        ...

    def totals(self) -> Body:
        """What an audit adds up over all shards."""
        ...

    def digest(self, seed: int) -> int:
        """A 64-bit digest of all state that replicas must share, chained from `seed`."""
        ...

    def changes(self) -> list[Change]:
        """What has changed since the last call; afterwards it counts as saved."""
        ...

    def saved(self) -> None:
        """The rows of the last `changes` are durable and readable."""
        ...

    def restore(self, rows: Rows) -> None:
        """Loads a checkpoint into a fresh part."""
        ...
