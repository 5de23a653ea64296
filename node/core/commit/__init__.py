"""Commit rounds: transactions over several shards, decided together.

One *coordinator*, the leader of group 0, gathers every transaction that spans shards. While rounds are in flight the next one
gathers, so batching grows with load and a lone payment never waits.

```
gather -> PREPARE to every shard of the round -> votes -> decision recorded in group 0 -> clients answered
                                                                                      \\-> DECIDE to every shard
```
A DECIDE rides with the shard's next PREPARE if one is about to leave. This is two-phase commit with presumed abort: only a round
with something to commit is recorded, and a round without a record, of an epoch that is over, did not commit.

Why it does not block like textbook 2PC: coordinator and participants are replicated groups. A new leader of group 0 takes its term
as epoch. It first makes group 0 refuse records of lower epochs (an entry whose answer brings the records there are: from then on
a missing record stays missing), then every shard lower epochs, and ends each round still open: with the record if group 0 has one,
else by abort. It takes new work only for shards that have answered.

Invariants: a decision is sent only after it is recorded or when no record can ever exist; one decision a round; clients hear
`created` only after the record is durable; a vote `undecided` (funds held by another open round) is tried again in a later
round, up to `ATTEMPTS_MAX` times; then it is answered as it is, and the client is told that the outcome is unknown.

A shard's linearizable reads wait for the rounds open there, so nobody sees half of an acknowledged transaction.

Left out: time-outs of calls and their repetition (the coordinator actor repeats a call until it succeeds or the epoch ends), 3PC, locks.
"""

from node.core.commit.coordinator import (
    Answered,
    Ask,
    Coordinator,
    Effect,
    Forget,
    Marked,
    Record,
    Ticket,
    epoch_of,
)
from node.core.commit.decisions import Decisions

__all__ = [
    "Answered",
    "Ask",
    "Coordinator",
    "Decisions",
    "Effect",
    "Forget",
    "Marked",
    "Record",
    "Ticket",
    "epoch_of",
]
