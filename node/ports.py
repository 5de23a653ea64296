"""What the actors need from the outside, as protocols. Adapters implement them; the simulator brings twins with faults."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from node.core.machine import Change
from node.core.raft import Entry, HardState, LogCut, LogEnd, Promise, StoredGroup
from node.notices import Notice
from protocol.errors import ProtocolError
from protocol.messages import Message


class StorageFailed(Exception):
    """A write or an fsync failed, or a file is not what it should be. The node stops, nothing is retried; but for `PeerMemory`."""


class DiskFull(StorageFailed):
    """There is no room for it. The node stops all the same: what it has not stored it must not have promised."""


class Damaged(StorageFailed):
    """A file of the data folder cannot be believed any more: the node comes back with another folder, by `scripts/cluster replace`."""


@dataclass(frozen=True, slots=True)
class LogWrite:
    """What one group wants on disk."""

    group: int
    hard_state: HardState | None = None
    entries: Sequence[Entry] = ()  # stored entries at or above the first one's index are dropped before
    cut: LogCut | None = None  # forget everything at or below
    restart: bool = False  # with `cut`: forget all entries, the log goes on behind the cut (an installed snapshot)
    lost: LogEnd | None = None  # where the log ended that this replica acknowledged and does not have any more
    promise: Promise | None = None  # at a start, where another one counts from here on than was found


class NodeFolder(Protocol):
    """What a data folder says of itself and of the others. What is told to it is durable when the call returns.

    The calls are few in a node's life, so they need not be quick. They raise StorageFailed.
    """

    data_id: int  # made with the folder
    is_new: bool  # it was made by this start: nothing was there
    identity: int  # of the cluster that it belongs to, 0 while it belongs to none
    is_replacement: bool  # it came for another one of the same node: the node's groups had removed the node before
    table: list[Any]  # of all nodes' folders, as `remember` was told last; empty where that is lost or never came
    place: str  # where it is, for people

    def admit(self, identity: int, is_replacement: bool) -> None:
        """The folder belongs to this cluster from now on."""
        ...

    def remember(self, table: list[Any]) -> None:
        """Another table, which is newer."""
        ...


class LogStore(Protocol):
    """The node's one log, for all groups, and a second copy of what each group has promised by it (`node.core.raft.Promise`).

    The copy must not share the fate of the log. It is written behind the log and before anybody is told: after a crash in between it
    speaks of what was before, never of what the log does not have.
    """

    async def open(self) -> dict[int, StoredGroup]:
        """Reads everything. Raises StorageFailed on a foreign or newer file, and where both log and promises are gone.

        A damaged hard state or cut is left out, a damaged entry breaks the chain; `StoredGroup.is_mute` tells where nobody may vote.
        """
        ...

    async def write(self, writes: Sequence[LogWrite]) -> None:
        """One durable transaction: returns when all of it is on disk, the promises too. Raises StorageFailed."""
        ...

    async def close(self) -> None: ...


COPIED = "log.db or log.promises is another file than at the last start: the folder was copied"
"""The one reason to doubt a folder that its operator can answer for."""


@dataclass(frozen=True, slots=True)
class Start:
    """One start of the node's process on its data folder."""

    number: int  # random; peers remember it
    earlier: frozenset[int] | None  # the folder's starts before; None where that is lost
    reason: str  # to doubt that the folder is the newest that this node had, in words; empty where there is none
    is_old: bool  # whether it certainly is not, or has lost what it had

    @property
    def is_copy(self) -> bool:
        """Whether nothing else speaks against the folder than that it was copied."""
        return self.reason == COPIED and not self.is_old


class StartBook(Protocol):
    """The starts of a data folder, kept in it: an older copy of the folder lacks those that peers remember."""

    async def begin(self) -> Start:
        """Before the log is opened, which makes what is missing: looks at the folder. Raises StorageFailed."""
        ...

    async def record(self, reason: str, is_old: bool, forgotten: Sequence[int] = ()) -> None:
        """Durable when it returns: whose files these are now, a reason to doubt them, and starts that they forgot.

        Of several calls the last one counts, whichever ends first. Raises StorageFailed.
        """
        ...


class PeerMemory(Protocol):
    """What a node remembers of its peers, as rows of integers; small, and written seldom."""

    def load(self) -> list[list[int]]:
        """What was saved last; nothing where that is lost or damaged, which makes this node a poorer witness and harms nobody."""
        ...

    async def save(self, rows: list[list[int]]) -> None:
        """Durable when it returns; the caller waits before it saves again. Raises StorageFailed, and may be tried again."""
        ...


class ShardStore(Protocol):
    """A group's checkpoint: tables of (integer key, bytes), written atomically."""

    async def open(self, tables: Sequence[str], sequences: Sequence[str] = ()) -> None:
        """`sequences` are the tables whose rows are numbered from 0 and never change: alike wherever they are."""
        ...

    async def load(self, table: str) -> list[tuple[int, bytes]]:
        """All rows in key order."""
        ...

    async def read(self, keys: Sequence[tuple[str, int]]) -> dict[tuple[str, int], bytes | None]: ...

    async def write(self, changes: Sequence[Change]) -> None:
        """One durable transaction."""
        ...

    async def archived(self) -> int:
        """How many rows every sequence holds, from key 0 on."""
        ...

    async def export(
        self, after: tuple[str, int] | None, bytes_max: int, archived: int = 0
    ) -> list[tuple[str, int, bytes]]:
        """The rows behind `after` in (table, key) order, about `bytes_max` of them; empty at the end.

        Of the sequences only the rows from key `archived` on, since the receiver has the others.
        """
        ...

    async def begin_import(self) -> None:
        """Starts with nothing beside the live rows."""
        ...

    async def add_import(self, rows: Sequence[tuple[str, int, bytes]]) -> None: ...

    async def finish_import(self) -> None:
        """The received rows replace the live ones and lengthen the sequences, atomically and durably."""
        ...

    async def close(self) -> None: ...


class OperatorLog(Protocol):
    """What the people who run the cluster are told, `node.notices` says of what."""

    def tell(self, notice: Notice) -> None:
        """One line. Never fails, and never waits for anybody: what cannot be written is lost."""
        ...


class _Unheard:
    """Implements `OperatorLog` where nobody reads it."""

    def tell(self, notice: Notice) -> None:
        """Forgets it."""


UNHEARD: OperatorLog = _Unheard()


class Clock(Protocol):
    """Time. The simulator's jumps."""

    def wall_ns(self) -> int:
        """Nanoseconds since 1970, for stamps only."""
        ...

    def monotonic(self) -> float:
        """Seconds, for intervals only."""
        ...


class Handler(Protocol):
    """What is done with a connection's messages."""

    def received(self, message: Message) -> None:
        """A message. Raises ProtocolError to refuse it, which closes the connection."""
        ...

    def garbled(self, error: ProtocolError) -> None:
        """What has come is no message; the connection closes."""
        ...

    def lost(self) -> None:
        """The connection is gone; called once."""
        ...


class Connection(Protocol):
    """One connection that carries messages."""

    is_open: bool
    is_overrun: bool  # it was ended because the other side left too much unread
    frame_bytes: int  # of the body whose message the handler has last been given

    @property
    def peer_name(self) -> str:
        """The other side's address, for logs."""
        ...

    @property
    def unsent_bytes(self) -> int:
        """Of messages that the other side has not taken yet."""
        ...

    @property
    def taken_bytes(self) -> int:
        """Of messages that it has taken."""
        ...

    @property
    def held_bytes(self) -> int:
        """What this connection holds in memory: the unsent, and the beginning of a frame."""
        ...

    def allow(self, frame_bytes_max: int, unsent_bytes_max: int) -> None:
        """Sets what the other side may send in one frame, and leave unread before it is cut off, after its handshake."""
        ...

    def pause_reading(self, seconds: float) -> None:
        """Takes nothing from the other side for so long; what it sends waits in the network."""
        ...

    def send(self, message: Message, *, at_once: bool = False) -> None:
        """Sends, in order; does nothing on a closed connection. Raises ProtocolError(frame_too_large), having sent nothing.

        `at_once`: without waiting for what else this turn of the loop sends, for whoever has collected that.
        """
        ...

    def refuse(self, error: ProtocolError) -> None:
        """Tells the other side why, then closes."""
        ...

    def close(self) -> None:
        """Sends what is collected, then closes."""
        ...

    def abort(self) -> None:
        """Closes without sending."""
        ...


class Faults(Protocol):
    """What can be broken on purpose in a cluster under test."""

    def cut(self, nodes: Sequence[int]) -> None:
        """Drops every frame to and from these nodes, in silence."""
        ...

    def mute(self, nodes: Sequence[int]) -> None:
        """Drops every frame to these nodes, in silence; theirs still arrive."""
        ...

    def slow_disk(self, seconds: float) -> None:
        """Every write of the log takes this much longer."""
        ...

    def heal(self) -> None:
        """Ends all of it."""
        ...


MakeHandler = Callable[[Connection], Handler]


class Transport(Protocol):
    """How connections are made."""

    async def listen(self, host: str, port: int, make_handler: MakeHandler) -> None:
        """Accepts connections until closed. Raises OSError where the address cannot be had."""
        ...

    async def connect(self, host: str, port: int, make_handler: MakeHandler) -> Connection:
        """Opens a connection. Raises OSError or TimeoutError."""
        ...

    async def close(self) -> None:
        """Stops listening."""
        ...
