"""What touches the outside: SQLite files, TCP, the clock; and in-memory twins of the stores.

`sqlite.py` opens a file the one way we open files; `sqlite_log.py` is the node's log, `sqlite_shard.py` a group's checkpoint;
`memory.py` holds their twins, which survive a restart of the node object and can lose what was not synced;
`tcp.py` cuts a byte stream into frames. Adapters translate library exceptions at the edge (`StorageFailed`).

Every file has one connection, used by one worker thread; each call is one function on that thread, because a hop costs more
than most statements. A call that has started is never cancelled: callers shield it.
"""
