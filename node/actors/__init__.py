"""The actors of a node, one file each: where the pure core meets time, disks and the network.

An actor is one task, one machine and one bounded inbox (`actor.py`). It drains what has come, steps its machine, lets the
effects out in their fixed order, and never waits inside a step. The actors meet in `node/daemon.py` only; the outside is
`node/ports.py`, and what of it a node is given stands in `outside.py`.

The way of a payment::

    client -> session -> router -> replica (its group's leader) -> log writer + links to peers
                            |          -> majority durable -> replica applies -> session -> client
                            \\-> coordinator -> replicas of the round's groups -> votes -> decision -> session -> client

- `session.py`: an accepted connection. Has no task: a frame is handled where it arrives, and its answers are callbacks.
- `admission.py`: what a node takes on, by number and bytes of requests under way, reads by the bytes of their answers; a full or
  slow node refuses at once.
- `reading.py`: reads that take more than a moment, a few at a time, in turns of their connections; payments come between their steps.
- `router.py`, `operations.py`: what a request must look like, and which replica, node or coordinator it goes to.
- `replica.py`: one group on this node, its log (`node.core.raft`) and its machine (`node.core.machine`) side by side.
  `pipeline.py` turns requests into entries at the leader, gathering while entries are in flight; in `waiting.py` connections
  take turns; `questions.py` answers reads, and lets those wait that follow facts; `events.py` is its inbox's union,
  `replica_ports.py` what it is connected to; `snapshots.py` streams a checkpoint out and takes one in.
- `log_writer.py`: one a node, the only one that touches the log file. A drain of it is one durable transaction of all groups.
- `coordinator.py`: one a node, idle unless the node leads group 0; runs `node.core.commit`. `audit.py` uses its cuts,
  `to_coordinator.py` has the ways to it.
- `handover.py`: leaderships move while all is well: home to their preferred nodes, one at a time, and away from a node that stops or
  whose clock is far off.
- `clocks.py`: this node's wall clock among the others'; the rules are in `node.core.clocks`. Has no task.
- `directory.py`: who leads what and which accounts are split, as the router knows it; tells clients and peers.
- `waiters.py`: who waits for a lock and may be gone.
- `locks.py`: the lock desk, one a node, idle unless the node leads group 0: gathers words to `node.core.locks` and tells who is let
  in. Has no task.
- `faults.py`: what a client may break on purpose in a cluster under test.
- `status.py`: what a node says of itself.
- `tracing.py`: what became of a transfer, and what is undecided, asked of all leaders; works while some are away.
- `split.py`: asks again, in the right way, what was asked without knowing of a split account's shares; opens such accounts, and on the
  coordinator's node gathers their funds.
- `members.py`: whether this node belongs to the cluster, and with whom it may speak; a new one compares and registers before it
  takes part (`founding.py`). Has no task. What it decides by is `node.core.members`, a part of group 0's machine.
- `restoring.py`: replicas as the disk has kept them, at a start.
- `replacing.py`: brings a node back whose data folder is lost: whoever leads a group makes its membership what the table of
  members asks for.
- `remembering.py`: what peers have acknowledged and when they started, stored for them (rows in `recollection.py`);
  `doubts.py`: what a node does about a disk that has lost something, by its own files or by what peers remember. Neither has a task.
- `life.py`, `group_notices.py`, `episodes.py`: what people are told (`node.notices`) of the process as a whole, of a group's leaders,
  and of what happens often; anything else is told where it happens. None has a task.
- `peers.py`: a link to each other node, on which this node talks and asks; its messages of one turn of the loop share a frame. `routes.py`:
  the way of a call to another node, over a third one while the link between the two is silent.

Invariants
- Persisted before sent: what a message shows of the log (a vote, an acknowledgement, a reply `created`) leaves only after the
  log writer has called back for it. Callbacks come in the order of the writes and step the replica there and then. What is stored
  elsewhere and depends on the log waits for it too (`Replica.flushed`).
- A request gets one outcome: the reply list, or a `Failed`, which says whether what was asked for may have happened or yet
  happens. Whoever makes the failure knows, and says `not_done` only then; nobody later takes it from a code, and whoever has
  asked before, or has asked others too, adds its own doubt. Ids make it safe to ask again.
- A request has a time, told by the clock of the node that it goes to, so that the network cannot make it younger: whoever
  looks at it later (session, pipeline, lock desk) answers `overdue` and leaves it undone. What it changes has an identity or a
  condition besides, so that a copy within its time happens once.
- Work and reads have each their own part of a node, and what finishes a request that was taken is never refused by admission.
- What a client makes a node hold (requests, answers that it does not take, the beginning of a frame) is bounded, for each
  connection and in all; who takes nothing is cut off, and reads for somebody who is gone are dropped.
- What a peer says of a log counts once it has said what it remembers of this node, in this start; what comes before, on the
  peer's own link, is dropped like what a network loses. So nobody follows a leader that speaks of what this disk has forgotten.
- A full inbox answers `busy` to clients and drops messages of peers, counted. Only answers to what an actor itself asked for,
  and this node's own words about leaderships and lost peers, are pushed past the bound.
- A node whose data folder is new has no replicas, for itself and for others, until its folder is registered; a client that comes
  before is answered then.
- A replica serves once it has applied an entry of its own term, and stops when it hears of another leader or term; then
  everyone who waits there is told.
- A linearizable read waits for a read point, then for rounds that are open on what it reads. A client that names a group is
  served there or told `not_leader`; only requests without a group are forwarded and tried again, until their deadline.
- A node listens before it speaks with anybody: a second process at its address, perhaps on a copy of its folder, gets no further.
- A peer is up while it is heard, not while its connection is open; a connection that stays silent is renewed.
- The machine changes in `_apply` and `_install` alone. No checkpoint is written while the store is exported, and a snapshot
  is installed only when no checkpoint is under way.
- What a node goes by of group 0's state it reads from the part of its own replica. The lists of split accounts and of members are
  looked at once a tick: that is right after an entry, a checkpoint and an installed snapshot alike, and what follows (the folder is
  written, peers are told) stays out of `_apply`. Only the lock desk is told behind each entry (`ReplicaPorts.applied`): clients wait for
  what it says, and it has something to say only where its replica leads, which installs nothing.
- An exception in any task stops the node; nothing is swallowed, and a restart recovers from the log.

Left out: adding and removing nodes while a cluster runs, and metrics.
"""
