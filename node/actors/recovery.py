"""What is done about a disk that has lost something: it is stored, told to people, and healed by the leader."""

from __future__ import annotations

import structlog

from node.core.raft import Lost, Raft

log = structlog.get_logger()


class Losses:
    """What a replica lacks of what it acknowledged."""

    def __init__(self, group: int, node: int) -> None:
        self.noted: Lost | None = None  # as it was last written
        self._group = group
        self._node = node

    def note(self, raft: Raft) -> Lost | None:
        """What the next write has to store; people are told when the recovery begins and when it ends."""
        lost, before = raft.lost, self.noted
        self.noted = lost
        if lost is not None and before is None:
            log.warning("recovering", group=self._group, node=self._node, lost_term=lost.term, lost_index=lost.index)
        elif lost is None and before is not None:
            log.info("recovered", group=self._group, node=self._node, last_index=raft.status().last_index)
        return lost
