"""What the clients of a run did and were told, for the checkers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.simulation.fencing import Grant, Guarded
from tests.simulation.linearizability import Operation, Value
from tests.simulation.list_append import Transaction
from tests.simulation.snapshots import Snapshot

if TYPE_CHECKING:
    from tests.simulation.events import Told

NEVER = float("inf")
UNKNOWN, BUSY, NOT_SENT = "unknown", "busy", "not sent"  # outcomes that are no statuses
ACCEPTED = ("created", "exists")


@dataclass(slots=True)
class Attempt:
    """One call that asked for a transfer."""

    invoked: float
    returned: float = NEVER
    outcome: str = UNKNOWN  # a status, or one of the above

    @property
    def is_definite(self) -> bool:
        """Whether the answer says what became of the transfer."""
        return self.outcome not in (UNKNOWN, BUSY, NOT_SENT)


@dataclass(slots=True)
class Transfer:
    """One transfer and all attempts at it."""

    id: int
    debit: str
    credit: str
    amount: int  # where it is balancing: that it has moved, 0 as long as nobody knows
    kind: str = "plain"  # plain, hold, capture or void
    hold: int = 0
    reverses: int = 0  # the id of the transfer that it gives back, 0 for none
    ttl: int = 0
    balancing: str = ""  # up to what: debit, credit, both, or the rest of a hold
    limit: int = 0  # likewise, 0 for none
    is_final: bool = False  # of a capture: it gives back what is left of the hold
    chain: int = 0  # number of its chain or transaction, 0 for none
    attempts: list[Attempt] = field(default_factory=list)
    final: str = ""  # what `outcome` said at the end

    @property
    def accepted_at(self) -> float:
        """When somebody first knew that it had happened."""
        return min((one.returned for one in self.attempts if one.outcome in ACCEPTED), default=NEVER)

    @property
    def invoked_at(self) -> float:
        """When it was first asked for."""
        return min(one.invoked for one in self.attempts)

    @property
    def is_created(self) -> bool:
        """Whether it happened, as far as the clients know at the end."""
        return self.accepted_at < NEVER or self.final in ACCEPTED


@dataclass(frozen=True, slots=True)
class Read:
    """One answered question for an account."""

    account: str
    invoked: float
    returned: float
    posted: int
    held: int | None  # None in a cut, where it counts what open rounds have reserved
    version: int


@dataclass(frozen=True, slots=True)
class Payment:
    """A payment out of a counter: the balance it was asked for, and the one it leaves."""

    id: int
    counter: str
    invoked: float
    before: int
    after: int


@dataclass(slots=True)
class Records:
    """Everything of one run."""

    transfers: dict[int, Transfer] = field(default_factory=dict)
    split: dict[str, None] = field(default_factory=dict)  # accounts with shares
    allowances: dict[str, int] = field(default_factory=dict)  # of accounts that open no holds, for the whole run
    reads: list[Read] = field(default_factory=list)
    snapshots: list[Snapshot] = field(default_factory=list)  # of all accounts of the bank
    registers: dict[str, list[Operation]] = field(default_factory=dict)  # by name
    versions: dict[str, list[tuple[int, Value]]] = field(default_factory=dict)  # of a register, as they were read
    lists: list[Transaction] = field(default_factory=list)
    payments: dict[int, Payment] = field(default_factory=dict)  # out of counters, of unknown outcome
    grants: list[Grant] = field(default_factory=list)
    guarded: list[Guarded] = field(default_factory=list)  # transfers under a lock that happened
    lapsed: dict[int, tuple[Guarded, str]] = field(
        default_factory=dict
    )  # refused for their token, and their debit accounts
    unsettled: dict[int, tuple[Guarded, str]] = field(
        default_factory=dict
    )  # of unknown outcome, and their debit accounts
    readers: list[list[Told]] = field(default_factory=list)  # what each was told that goes on from its cursor
    readings: list[list[Told]] = field(default_factory=list)  # what others were told that began at the beginning
    events: list[Told] = field(default_factory=list)  # all of them, in the end
    numbers: int = 0  # handed out, so that every value that is written is another one
    accounts: dict[str, str] = field(default_factory=dict)  # name -> currency
    unlimited: dict[str, None] = field(default_factory=dict)  # accounts without a minimum
    overdrafts: dict[str, int] = field(default_factory=dict)  # how far below 0 an account may go, where it may
    chains: int = 0
    audits: int = 0
    broken: list[str] = field(default_factory=list)  # promises that a call itself showed to be broken

    def number(self) -> int:
        """One that nobody else has."""
        self.numbers += 1
        return self.numbers

    def told(self, transfer: Transfer, amount: int | None) -> None:
        """A client was told that the transfer has moved so much; everybody is told the same."""
        if amount is not None and transfer.amount not in (0, amount):
            self.broken.append(f"transfer {transfer.id:032x}: told to have moved {transfer.amount}, and {amount}")
        transfer.amount = amount or transfer.amount

    def created(self) -> list[Transfer]:
        """The transfers that happened."""
        return [transfer for transfer in self.transfers.values() if transfer.is_created]
