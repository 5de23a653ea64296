"""Allowances: how much an account may pay out a day, in the time zone of its owner. The part to learn from how one is written.

An allowance counts every payment that leaves its account, in the entry that moves the money: within a shard, in batches, and in rounds
between shards, where it is reserved at PREPARE and given back if the round is decided otherwise. So no two payments slip under one
allowance, and none is refused that fits. A payment counts for the day in which it was judged. A hold counts when it is opened, for its
whole amount; what its end gives back on the same day may be paid out again. Captures count nothing more.

| command | logged as | answer |
|---|---|---|
| ["set", a `SetAllowanceRequest`, packed] | `SetCommand` | ["allowance", `AllowanceStatus`] |
| ["renew"] | `RenewCommand` | ["renew"] |

| question | answer |
|---|---|
| ["allowance", account] | ["allowance", [amount, paid out today, zone, until_ns, id of the last change] or None] |

What happens where, as a guide to a part of your own:
- `operations`, in `operations.py`: what clients may ask it for (in the form of `protocol/requests/`), and which account places it.
- Commands have names, and one place where they are packed and unpacked: `commands.py`.
- `resolve`, at the leader: the account's row is asked of the ledger, and when the day ends is found out (`days`). Time zones are
  changed by governments and by updates of the machine, so replicas must not look at them: the log holds when each day ends. A leader whose
  tz database lacks a zone refuses changes that name it, and lets each day of those that are set last 24 hours from the last midnight.
- `apply`: time has passed since `resolve`, so what was found out there is held against the entry's stamp: a day that is over by then ends
  first, and a change that knows only of a day that is over is answered `retry`, which `waits` for another `resolve`.
- `joins`: as soon as there is an allowance; before that, payments cost nothing here.
- `accompany`, at the leader: a payment that comes behind a day's end brings the next one's end along.
- `join`: payments are looked at in columns; those that could exceed an allowance in some order are judged one by one. A row
  that ends a hold gives its rest (`Payments.rests`) back to the rows behind it; in a round to those of its own transaction alone.
- `decide`, in `counted`: reservations of a round become payments, or are given back. Until then nobody is refused for good who may fit
  behind it: also where the round ends holds, of which the ledger alone knows what is left. So as long as one does, whoever would fit
  without all holds of the account's day is `undecided`.
- `observe`: a hold that has ended otherwise, or with its round, gives its rest back.
- `take_facts`: an allowance that was set is told to other parts and to whoever subscribes (`facts.py`, `kinds`; a new kind of events is one
  of `protocol/events.py`).
- `due`: a day is over; the next one begins by an entry, which holds a bounded number of them.

To add a part, write its package beside this one, name it in `SHARD_PARTS` of `node/daemon.py`, and give it what its clients see:
operations, statuses and their words (`protocol/operations.py`, `requests/`, `status.py`, `expected.py`, `views.py`, `PROTOCOL.md`),
methods with their synchronous twins (`protocol/client/`), commands (a file of `node/cli/`, its `options.py`), tests, a workload of the
simulator. Mind:
- A status that refuses a transfer is recorded only if `protocol.status.is_recorded` says so.
- Another form of entries or checkpoints raises `FORM` of `node.core.machine.entry`.
- Credits of a split account land in the payer's shard, so what counts credits counts them there, share by share.

Invariants
- 0 <= spent, 0 <= reserved, and spent + reserved <= limit, unless the limit has been lowered since, or a round pays what it gives back.
- `held` is the part of `spent` that open holds have counted when they were opened; `ending` is 0 where no round is open.
- `spent`, `reserved` and `held` are those of the day that ends at `until_ns`; a round remembers for which day it has reserved.
- Days go forward only: one begins where the last is over by the stamps of the log, whoever leads and whatever changes; none comes twice.
- Behind `until_ns` nobody is judged: such a payment is answered `retry` and comes again with the next day.

Left out: allowances over other spans than a day, and over several accounts of one owner. A reversal gives nothing back of a day: it is
a payment of its own, perhaps of another day. A balancing payment is not bounded by an allowance, but refused where it exceeds it. A
round that captures a part of a hold whose time passes meanwhile gives the rest back with its decision, and nobody waits for that;
neither for a hold that a round has begun to end while the account had no allowance.
"""

from node.core.allowances.allowances import Allowances

__all__ = ["Allowances"]
