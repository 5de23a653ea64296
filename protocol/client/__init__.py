"""The tiny client: async `Client`, and its synchronous twin from `connect`. The one package of the protocol with I/O.

It knows any nodes of a cluster, learns from them who leads what, sends each request to where it is decided, and asks the
next node when one dies. Every change carries an id, so asking again is safe; when time runs out first, `OutcomeUnknown`
says so and `Client.outcome` settles it.

`connection.py` is one connection, `calls.py` decides where a call goes and repeats it, `pace.py` how many are under way, `refusals.py`
what a refused one is told, `client.py` is the face, `arguments.py` checks what it is given, `batches.py`, `pieces.py`, `updates.py`,
`allowances.py`, `settling.py`, `history.py` and `survey.py` are calls of more than one request, `legs.py` transactions, `balancing.py`
amounts that follow from what is there, `opened.py` knows the accounts of holds, `events.py` follows what happens, `locks.py` its locks,
`payments.py` what a transfer may carry, `guards.py` what it may demand besides funds, `sync.py` its twin, call by call with the same
arguments and types, `sync_locks.py` and `sync_events.py` those of a lock and of a subscription, `background.py` the thread that does
their work.

Invariants
- A change is repeated only with the ids it had.
- An error other than `OutcomeUnknown` is raised only if nothing has happened. A request may have happened from when it leaves
  until the books answer it, or a failure says that it has not; of several parts the worst counts for the whole, and all ids are named.
- Every call ends within its time, connecting and waiting for a turn included. What had no turn was not sent, and is `Busy`.
- What a caller gives is checked before anything is sent, columns as single values are.
- A call of one client has its twin in the other: a test holds their names, arguments, types and guides together.

Left out: retries after `Busy`, which are the caller's to pace.
"""

from protocol.client.client import Client
from protocol.client.events import Subscription
from protocol.client.legs import Capture, Hold, Leg, Transfer, Void
from protocol.client.locks import Lock, LockOwner
from protocol.client.sync import SyncClient, connect
from protocol.client.sync_events import SyncSubscription
from protocol.client.sync_locks import SyncLock
from protocol.events import Event, EventBatch, JournalFact, Position, TransferEvents
from protocol.rows import NewAccount
from protocol.views import (
    Account,
    Allowance,
    ClusterStatus,
    CurrencyTotals,
    Entry,
    Participant,
    Receipt,
    Report,
    ShardDigest,
    Trace,
    TransactionReceipt,
    Undecided,
    UndecidedRound,
)

__all__ = [
    "Account",
    "Allowance",
    "Capture",
    "Client",
    "ClusterStatus",
    "CurrencyTotals",
    "Entry",
    "Event",
    "EventBatch",
    "Hold",
    "JournalFact",
    "Leg",
    "Lock",
    "LockOwner",
    "NewAccount",
    "Participant",
    "Position",
    "Receipt",
    "Report",
    "ShardDigest",
    "Subscription",
    "SyncClient",
    "SyncLock",
    "SyncSubscription",
    "Trace",
    "TransactionReceipt",
    "Transfer",
    "TransferEvents",
    "Undecided",
    "UndecidedRound",
    "Void",
    "connect",
]
