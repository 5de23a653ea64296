"""Load on a cluster: the demo, and the bench that measures.

`demo.py` is a day of payments with kills and an audit: `payments.py` reads or makes the payments, `customers.py` sends them, `proof.py`
reads the books back. `bench.py` measures, as `options.py` says: `workload.py` makes the load beforehand, `clients.py` sends it, `report.py`
prints; `accounts.py` opens and funds what all of them use; `kills.py`, `locks.py`, `contention.py` and `subscriber.py` are measurements
of their own; `beside.py` runs all that beside an older commit.

Invariant: the bench's files (`beside.BENCH_FILES`) know nothing of a node but `protocol.client` and the face of `scripts.local`, so that
they can measure any commit.
"""
