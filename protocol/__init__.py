"""The wire: everything that a client and a node, or two nodes, must agree about.

PROTOCOL.md in this folder specifies it with test vectors, well enough to write a client in another language; the tests
hold the code against that document. The modules, each on its own and imported by its own name:

- `frames`: length, checksum and body; strict msgpack.
- `messages`: the twelve messages and the handshake.
- `clocks`: until when a request is good, by the clock of whoever gets it.
- `columns`: a batch of transfers, `metadata` what one may carry; `status`: what becomes of each; `errors`: why a request was not
  carried out; `expected`: what would have been.
- `operations`: what can be asked for, `requests`: with which words; `answers` and `rows`: what comes back, by name; `views`: what a client
  makes of it.
- `events`: what subscribers are told, and their cursors.
- `names`: what an account or a lock may be called.
- `ids`, `money`: transfer ids, currencies and exact amounts.
- `placement`: from an account to its shard, from a shard to its nodes.
- `client`: the client.

Invariants: all but `client` is pure (no clock, randomness or I/O). Bytes from outside raise `ProtocolError` and nothing
else. An amount is an integer in minor units. Once released, a change to what travels raises `messages.PROTOCOL_VERSION`.

Left out on purpose: compression and encryption are the transport's; what an operation means is the node's.
"""

__version__ = "0.1.0"  # of the whole package; the wire has its own, `messages.PROTOCOL_VERSION`
