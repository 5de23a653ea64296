"""Commit rounds: transactions over several shards, decided together.

One *coordinator*, the leader of group 0, gathers every transaction that spans shards. While rounds are in flight the next one
gathers, so batching grows with load and a lone payment never waits. The participants of a round are the groups of its accounts,
and group 0 where a lock guards a row. Each group is replicated, so a participant is lost only with a majority of its nodes.

```
2pc   PREPARE -> votes of all                                         -> clients answered -> DECIDE
      PREPARE -> some votes stay out -> decision recorded in group 0  -> clients answered -> DECIDE
3pc   PREPARE -> votes -> PRECOMMIT in a majority of the participants -> clients answered -> DECIDE
```
A protocol is a `CommitProtocol`: a transition table and a way to find out what became of an orphan, a round that an earlier
coordinator left open. Everything else is shared. The tables as diagrams:

2pc
```mermaid
stateDiagram-v2
    [*] --> voting
    [*] --> orphaned
    voting --> deciding: voted
    voting --> recording: given_up
    voting --> deciding: nothing_agreed
    voting --> recording: nothing_left
    recording --> deciding: recorded
    orphaned --> deciding: decision_found
    orphaned --> deciding: votes_found
    orphaned --> deciding: no_decision_exists
    deciding --> ended: carried_out
    ended --> [*]
```
3pc
```mermaid
stateDiagram-v2
    [*] --> voting
    [*] --> orphaned
    voting --> precommitting: voted
    voting --> precommitting: given_up
    voting --> deciding: nothing_agreed
    voting --> deciding: nothing_left
    precommitting --> deciding: majority_precommitted
    orphaned --> deciding: decision_found
    orphaned --> precommitting: majority_found
    deciding --> ended: carried_out
    ended --> [*]
```

What each costs and survives. Let a round have k participants; a lone payment has two.

| | 2pc | 3pc |
|---|---|---|
| replicated writes before the client hears | k PREPAREs side by side | k PREPAREs, then k PRECOMMITs |
| calls from the coordinator, with DECIDE | 2k | 3k |
| a new coordinator needs to hear | group 0's record, or all participants | a majority of the round's participants |
| group 0's data lost for ever | a decision made without all votes can be lost with it | nothing is lost |
| must wait for a majority of | group 0; a participant, if there is no record | group 0 (else nobody is elected); most participants |

Why 2pc needs no decision record in the common case: a shard's votes are durable in it, and the decision is a function of the
votes. Once all have voted the outcome stands, whoever adds them up; clients hear it one replicated write earlier than if group
0 were written first (the idea is that of CockroachDB's parallel commits, RFC 20180324). The price: if the coordinator falls
then and a participant is away too, the others wait for that one. So a decision that some participant has not carried out a
moment later is recorded after all (`record_lingering`), and a decision that was made without some votes is recorded before
anybody hears of it: an abort, too, for those votes may be yes and still come, and by then the transfers have been tried again
and refused.

With two participants a majority is both, so a lone payment's round can be finished without one of its shards by neither protocol,
unless 2pc has recorded it. 3pc buys independence of group 0's data and of a minority of a large round's shards, and pays for it
with a write. Neither ever decides because time has passed: `abandon` ends a *voting* when votes stay out, before anybody has been
told to commit, and the shard that did not vote is told the decision before a late PREPARE.

Presumed abort: a round that some participant never prepared, and that no record, PRECOMMIT or finished participant speaks for,
did not commit.

Recovery. A new leader of group 0 takes its term as epoch. It first makes group 0 refuse records of lower epochs (an entry whose
answer brings the records there are: from then on a missing record stays missing), then every shard what lower epochs say. Each
answers with the rounds open there, its votes and the last PRECOMMIT of each, and the decisions that it has carried out and
others perhaps not. Then each orphan is ended as its protocol's `recover` says. New work is taken only for shards that have
answered. The first round of an epoch is alone in flight: everybody has waited for the epoch and comes at once, and three rounds side
by side would let the first answer wait for all of them. A coordinator whose leadership is to move while all is well finishes
first: it begins no round, and its successor finds no orphan whose clients wait. Both are the actor's (`Coordinator.rounds_max`).

Cuts. A marker goes to every shard in question, in one entry with all decisions that the shard may not have carried out; until
the shard has answered, it is told no later decision. Group 0 gets a marker each time: it refuses a deposed coordinator. So at
its marker each shard holds exactly the rounds that were decided when the cut began, while PREPAREs, votes and answers to clients
go on. A transfer within one shard is whole in a cut, but two of them in two shards are not ordered by it: a cut may hold the
later one alone.

Final words. An id belongs to its debit account's shard, and what is final is recorded there and nowhere else. So a transaction is final
only with the word of the shards of all its debits (`merge_votes`): while one is silent or must wait, a refusal by anybody else is
not final, and the transaction is tried again. What such a shard knows of an id is the answer, whatever else is wrong by now. A
chain fails at one row, which the decision names; that shard records it, and the other rows, `linked_event_failed`, are recorded
nowhere. A repeated chain fails at the row that is on record, so it gets the same statuses in the same places.

Balancing rows. What moves follows from an account that one shard alone knows, so a round tries an amount: the limit, if there is one.
Each of the row's two shards tells how far apart that is from what the row can move for all that it knows; the least must be 0, else the
row is `undecided`, and its next round tries what was told, up to `ATTEMPTS_MAX` times. A shard goes on behind such a row as if it had been
tried with what it tells, so a chain finds all its amounts at once. As long as only one of the two has looked at the row (the other is
silent, has stopped at an earlier row of the chain, or is not sure), the amount may be another one, and an objection to it, or to one behind
it in the chain, is not final. Decisions stay statuses: the amount that happens is that of the PREPARE.

Invariants: a decision is told only when all votes are in (2pc), it is recorded (2pc) or precommitted by a majority (3pc), or
nothing; one decision a round; a vote `undecided` (funds held by another open round) is tried again in a later round, up to
`ATTEMPTS_MAX` times; then it is answered as it is, and the client is told that the outcome is unknown. From its second wait on
it lets the rounds in flight end first: two that hold each other's funds would go on doing so for ever, each in rounds that
overlap the other's. A DECIDE waits for the next PREPARE to ride with, until somebody hurries it: a read or a transfer that must
wait for it, or the node's next tick. A shard's linearizable reads wait for the rounds open there, so nobody sees half of an
acknowledged transaction.

Traces. `trace.py` puts together what the shards' records and trails tell of one transfer, and what is undecided now. Only records
last; a trail remembers the last thousand rounds or so, and not for long after a restart.

Left out: time-outs of calls and their repetition (the coordinator actor repeats a call until it succeeds or the epoch ends).
"""

from node.core.commit.coordinator import ROUNDS_IN_FLIGHT_MAX, Coordinator
from node.core.commit.decisions import (
    Begin,
    DecisionRecord,
    Decisions,
    Note,
    NoteQuestion,
    RecordsQuestion,
    is_stale,
    records_of,
)
from node.core.commit.legs import number_transactions
from node.core.commit.phases import Event, diagram
from node.core.commit.protocols import PROTOCOLS, CommitProtocol
from node.core.commit.rounds import Answered, Ask, Cut, CutMade, Effect, Forget, Record, Recovered, Ticket, epoch_of
from node.core.commit.trace import TracedTransfer, describe, find_transfer, undecided_rounds

__all__ = [
    "PROTOCOLS",
    "ROUNDS_IN_FLIGHT_MAX",
    "Answered",
    "Ask",
    "Begin",
    "CommitProtocol",
    "Coordinator",
    "Cut",
    "DecisionRecord",
    "Decisions",
    "Effect",
    "Event",
    "Forget",
    "CutMade",
    "Note",
    "NoteQuestion",
    "Record",
    "RecordsQuestion",
    "Recovered",
    "Ticket",
    "TracedTransfer",
    "describe",
    "diagram",
    "epoch_of",
    "find_transfer",
    "is_stale",
    "number_transactions",
    "records_of",
    "undecided_rounds",
]
