"""What a part of a shard's state machine is: the contract between the machine and its parts.

A request meets a part in this order; everything from `apply` on happens alike on every replica, from the log alone:

    resolve -> accompany -> (the log) -> open or join: a docket, judged by all parts -> facts -> observe
                                      -> apply: a command that no other part has a say in
                                      -> decide: what became of a round's transactions

What is owed
- An error: a part raises ProtocolError from `resolve`, `accompany` or `query` for what has the wrong form, and nothing has happened. In
  `apply` and behind there are no errors: a business outcome is a status, anything else is an assertion that stops the node.
- A crash: state is what checkpoints and the log behind them tell. A part keeps nothing of a resolve; the same command may be resolved
  again, here or at the next leader, after other entries.
- A replay: the log behind a checkpoint is applied again. A part that sees an entry again starts from the state that it had before it.
- An open round: what a docket of a round has taken is reserved until `decide`, which comes once. A refusal that the decision of an
  open round may still turn is `Status.undecided`, never final: the command is judged again, by its leader or coordinator. A final no
  stays one, whatever is decided later.
- A fact: told once, when it cannot be undone any more, in the order in which things have happened; it stays true, and names what it is
  about by what it was then. Readers hear of it at least once, behind `apply`, which never waits for one.
- A refusal: by one part it undoes what all parts have taken of that transaction, and of nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from node.core.machine.answers import told_in
from node.core.machine.docket import Docket, Int32s, Payments, Statuses
from node.core.machine.facts import Fact
from node.core.machine.operation import Body, Served
from node.core.machine.questions import PartTrace
from protocol.events import EventKind
from protocol.status import Status

NO_ROWS: Int32s = np.zeros(0, np.int32)

Rows = Callable[[str], Iterable[tuple[int, bytes]]]
"""Reads a checkpoint table in key order."""


@dataclass(slots=True)  # as others that are made for each request: freezing them would take some times as long
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
    searched: tuple[tuple[str, int], ...] = ()  # rows that were looked through and need not be kept
    notes: tuple[tuple[tuple[str, int], bytes], ...] = ()  # what was found in those, to come back under these keys

    def missing(self, loaded: Loaded) -> tuple[tuple[str, int], ...]:
        """The rows to read now."""
        keys = tuple(key for key in self.keys if key not in loaded)
        assert keys, f"{self.keys[:1]} is needed and not in the store"
        return keys

    def fill(self, loaded: Loaded, rows: Loaded) -> Loaded:
        """What to come back with when the missing rows were read, beside what was `loaded` before."""
        return {**loaded, **dict.fromkeys(self.searched, SEARCHED), **dict(self.notes), **rows}


Loaded = Mapping[tuple[str, int], bytes | None]
"""Rows that were read for a `Need`."""

SEARCHED = b""
"""Stands for a row that was looked through in vain."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command or a question gave.

    `is_undecided`: an open round may still change it, so a linearizable read waits. `is_news`: false where only those wait who have said
    how long they would.
    """

    body: Body
    is_undecided: bool = False
    is_news: bool = True


@dataclass(slots=True)
class Asking:
    """What a leader hands to a part that resolves."""

    now_ns: int  # the wall's time, about that of the entry; never before the last entry applied
    loaded: Loaded
    parts: Mapping[str, Part]  # of the shard

    def resolve(self, part: str, body: Body) -> Alone | Judged | Need:
        """A command of another part."""
        return self.parts[part].resolve(body, self)

    def ask(self, part: str, body: Body) -> Answer | Need:
        """A question to another part."""
        return self.parts[part].query(body, self.loaded)


@dataclass(frozen=True, slots=True)
class Alone:
    """A command as it is logged that no other part has a say in."""

    body: Body


@dataclass(slots=True)
class Judged:
    """Transactions as they are logged, of one part or several: all parts of the machine judge them, each as a whole or not at all."""

    commands: tuple[tuple[str, Body], ...]  # by part; the first opens them, the others join with what is theirs
    payments: Callable[[], Payments] | None  # what they move, for parts that are not named: made when one asks
    count: int  # of them; a round knows its own


class Part(Protocol):
    """A deterministic piece of a shard's state. Never reads a clock, a random source, a file or the order of a set.

    `BasePart` has what a part that takes no part in something does about it.
    """

    name: str
    tables: tuple[str, ...]  # all checkpoint tables
    archive_tables: tuple[str, ...]  # those that grow with history: read row by row for a `Need`, never as a whole
    sequence_tables: tuple[str, ...]  # those of the archives whose rows are numbered from 0 and never change
    operations: tuple[Served[Any], ...]  # what clients may ask it for
    kinds: tuple[EventKind, ...]  # of the facts that `take_facts` gives
    record_kinds: tuple[EventKind, ...]  # of those that its record holds

    # -- at the leader, before the log ----------------------------------------------------------------------------

    def resolve(self, body: Body, asking: Asking) -> Alone | Judged | Need:
        """A client's command as it is to be logged: names become rows, what cannot change any more is found out."""
        ...

    def joins(self) -> bool:
        """Whether it may have a say in transactions of another part, as its state is; by the same state alike on every replica.

        Where it has none it is not asked to `accompany` them, nor to `join` unless it is named.
        """
        ...

    def accompany(self, payments: Payments, asking: Asking) -> Body | None:
        """What this part adds to transactions of another part, for its own `join`: what only a leader may find out."""
        ...

    # -- on every replica -----------------------------------------------------------------------------------------

    def apply(self, body: Body, at: At) -> Body:
        """Carries out a logged command at once, alone; its answer."""
        ...

    def open(self, body: Body, at: At, round_id: int | None) -> Docket:
        """Its own transactions, to be judged by all parts; what they take is reserved in a round, else carried out."""
        ...

    def join(self, payments: Payments, body: Body | None, at: At, round_id: int | None) -> Docket | None:
        """Its say in transactions of another part, with what it has logged beside them; None: none."""
        ...

    def decide(self, round_id: int, statuses: Statuses, at: At, failed: Int32s = NO_ROWS) -> None:
        """Carries out what a round has reserved of transactions whose status is 0 and releases the others, recording why.

        `failed` is the row of the round at which each transaction failed; empty where every transaction is one transfer.
        """
        ...

    def take_facts(self) -> Sequence[Fact]:
        """What has happened here since the last call, in order, but for what the part's record has: for other parts and for readers."""
        ...

    def recorded(self) -> int:
        """How many facts the part's own record holds, 0 if it has none. They are numbered as they stand there, and never written twice.

        One part of a machine may have a record. It answers `["record", first, stop, most, kinds, prefix]` with `["record", next, columns]`:
        what `kinds` and `prefix` choose of some rows from `first` on, a moment's work, and the row to go on with; columns or None.
        """
        ...

    def observe(self, facts: Sequence[Fact], at: At) -> None:
        """What has happened in other parts in this entry. Here there is no refusing any more."""
        ...

    # -- questions ------------------------------------------------------------------------------------------------

    def waits(self, answer: Body) -> bool:
        """Whether an answer says that an open round must end first: the command is tried again then."""
        ...

    def query(self, body: Body, loaded: Loaded) -> Answer | Need:
        """Answers a question from the applied state."""
        ...

    def trace(self, id: bytes, loaded: Loaded) -> PartTrace | Need:
        """What is recorded of a transfer, and the rounds that have seen it, open or remembered."""
        ...

    def open_ids(self, round_id: int) -> bytes:
        """The first ids of what an open round has here, 16 bytes each: enough to know whose it is."""
        ...

    def due(self, timestamp_ns: int, elapsed_ns: int) -> Body | None:
        """A command that the leader should propose because of the time (expiry), or None. It is resolved like a client's."""
        ...

    def totals(self) -> Body:
        """What an audit adds up over all shards."""
        ...

    def digest(self, seed: int) -> int:
        """A 64-bit digest of all state that replicas must share, chained from `seed`."""
        ...

    # -- checkpoints ----------------------------------------------------------------------------------------------

    def changes(self) -> list[Change]:
        """What has changed since the last call; afterwards it counts as saved."""
        ...

    def saved(self) -> None:
        """The rows of the last `changes` are durable and readable."""
        ...

    def restore(self, rows: Rows) -> None:
        """Loads a checkpoint into a fresh part."""
        ...


class BasePart:
    """A part that takes no part in transactions, has nothing to tell, and asks for nothing as time passes."""

    name: str
    tables: tuple[str, ...] = ()
    archive_tables: tuple[str, ...] = ()
    sequence_tables: tuple[str, ...] = ()
    operations: tuple[Served[Any], ...] = ()
    kinds: tuple[EventKind, ...] = ()
    record_kinds: tuple[EventKind, ...] = ()

    def resolve(self, body: Body, asking: Asking) -> Alone | Judged | Need:
        """Commands are logged as they come."""
        return Alone(body)

    def joins(self) -> bool:
        """Only where it is named."""
        return False

    def accompany(self, payments: Payments, asking: Asking) -> Body | None:
        """Nothing."""
        return None

    def open(self, body: Body, at: At, round_id: int | None) -> Docket:
        """There are no transactions of its own."""
        raise AssertionError(f"{self.name} has no transactions of its own: {body[:1]}")

    def join(self, payments: Payments, body: Body | None, at: At, round_id: int | None) -> Docket | None:
        """No say in those of others."""
        return None

    def decide(self, round_id: int, statuses: Statuses, at: At, failed: Int32s = NO_ROWS) -> None:
        """A round has reserved nothing here."""

    def take_facts(self) -> Sequence[Fact]:
        """Nothing to tell."""
        return ()

    def recorded(self) -> int:
        """There is no record."""
        return 0

    def observe(self, facts: Sequence[Fact], at: At) -> None:
        """Nothing here follows from others."""

    def waits(self, answer: Body) -> bool:
        """Only transactions wait."""
        told = told_in(answer)
        return told is not None and (Status.undecided in told or Status.retry in told)

    def query(self, body: Body, loaded: Loaded) -> Answer | Need:
        """Nobody asks."""
        raise AssertionError(f"{self.name}: unknown question {body[:1]}")

    def trace(self, id: bytes, loaded: Loaded) -> PartTrace | Need:
        """There are no transfers of its own."""
        return PartTrace(None, ())

    def open_ids(self, round_id: int) -> bytes:
        """There are no transfers of its own."""
        return b""

    def due(self, timestamp_ns: int, elapsed_ns: int) -> Body | None:
        """Nothing here depends on the time."""
        return None

    def saved(self) -> None:
        """Nothing is kept for the sake of a checkpoint."""
