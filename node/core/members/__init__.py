"""Which cluster this is, and which data folder each node has: a part of group 0's machine.

*Identity*: a random number that a cluster is given when its first node registers. Every node stores it once it knows it, every
client remembers it, and both refuse another one. So two clusters of one name under the same addresses cannot be taken for
each other.

*Data id*: a random number that a data folder is given when it is made. A node whose folder is new registers it before it takes
part in anything but group 0's very first election; from then on its number belongs to that folder. A node that comes back with
another folder has lost what it acknowledged: its vote could undo payments. It is refused, by the word of group 0, that is of a
majority; what a single node remembers is a copy, which any newer one replaces.

```mermaid
stateDiagram-v2
    [*] --> member: register
    member --> leaving: leave
    leaving --> vacant: vacate
    vacant --> joining: register
    joining --> leaving: leave
    joining --> member: settle
```
*Replacing* a folder that is lost (`node.actors.replacing` drives it, and says why it is safe): the row is `leaving` until each
group of the node has removed it by a committed change, `vacant` until a new folder registers under the number, `joining`
until each group has taken it in again, as a learner first.

A command that fits no transition, or names another data id than the row's, comes late or twice and changes nothing; the
answer is the table as it stands.

Left out: adding and removing numbers. The nodes of a cluster are those of its settings.
"""

from node.core.members.members import Members
from node.core.members.table import TRANSITIONS, Member, MemberEvent, MemberState, MemberTable

__all__ = ["TRANSITIONS", "Member", "MemberEvent", "MemberState", "MemberTable", "Members"]
