"""Which cluster this is, and which data folder each node has: a part of group 0's machine.

*Identity*: a random number that a cluster is given when its first node registers. Every node stores it once it knows it, every
client remembers it, and both refuse another one. So two clusters of one name under the same addresses cannot be taken for
each other.

*Data id*: a random number that a data folder is given when it is made. A node whose folder is new registers it before it takes
part in anything but group 0's first entries; from then on its number belongs to that folder. A node that comes back with
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

*Founding* (`node.actors.founding`): a cluster is founded by all of its nodes together. None takes part in group 0 before it has
met all others, and none serves before each has its row. A majority would be enough to keep a log, but not to begin one: new
folders of a majority cannot be told from lost ones while a node that knows better is away, and they would make a second, empty
cluster in place of the first; and what is acknowledged before all have come has less redundancy than the settings promise. Until
then nothing is acknowledged, so whoever has lost a folder in the middle empties all and begins anew. Afterwards each row is there for
good: any majority goes on without the rest, and a new folder under a number is a lost one, unless the row is vacant. A cluster of one
node founds itself, at once, and nobody would know if its folder were lost.

Left out: adding and removing numbers. The nodes of a cluster are those of its settings.
"""

from node.core.members.members import Members, event_command, table_of
from node.core.members.table import TRANSITIONS, Member, MemberEvent, MemberState, MemberTable

__all__ = ["TRANSITIONS", "Member", "MemberEvent", "MemberState", "MemberTable", "Members", "event_command", "table_of"]
