"""What touches the outside: SQLite files, TCP, the clock; and in-memory twins of the stores.

`sqlite.py` opens a file the one way we open files; `sqlite_log.py` is the node's log, `sqlite_shard.py` a group's checkpoint;
`folder.py` keeps what a data folder says of itself and of the others;
`memory.py` holds their twins, which survive a restart of the node object and can lose what was not synced; `tcp.py` cuts a byte
stream into frames and messages; `clock.py` is the machine's time; `faults.py` breaks a node under test. What the actors may ask
of them stands in `node/ports.py`. Adapters translate library exceptions at the edge: whatever SQLite raises is `StorageFailed`
above.

Every file has one connection, used by one worker thread; each call is one function on that thread, because a hop costs more
than most statements. A call that has started runs to its end on that thread, even if its caller is cancelled; closing waits for it.

Invariants: what a store's `write` was given is on disk as a whole when it returns (`synchronous=FULL`); a foreign, newer or damaged
file is refused; a frame that breaks the protocol closes its connection and nothing else.

Left out: retries. A failed write or fsync stops the node, since nobody knows what the disk holds then.
"""
