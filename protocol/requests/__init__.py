"""What can be asked for, by name: the body of each request is packed and unpacked here alone, by clients and by nodes.

One frozen dataclass an operation, `pack` for the wire, `unpack` with all that can be judged at sight. It raises ProtocolError, saying
what would have been valid. What depends on the cluster, or on how much a node has to do, the node judges later.

- `accounts`: opening, changing and reading accounts, and allowances.
- `transfers`: reading transfers, one by its id or an account's history. A batch of them is columns: `protocol.columns.Transfers`.
- `facts`: what has happened, from a position on.
- `locks`: a word to a lock.
- `cluster`: what is asked of the cluster as a whole.
- `checks`: what they judge by.
"""

from protocol.requests.accounts import (
    AccountsRequest,
    AllowanceRequest,
    BalancesRequest,
    SetAllowanceRequest,
    SnapshotRequest,
    SplitRequest,
    UpdateRequest,
)
from protocol.requests.cluster import EmptyRequest, FaultKind, FaultRequest, ReplaceRequest
from protocol.requests.facts import FactsRequest
from protocol.requests.locks import LockAction, LockWord
from protocol.requests.transfers import FindRequest, HistoryRequest, OutcomeRequest, TraceRequest, TransferRequest

__all__ = [
    "AccountsRequest", "AllowanceRequest", "BalancesRequest", "EmptyRequest", "FactsRequest", "FaultKind", "FaultRequest",
    "FindRequest", "HistoryRequest", "LockAction", "LockWord", "OutcomeRequest", "ReplaceRequest", "SetAllowanceRequest",
    "SnapshotRequest", "SplitRequest", "TraceRequest", "TransferRequest", "UpdateRequest",
]  # fmt: skip
