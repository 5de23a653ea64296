"""Split accounts: which there are, and how their parts' funds are brought together.

A split account lives as one part a shard, each an ordinary account of its shard's ledger with the same id. So a payment with it
stays in the shard of the other account and is decided in one entry. Its balance is the sum of the parts at a consistent cut.

- Where routing lives: `protocol.placement.groups_of_transfers` says which part a transfer takes; the clients, the router and nobody
  else ask it. `Splits`, a part of group 0, lists the split accounts; nodes and clients are told when they connect and whenever
  there is a new one.
- Why stale knowledge is harmless: the list is a hint. The ledger marks each part as one, and insists on the right part for a debit (the
  scope of a transfer's id is the shard that it is taken from: if any part would do, a repeated payment could happen twice). What comes
  to another part is answered `elsewhere`, and what concerns all parts is marked or answered so too. The node that serves the client
  then learns of the account and asks again in the right way (`node/actors/split.py`). A credit may go to any part.
- A part never falls below its own minimum: the account's at the *home* part (the one in the shard of its id), 0 at the others; so the sum
  never falls below the account's. A debit that its part cannot cover is answered `part_short` and recorded nowhere. The
  coordinator's node then reads all parts at a cut and moves funds, in an ordinary commit round between the parts (`plan_moves`): what is
  needed, and an equal share of what is left, so that the next debits there find some. Whoever waits for the same account shares the
  cut and the round. If the sum is not enough for a transfer alone, at cuts without open rounds, that is tried once more as final, and
  recorded.

Invariants: an account is split for life, from when it is opened; the list only grows; the parts' sum changes by payments alone.

Left out: a maximum balance, closing, `if_version` (each is refused by name), and a change between having and not having a minimum.
A batch's debits that had to wait for funds happen after its others. Freezing reaches the parts one after the other: all when it is
answered. A refusal that was recorded before the account was opened is not known to its parts. A cut may miss a credit and hold a later
debit of another shard, so two cuts in a row are asked before a refusal; both could be unlucky. Moves between parts count in the turnover
of an audit, on both sides.
"""

from node.core.splits.plan import plan_moves
from node.core.splits.splits import Splits

__all__ = ["Splits", "plan_moves"]
