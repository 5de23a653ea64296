"""From the first start of a data folder until its node belongs to the cluster: what runs here meanwhile, and what it waits for.

A cluster is founded by all of its nodes together (`node.core.members` says why). Each step is durable before the next, so that whoever
dies in between goes on from there:

| the data folder | runs here | the next step |
|---|---|---|
| is new, and no other node belongs to the cluster | nothing | all other nodes have been met: group 0's replica runs |
| has something of group 0's log | group 0's replica, from the start on | group 0 registers the folder |
| is new, and others belong to the cluster | nothing | group 0 registers it, if its number is vacant |
| is registered | group 0's replica, if it took part | all nodes have registered: the folder belongs to the cluster |
| belongs to the cluster | everything, from the start on | |

A node of group 0 registers only when it has something of its log. So of the nodes that the table names, any majority can go on
without the rest; and one that has registered learns from any peer that all have, without asking anybody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from node.actors.members import MemberDesk
from node.actors.replica import Replica
from protocol.placement import COORDINATOR

RETRY_SECONDS = 0.05  # between two steps: group 0 elects its first leader meanwhile


class Founding:
    """One a node."""

    def __init__(
        self, members: MemberDesk, replicas: Mapping[int, Replica], activate: Callable[[Mapping[int, Replica]], None]
    ) -> None:
        """`replicas` are those of this node that run; from `activate` on others do: they hear their peers, vote and acknowledge."""
        self._members = members
        self._replicas = replicas
        self._activate = activate

    def begin(self, restored: Mapping[int, Replica]) -> None:
        """Before anybody is spoken with."""
        if self._members.is_admitted:
            self._activate(restored)
        elif COORDINATOR in restored and restored[COORDINATOR].raft.status().term > 0:
            self._activate({COORDINATOR: restored[COORDINATOR]})

    async def finish(self, restored: Mapping[int, Replica]) -> None:
        """Returns when this node belongs to the cluster, and everything runs. Raises NotAdmitted."""
        members = self._members
        while not members.has_place:
            if members.may_found and COORDINATOR in restored:
                self._activate({COORDINATOR: restored[COORDINATOR]})
            if members.is_alike and (members.is_founded or self._has_log(restored)):
                await members.register()
            await asyncio.sleep(RETRY_SECONDS)
        members.settle_in()
        if members.is_replacement:
            for replica in restored.values():
                replica.raft.begin_outside()
        self._activate(restored)

    def _has_log(self, restored: Mapping[int, Replica]) -> bool:
        return COORDINATOR not in restored or restored[COORDINATOR].raft.durable_end.index > 0
