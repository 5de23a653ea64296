"""The ledger of one shard: accounts, transfers, holds and their record. Pure, columnar, the first part of the machine.

`Ledger` implements `node.core.machine.Part`. A command goes through `resolve` at the leader (account ids become
rows; form, old ids and old holds are judged once), is logged, and is applied alike by every replica.

| command (client's shape) | answer |
|---|---|
| ["accounts", rows, or an `AccountsRequest`] | ["accounts", status bytes] |
| `ShareCommand` | ["share", `AccountStatus`] |
| `UpdateCommand` | `UpdateAnswer` |
| `FollowCommand` | ["follow", `AccountStatus`] |
| ["transfers", `Transfers.pack()`] | ["transfers", `Status` bytes] |
| `CancelCommand` | `OutcomeAnswer`, of the record; `cancelled` if there was none |
| ["expire"] | ["expire", how many holds were due] |
| ["legs", `Transfers.pack()`, int32 transactions, uint8 sides, int32 rows of the round(, int64 tried)] | votes of a round, see `legs` |

| question | answer |
|---|---|
| `AccountsQuestion` | an `AccountRow` or None each |
| ["transfer", id] | a row of history and what is left of the hold it opened, or None |
| ["row", account] | ["row", its place in the columns, by which other parts know it, or None] |
| ["history", account, cursor or None, limit, newest first(, with refused ones)] | ["history", rows, next cursor] |

The files, from the bottom, each of which knows only those before it: `commands` (and answers), `questions`, `operations` (what clients
may ask for), `limits` (bounds), `accounts` (columns), `ids` (sorted keys), `batch` (a logged batch), `segment`, `stored` and `history` (the
record), `facts` (what readers are told), `repeats` (ids that it holds), `holds`, `reversals`, `prepared` (what a PREPARE leaves),
`books` (all of it together), `record` (for readers), `origins` (what reversals name), `sheet` and `exact` (one by one; `posting` carries
out, `reserving` sets aside for a round), `fast` and `transfers` (columns), `legs` and `rounds` (a PREPARE, its decision), `resolve`,
`terms`, `account_commands`, `updates`, `settling`, `checkpoint`, `queries`, `ledger`.

Invariants
- posted - held >= -2^62 and posted + incoming < 2^62 for every account, so no column and no sum of two can wrap; sums of a
  batch are proven before they are added. `unsettled` counts what open rounds have reserved of debits (it is part of
  `held`, except for captures and voids, whose money was held before).
- Rows whose outcome is known already are answered by columns; of the others, the fast path carries out only what is safe in
  every order, and the exact path does the rest in order. All leave the state that the exact path alone would.
- An id is recorded once in its debit account's shard, which is its scope, with its first final outcome. A failed id keeps its failure,
  whatever the body of the repeat. The form of a request and `linked_event_failed` are not recorded: a chain fails at one row, the first
  of those whose ids are known, else the first that is refused now. So a repeated chain gets the same statuses in the same places.
- The times of the record's rows rise strictly, a nanosecond a row at the least, from their entry's time on: `History` gives them.
- What apply sees depends on the log alone: the tail, the last sealed segments (`limits.WINDOW_SEGMENTS`), and the leader's findings in the
  entry. If segments that the leader did not search have left the window, the batch is answered `retry`.
- A hold ends by its last or its final capture, a void or `expire`; one that an open round touches ends with the round. What a round
  gives back of a hold waits for its decision; the transaction's own rows behind it may spend it.
- A hold promises its creditor the money until its time has passed, not the room for it: it changes nothing at the credit account,
  which often is in another shard. That must take money when the hold is opened; its state and its maximum are judged again by each
  capture. So it may freeze, close or be full meanwhile: the capture is refused, the money stays on hold, and a void or the end of
  its time gives it back, whatever the creditor is by then. The debit account cannot close before.
- An account's `version` is the log index of the entry that changed it last. Reservations of open rounds are no changes: they may come
  to nothing. So a version stands for one state without reservations, and whoever wants one (`if_version`) while a round is open on the
  account is answered `undecided` (`retry` for an update).
- A balancing row's amount is fixed on the exact path, as are all rows of its accounts: only their order tells what there is. Within a
  shard it is fixed when the row is judged. Between shards every replica of every shard must take the same one, and only the
  shard of the account that bounds it knows it. So a round tries an amount that stands in its PREPARE: that shard reserves it if it has as
  much, and tells how far apart it is from what it has; the row happens only if that is 0, else the next round tries what was
  told. The record of both shards has the amount of the round that happened.
- A reversal is judged where the id that it names is found: on its credit side. Counters of what was given back are state, and never exceed
  what the record says was moved; that of an open round counts as given back for all others, who are `undecided`.
- `if_version` is judged on the debit side, against the version before the transaction at hand; what earlier transactions of
  the same command have changed is at the entry's index already. All rows of an account whose version is wanted take the
  exact path, in order.
- Of a split account (`node.core.splits`) only the *home* share pays and settles ids, any other answers `elsewhere`; and what it lacks
  says nothing of the other shares, so it answers `share_short` unless the row is final (`if_version` is
  `protocol.columns.FINAL_VERSION`). Neither is recorded. `update` of a share needs a last item, true: all shares are told.
- `accounts_must_have_the_same_currency` across shards is the coordinator's: votes come with each account's currency.

Memory: about 250 bytes an account, 60 bytes a transfer for the tail and the window, 64 bytes for each older segment.
A segment that has left the window stays until the checkpoint that archives it is done.

Costs to know
- Ids are expected to sort by time. The leader reads an old segment (about 1 MB) from the store only when an id falls
  into one of its four key ranges. Ids that are random in all bits fall into all of them: every request then reads the
  whole record.
- A page of history looks into the links (about 80 kB a segment) of at most 32 stored segments and reads at most 8 of them,
  so it takes milliseconds however long the record; a page may be short, or empty, before the end.
- Archive tables (`Ledger.archive_tables`) grow with history and are read by key only; `restore` never asks for them.

- Whoever reverses old transfers makes the leader read their segments, four at a time; of each only what was found is kept meanwhile.

Left out: a hold cannot be opened and captured in the same cross-shard transaction, as its capture is judged at
PREPARE; likewise a transfer and its reversal, in one shard, too. A hold that has ended answers its final state even if the request names
other accounts. Where two ended holds' ids collide in 63 bits of their digest, the older one answers `hold_not_found`.
"""

from node.core.ledger.ledger import Ledger

__all__ = ["Ledger"]
