"""Clusters of real processes on this machine: what `scripts/cluster` runs, and what demo, load, chaos and tests stand on.

A cluster has a folder of its own: `cluster.toml`, and for node N its data `node-N/`, its log `node-N.log` and its pid file. A marker
says that it was made here: a folder with other things in it is refused, and `clean` deletes what was made here only.

`command.py` is the program. `folder.py` is what needs no settings: nodes by the files they leave, and what ends them; `processes.py` is
one node's process; `making.py` makes and opens a folder; `cluster.py` is a cluster that is there: it starts nodes and waits for them;
`view.py` is how it stands, `logs.py` what its nodes have told; `replace.py` brings back a node that has lost its data, `faults.py`
breaks and heals by the nodes' own switch.

Invariants: a pid alone proves nothing, a process is a node while its command line is; who was interrupted leaves nothing running that it
started; nodes can be ended and their data deleted whatever was done to the settings.
"""

from scripts.local.cluster import LocalCluster, until
from scripts.local.folder import ClusterError
from scripts.local.making import create, open_cluster, temporary
from scripts.local.view import View

__all__ = ["LocalCluster", "View", "ClusterError", "create", "open_cluster", "temporary", "until"]
