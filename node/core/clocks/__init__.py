"""Time: what a leader stamps on entries, how long things live, and which of the nodes' clocks can be believed.

Every entry carries two times, stamped by the leader that proposes it (`Stamps`). They have different owners:

- *timestamp_ns*, the wall's time, is for people. It rises strictly from entry to entry of a log, and is slewed, never stepped,
  while one node leads: it runs between `1 - PACE` and `1 + PACE` times as fast as time, and aims at true time. So a clock that
  jumps leaves no trace but a slightly slow or fast stretch, and a log whose stamps are ahead returns to true time at that pace.
  A new leader may begin later than the last stamp, never earlier. No lifetime depends on it.
- *elapsed_ns* is how much time a log has counted. Holds and leases live by it, whatever the wall clocks show; their ends are
  entries, which the leader proposes when that much time has been counted (`Part.due`).

What a leader knows of the time that has passed. It counts with its machine's monotonic clock, from the last stamped entry that
it has applied and from the moment in which it applied it. That moment is never before the entry was stamped, so a log never
counts more time than has passed: nothing ends early. What is not counted makes lifetimes end late, by so much:

- At each change of leadership the way of the last entry from the old leader to the new one: milliseconds.
- A process that has been started since then does not know how old the end of its log is. While a log has open lifetimes its
  leader writes an empty entry as soon as it leads, every `QUIET_NS`, and before it hands over. So at most so much is lost, when
  such a process follows a leader that died, and only if it was not there when that wrote last.
- While no node of the group runs at all, no time is counted: whoever could have captured, voided or renewed could not do it
  either. A cluster that was down for an hour gives every hold an hour more, and `QUIET_NS`. What a wall clock says about that
  hour is not believed: machines that come back together are wrong together.
- A machine that is suspended does not count meanwhile; a paused process does.

The monotonic clocks are trusted to run as fast as time. A quartz that is fast by one part in ten thousand ends a hold of a week
a minute early.

Which wall clock is believed (`compare`). Nodes ask each other for their time and know it within half the round trip. Clocks of
a majority of all nodes that lie within `SKEW_NS_MAX` of each other are right together; whoever is further away is *far off*. It
lets the others lead: gives leaderships away, and campaigns only after they have had several election timeouts; what it has to
stamp meanwhile it stamps by the majority's time. Where no majority agrees (two nodes of two, three that all differ) nobody is
far off. The last reading of a peer that is gone counts on, as its clock goes on.

Left out: setting anybody's clock, and time zones.
"""

from node.core.clocks.comparison import SKEW_NS_MAX, Comparison, Reading, compare
from node.core.clocks.stamps import PACE, QUIET_NS, Stamp, Stamps

__all__ = ["PACE", "QUIET_NS", "SKEW_NS_MAX", "Comparison", "Reading", "Stamp", "Stamps", "compare"]
