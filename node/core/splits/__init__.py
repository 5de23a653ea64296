"""Split accounts: which there are, and how their shares' funds are brought together.

A split account lives as one share a shard, each an ordinary account of its shard's ledger with the same id. So a payment to it
stays in the shard of the payer and is decided in one entry, whoever pays. Its balance is the sum of the shares at a consistent cut.

- It pays from its *home* share, the one in the shard of its id, like any account. So the scope of a transfer's id is one shard, whatever
  account is debited and wherever the credit is: if any share could pay, an id could pay twice. `groups_of_transfers` in
  `protocol.placement` says where a transfer goes, and the ledgers insist on it: any other share answers `elsewhere`, to a debit and to
  the settling of an id. `Splits`, a part of group 0, lists the split accounts; nodes and clients are told when they connect and
  whenever there is a new one.
- Why stale knowledge is harmless: a sender that does not know the account as split sends all to its home share, where a credit may go,
  too. The ledger marks each share as one, and what concerns all shares is marked so by it. The node that serves the client then learns of
  the account and asks again in the right way (`node/actors/split.py`).
- A share never falls below its own minimum: the account's at the home share, 0 at the others; so the sum never falls below the account's.
  A debit that the home share cannot cover is answered `share_short` and recorded nowhere. The coordinator's node then reads all shares at
  a cut and moves what the others have to the home share, in an ordinary commit round (`plan_moves`), so that the next debits find some,
  too. Whoever waits for the same account shares the cut and the round; who comes later waits for what those before leave. If the sum is
  not enough for a transfer alone, at cuts without moves under way, that is tried once more as final, and recorded: what the home share's
  own open rounds may still bring, its ledger knows, once it has all that the others had.

Invariants: an account is split for life, from when it is opened; the list only grows; the shares' sum changes by payments alone.

Left out: a maximum balance, closing, `if_version` (each is refused by name), and a change between having and not having a minimum.
A batch's debits that had to wait for funds happen after its others. Freezing reaches the shares one after the other: all when it is
answered. A cut may miss a credit and hold a later
debit of another shard, so two cuts in a row are asked before a refusal; both could be unlucky. Moves between shares count in the turnover
of an audit, on both sides.
"""

from node.core.splits.plan import ShareMove, moves_home, plan_moves
from node.core.splits.splits import Splits, add_command, status_of

__all__ = ["ShareMove", "Splits", "add_command", "moves_home", "plan_moves", "status_of"]
