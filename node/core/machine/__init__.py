"""The state machine of a group: a composition of parts, driven by the entries of an ordered log.

A *part* (`Part`) owns some state, as the ledger does. The machine knows only the composition: which parts there are, how an entry
is cut into requests, and which commit rounds are open. A new part is added by naming it where machines are made; it touches no other.

An entry is `[FORM, timestamp_ns, elapsed_ns, [request, ...]]`; `node.core.clocks` says what the times are. Requests are
independent of each other and applied in order:

| request | meaning | answer |
|---|---|---|
| apply | one command of one part, in which no other has a say | the part's answer |
| judge | transactions of one part or several, each all or none | what the first part tells of them |
| round | decisions of earlier rounds, PRECOMMITs, maybe a PREPARE | ["votes", votes, extras], ["superseded"]; ["decided"] without one |
| epoch | a new coordinator: lower epochs are refused from here on | ["epoch", open rounds, decisions carried out] |
| marker | decisions, then a consistent cut | ["marker", index, digest, count of open rounds, totals, answers to questions] |

The last three answer ["stale_epoch", epoch] where the epoch of the request is over; `answers.py` has all of these by name,
`requests.py` what is asked. What a machine is asked without the log, and its answers to that, are in `questions.py`.

A part is described by its contract, `part.py`; what clients may ask it for, by `operation.py`; how all parts of a shard judge
transactions, by `docket.py`. What another version has written is refused before anything of it is acknowledged: `FORM` is a part of
what nodes compare at their handshake (`ClusterSettings.shared`), and stands in each entry (`check_form`) and checkpoint.

Invariants: applying is a pure function of state and entry, so replicas with equal logs have equal digests; a round is prepared
at most once and decided at most once; a PREPARE that comes after its decision, or from a lower epoch, is superseded: nothing comes of it.

*Facts* (`facts.py`) are what has happened, in the order of the log. A part with a *record* (the ledger's transfers) keeps its facts there,
and they are written nowhere else; all others go to the *journal* (`journal.py`), each with the row of the record that it stands before.
Both are numbered without a gap, the same on every replica. Other parts observe what is journaled in the same entry; readers are told of
all of it, from any position on (`telling.py`), and the machine keeps nothing for them. Told is what has been applied, so committed, and a
leader answers with that at once. Only where it has nothing to tell it asks for a read point first: so what is committed elsewhere is not
missed, and a position beyond what is there is an error, and not a lag.

What becomes of each transaction of a round is on the *trail* (`trail.py`) for a while, when each phase was too. It is no state: bounded,
in no digest and no checkpoint, so that a restart leaves of it what the log that is applied again tells. A trace says None for the rest.

Left out: the log, time, storage and the network; they are the replica actor's.
"""

from node.core.machine.answers import (
    SUPERSEDED,
    Decided,
    EpochBegun,
    Marker,
    Opened,
    StaleEpoch,
    Superseded,
    Votes,
    rows_of,
    unpack_answer,
    unpack_vote,
)
from node.core.machine.decision import (
    first_failures,
    pack_decision,
    status_of,
    unpack_decision,
    unpack_failed,
)
from node.core.machine.digest import digest_of
from node.core.machine.docket import (
    NOT_SURE,
    NOT_TOLD,
    SETTLED,
    Docket,
    Failure,
    Int32s,
    Marks,
    Payments,
    Statuses,
    judge,
)
from node.core.machine.entry import (
    FORM,
    UnknownForm,
    check_form,
    pack_entry,
    unpack_entry,
)
from node.core.machine.facts import Fact, HoldEnded
from node.core.machine.guard import Guard, guards_command, guards_of, is_guards
from node.core.machine.journal import FACTS_KEPT
from node.core.machine.machine import TABLE, Machine
from node.core.machine.operation import Body, Merging, Served, after_first, check_apart
from node.core.machine.over import ROUND_BITS, Over
from node.core.machine.part import (
    NO_ROWS,
    Alone,
    Answer,
    Asking,
    At,
    BasePart,
    Change,
    Judged,
    Loaded,
    Need,
    Part,
    Rows,
)
from node.core.machine.questions import (
    MACHINE,
    HeldVote,
    MarkerQuestion,
    OpenQuestion,
    OpenRounds,
    PartTrace,
    Question,
    Report,
    RoundQuestion,
    ShardTrace,
    Sighting,
    TraceQuestion,
    TransferRecord,
    VotesQuestion,
)
from node.core.machine.requests import (
    EpochRequest,
    Kind,
    MarkerRequest,
    PartQuestion,
    Precommit,
    Prepare,
    RoundRequest,
    apply_request,
    is_round,
    unpack_request,
)
from node.core.machine.telling import FACTS
from node.core.machine.trail import Trail

__all__ = [
    "FACTS", "FACTS_KEPT", "FORM", "MACHINE", "NOT_SURE", "NOT_TOLD", "NO_ROWS", "ROUND_BITS", "SETTLED", "SUPERSEDED",
    "TABLE", "Alone", "Answer", "Asking", "At", "BasePart", "Body", "Change", "Decided", "Docket", "EpochBegun",
    "EpochRequest", "Fact", "Failure", "Guard", "HeldVote", "HoldEnded", "Int32s", "Judged", "Kind", "Loaded",
    "Machine", "Marker", "MarkerQuestion", "MarkerRequest", "Marks", "Merging", "Need", "OpenQuestion", "OpenRounds",
    "Opened", "Over", "Part", "PartQuestion", "PartTrace", "Payments", "Precommit", "Prepare", "Question", "Report", "RoundQuestion",
    "RoundRequest", "Rows", "Served", "ShardTrace", "Sighting", "StaleEpoch", "Statuses", "Superseded", "TraceQuestion",
    "Trail", "TransferRecord", "UnknownForm", "Votes", "VotesQuestion", "after_first", "apply_request", "check_apart",
    "check_form", "digest_of", "first_failures", "guards_command", "guards_of", "is_guards", "is_round", "judge", "pack_decision",
    "pack_entry", "rows_of", "status_of", "unpack_answer", "unpack_decision", "unpack_entry", "unpack_failed",
    "unpack_request", "unpack_vote",
]  # fmt: skip
