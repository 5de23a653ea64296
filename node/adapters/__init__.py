"""What touches the outside: SQLite files, TCP, the clock; and in-memory twins of the stores.

`sqlite.py` opens a file the one way we open files; `sqlite_log.py` is the node's log, `sqlite_shard.py` a group's checkpoint;
`promises.py` holds what the node has promised by its log a second time (`log.promises`; what a start makes of the two stands in
`node.core.raft.promises`); `starts.py` what tells an old copy of the folder, or what is left of one, from the folder itself: its
starts and its files' identity (`starts.json`), and what its peers have acknowledged (`remembered.json`). Only an empty folder is
new; the doubts that follow are `node.actors.doubts`;
`folder.py` keeps what a data folder says of itself and of the others; `checked.py` is how such small files are written and read;
`memory.py` holds their twins, which survive a restart of the node object and can lose what was not synced; `tcp.py` cuts a byte
stream into frames and messages; `descriptors.py` says how many connections a process may hold; `clock.py` is the machine's time;
`faults.py` breaks a node under test; `operator_log.py` writes the operator's log as lines of JSON, the only file that knows structlog,
and has its twin. What the actors may ask
of them stands in `node/ports.py`. Adapters translate library exceptions at the edge: whatever SQLite raises is `StorageFailed`
above.

Every file has one connection, used by one worker thread; each call is one function on that thread, because a hop costs more
than most statements; `log.promises` is written on the log's. A call that has started runs to its end on that thread, even if its
caller is cancelled; closing waits for it.

Invariants: what a store's `write` was given is on disk as a whole when it returns (`synchronous=FULL`); a foreign, newer or damaged
file is refused; a damaged row of the log's hard states or cuts counts as none, and a damaged entry continues no chain: what that
means, the promises tell (`restore_log`); a frame that breaks the protocol closes its connection and nothing else.

A loss of power in the middle of a write may leave the log without its promise: that write was never told.

Left out: retries. A failed write or fsync stops the node, since nobody knows what the disk holds then.
"""
