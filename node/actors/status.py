"""What a node says of itself and of the cluster, as `protocol.views.NodeState` reads it."""

from __future__ import annotations

from collections.abc import Mapping

from node.actors.admission import Admission
from node.actors.clocks import Clocks
from node.actors.coordinator import CoordinatorActor
from node.actors.peers import Link
from node.actors.replica import Replica
from node.actors.router import Call, Router


class Status:
    """Serves `cluster`."""

    def __init__(
        self,
        router: Router,
        replicas: Mapping[int, Replica],
        links: Mapping[int, Link],
        coordinator: CoordinatorActor,
        admission: Admission,
        clocks: Clocks,
    ) -> None:
        self._router = router
        self._replicas = replicas
        self._links = links
        self._coordinator = coordinator
        self._admission = admission
        self._clocks = clocks

    def cluster(self, call: Call) -> None:
        """`[placement, leaders, this node, reachable nodes, [group statistics], coordinator, admission, clocks]`."""
        router = self._router
        up = [router.node, *(node for node, link in self._links.items() if link.is_up)]
        coordinator, admission = self._coordinator.statistics(), self._admission.statistics()
        groups = [
            [s.group, s.role, s.term, s.leader, s.commit, s.applied, s.last_index, s.waiting, s.is_recovering]
            for s in (replica.statistics() for replica in self._replicas.values())
        ]
        call.reply([
            router.placement.pack(), list(router.leaders), router.node, sorted(up), groups,
            [coordinator.epoch, coordinator.is_active, coordinator.in_flight, coordinator.rounds],
            [admission.requests, admission.bytes, admission.shed, admission.is_slow],
            [[s.node, s.ahead_ns, s.error_ns, s.is_far_off] for s in self._clocks.statistics()],
        ])  # fmt: skip
