"""The operator's log of a node: what happened and why, so that the logs of all nodes tell whoever is on call.

A notice is a dataclass; its class is the event, `PeerRefused` is `peer refused` in the log. The classes of this package are all events
that there are; each says in its docstring when it is told, without help from the others, and after a field whose name does not say it
what that means: `scripts/cluster logs --events` lists them. A line is one JSON object: `timestamp` (UTC), `level`, `node` (whose log it
is), `event`, then the fields. README says where the log is and how to read it.

`notice` is what they have in common. Whose they are: `process` (start, stop, disk, shedding), `clients`, `peers` (links, refusals, data
folders, clocks), `groups` (elections, leaders, handovers, membership, stamps, checkpoints, the coordinator), `recoveries` (doubts,
losses, snapshots).

Rules
- A thing is told once, when it changes. What goes on (a campaign that is repeated, a peer that stays silent, requests that are shed)
  is told when it begins and when it ends, with counts; never by tick, never by request.
- What goes wrong and can heal has a notice that says so when it has.
- A reason is a sentence that can be acted upon; where two sides differ it names both values.
- What an outsider can bring about is told at most some times a second, and the rest is counted (`ClientsLeftOut`).
- Nothing secret: no tokens, no account names, no amounts.
- `group` is the number that users know: a shard's, or 0 for the cluster's own. `peer` is another node.
- The pure core never tells anything: actors look at its effects (why a role was taken: `node.core.raft.Turn`), and tell through
  `node.ports.OperatorLog`. The simulator's twin keeps the last lines of each node for the report of a seed that fails.

To add one: a class here, in `__all__`, and a test that brings it about. Left out: metrics (`statistics()` of the actors has the
numbers), and who paid whom (`trace` and the books have that).
"""

from node.notices.clients import ClientCutOff, ClientRefused, ClientsLeftOut, RoomForClients, TooManyClients
from node.notices.groups import (
    CampaignBegun,
    CampaignLost,
    CheckpointWritten,
    CoordinatorBegun,
    CoordinatorEnded,
    CoordinatorReady,
    ElectionWon,
    HandoverAsked,
    HandoverFinished,
    HandoverGivenUp,
    LeaderChanged,
    Leaderless,
    MembershipChanged,
    RoundRecovered,
    StampsHeldBack,
    StampsTrue,
    SteppedDown,
)
from node.notices.notice import HEAD, Level, Notice, event_of, fields_of, line_of, names_of
from node.notices.peers import (
    Admitted,
    ClockAgrees,
    ClockDiffers,
    ClockFarOff,
    LinkLost,
    LinkRenewed,
    LinkUp,
    MemberChanged,
    PeerNotReached,
    PeerReachedThrough,
    PeerRefused,
    RefusedByPeer,
    Waiting,
)
from node.notices.process import (
    AddressChanged,
    DiskSlow,
    DiskWell,
    LogFileMissing,
    LogRowsDamaged,
    MemoryDamaged,
    MemorySaved,
    MemoryUnsaved,
    NodeRestored,
    RefusedToStart,
    ReplicaRestored,
    RunsInTime,
    Serving,
    Shed,
    ShedBegun,
    ShedEnded,
    Starting,
    StoodStill,
    StopCause,
    Stopped,
    StoppedByItself,
    Stopping,
    Unexpected,
)
from node.notices.recoveries import (
    FolderInDoubt,
    FolderSound,
    FolderTakenForMoved,
    LogCutShort,
    NobodyHasWhatWasLost,
    ReplicaRecovered,
    ReplicaRecovering,
    SnapshotBegun,
    SnapshotGivenUp,
    SnapshotInstalled,
    SnapshotMixed,
    SnapshotReceived,
    SnapshotSent,
)

__all__ = [
    "HEAD",
    "Notice",
    "Level",
    "event_of",
    "fields_of",
    "line_of",
    "names_of",
    "Starting",
    "NodeRestored",
    "ReplicaRestored",
    "Serving",
    "Stopping",
    "Stopped",
    "StoppedByItself",
    "RefusedToStart",
    "Unexpected",
    "StopCause",
    "ShedBegun",
    "ShedEnded",
    "Shed",
    "DiskSlow",
    "DiskWell",
    "StoodStill",
    "RunsInTime",
    "LogFileMissing",
    "LogRowsDamaged",
    "AddressChanged",
    "MemoryDamaged",
    "MemoryUnsaved",
    "MemorySaved",
    "ClientRefused",
    "ClientCutOff",
    "ClientsLeftOut",
    "TooManyClients",
    "RoomForClients",
    "LinkUp",
    "LinkLost",
    "LinkRenewed",
    "PeerNotReached",
    "PeerReachedThrough",
    "PeerRefused",
    "RefusedByPeer",
    "Waiting",
    "Admitted",
    "MemberChanged",
    "ClockFarOff",
    "ClockDiffers",
    "ClockAgrees",
    "CampaignBegun",
    "ElectionWon",
    "CampaignLost",
    "SteppedDown",
    "LeaderChanged",
    "Leaderless",
    "HandoverAsked",
    "HandoverFinished",
    "HandoverGivenUp",
    "MembershipChanged",
    "StampsHeldBack",
    "StampsTrue",
    "CheckpointWritten",
    "CoordinatorBegun",
    "RoundRecovered",
    "CoordinatorReady",
    "CoordinatorEnded",
    "FolderInDoubt",
    "FolderTakenForMoved",
    "FolderSound",
    "LogCutShort",
    "ReplicaRecovering",
    "ReplicaRecovered",
    "NobodyHasWhatWasLost",
    "SnapshotBegun",
    "SnapshotSent",
    "SnapshotGivenUp",
    "SnapshotReceived",
    "SnapshotInstalled",
    "SnapshotMixed",
]
