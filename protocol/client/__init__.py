"""The tiny client: async `Client`, and its synchronous twin from `connect`. The one package of the protocol with I/O.

It knows any nodes of a cluster, learns from them who leads what, sends each request to where it is decided, and asks the
next node when one dies. Every change carries an id, so asking again is safe; when time runs out first, `OutcomeUnknown`
says so and `Client.outcome` settles it.

`connection.py` is one connection, `calls.py` decides where a call goes and repeats it, `client.py` is the face, `locks.py`
its locks, `guards.py` what a transfer may demand besides funds, `sync.py` its twin. Invariants: a change is repeated only with
the ids it had; `Busy` and `Refused` are raised only if nothing happened.
Left out: retries after `Busy`, which are the caller's to pace.
"""

from protocol.client.client import Client
from protocol.client.locks import Lock, LockOwner
from protocol.client.sync import SyncClient, SyncLock, connect
from protocol.views import (
    Account,
    ClusterStatus,
    CurrencyTotals,
    Entry,
    Participant,
    Receipt,
    Report,
    ShardDigest,
    Trace,
    Undecided,
    UndecidedRound,
)

__all__ = [
    "Account",
    "Client",
    "ClusterStatus",
    "CurrencyTotals",
    "Entry",
    "Lock",
    "LockOwner",
    "Participant",
    "Receipt",
    "Report",
    "ShardDigest",
    "SyncClient",
    "SyncLock",
    "Trace",
    "Undecided",
    "UndecidedRound",
    "connect",
]
