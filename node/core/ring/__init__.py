"""Where the shards live: the planner of the placement table.

The ring's hash and the table itself are part of the wire (`protocol.placement`), since clients route by them; this
package decides what the table says. `place` is pure: the members and the table in force in, a `Plan` with the next
table and the moves that lead to it out. Plans carry a generation, and whoever carries one out refuses an older one.

Invariants, held by the tests:

- A shard has `min(replication, nodes)` distinct replicas, and a node holds the mean of them, rounded down or up.
- One node more moves exactly the replicas that the new node gets, its even share. One node less moves those it held
  and, where distinctness forces others to be passed on, at most a tenth more (below 16 shards: at most one more).
- Preferred leaders are even to one shard; the leader of the table in force stays where evenness allows it.
- The same members and the same table in force give the same plan, in whatever order the members are named.

Left out: weights of nodes, and racks. Group 0 is placed apart, on 1, 3 or 5 nodes that stay while they are members.
"""

from node.core.ring.planner import Move, Plan, place

__all__ = ["place", "Plan", "Move"]
