"""What is done about a disk that has lost something: it is stored, told to people, and healed by the leader."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import structlog

from node.core.raft import Acknowledged, Lost, Raft, Remains, Restored
from node.ports import StartBook, StorageFailed
from protocol.messages import Word

if TYPE_CHECKING:
    from node.actors.replica import Replica

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


class Doubts:
    """Whether this node's whole disk may be an older one than it had, which its own files cannot tell.

    There are four reasons: its files are other ones than at its last start, so they were copied; both copies of the log are gone;
    a peer remembers a start that the folder does not; or an acknowledgement that it does not. Then no replica here votes or
    counts until every other member of its group has spoken, and it votes in none of the terms that they have seen. Where none of
    them contradicts a folder that was merely copied, its replicas take part again, but vote for nobody whose log ends before the
    furthest of theirs: in that is whatever was committed by an acknowledgement that the folder may have forgotten. Otherwise each
    replica recovers from a leader, up to what anybody remembers. The doubt is stored, and ends when all replicas have caught up.
    """

    def __init__(self, node: int, book: StartBook, replicas: Mapping[int, Replica]) -> None:
        self._node = node
        self._book = book
        self._replicas = replicas
        self._start = book.begin()
        self._reason, self._is_old = self._start.doubt, self._start.is_old
        self._remains: dict[int, Remains] = {}
        self._words: dict[int, Word] = {}  # the first of each peer since the start
        self._settled: dict[int, None] = {}  # groups whose members have all spoken

    @property
    def start(self) -> int:
        """The number of this start."""
        return self._start.number

    @property
    def is_clear(self) -> bool:
        """Whether there is no doubt, and everybody who may raise one has spoken."""
        groups = self._replicas.values()
        others = {int(node) for replica in groups for node in replica.raft.state.membership.everyone} - {self._node}
        return not self._reason and others <= self._words.keys()

    def opened(self) -> None:
        """The log is open, and what was missing is made."""
        self._book.record(self._reason, self._is_old)
        if self._reason:
            self._tell()

    def restored(self, replica: Replica, restored: Restored) -> None:
        """What a replica here has found on the disk."""
        self._remains[replica.group] = Remains(restored)
        replica.raft.doubt(bool(self._reason))

    def heard(self, node: int, word: Word) -> None:
        """What a peer remembers; nothing has gone out to it yet."""
        if node in self._words:
            return
        self._words[node] = word
        earlier = self._start.earlier
        if word.start not in (0, self.start) and earlier is not None and word.start not in earlier:
            self._is_found_old(f"node {node} remembers a start of this node that its folder does not", word.start)
        for group, _, _, _, *told in word.groups:
            if group in self._remains and told[0] and not self._remains[group].cover(Acknowledged(*told)):
                self._is_found_old(f"node {node} remembers more of group {group} than the folder of this node")
        self._settle()

    def _is_found_old(self, reason: str, forgotten: int = 0) -> None:
        was_old, self._is_old = self._is_old, True
        self._reason = self._reason or reason
        self._book.record(self._reason, True, forgotten)
        if not was_old:
            self._settled.clear()
            self._tell()
            for replica in self._replicas.values():
                replica.raft.doubt(True)
                replica.handle([])

    def _tell(self) -> None:
        """What people are told, once a start or when it becomes certain."""
        log.warning(
            "data folder in doubt", node=self._node, reason=self._reason, is_old=self._is_old,
            remedy="it takes no part until the other nodes have spoken; if one of them is gone for good, or too many folders "
            f"are old, make this node a new member: scripts/cluster replace {self._node}",
        )  # fmt: skip

    def _settle(self) -> None:
        if not self._reason:
            return
        for group, replica in self._replicas.items():
            others = [int(node) for node in replica.raft.state.membership.everyone if node != self._node]
            if group in self._settled or group not in self._remains or any(node not in self._words for node in others):
                continue
            self._settled[group] = None
            if self._is_old and not others:
                raise StorageFailed(
                    f"{self._reason}, and no other node has group {group}: put the data folder back as it was last"
                )
            rows = [row for node in others for row in self._words[node].groups if row[0] == group]
            term = max((row[1] for row in rows), default=0)
            if self._is_old:
                acknowledged = [(row[4], row[5]) for row in rows]
                replica.raft.lose(Lost(*max([(term, 0), *acknowledged])))
            replica.raft.trust(term, max(((row[2], row[3]) for row in rows), default=(0, 0)))
            replica.handle([])

    def tick(self) -> None:
        """Ends the doubt once all replicas are sound again. Raises StorageFailed where nobody can help."""
        self._settle()
        if not self._settled.keys() >= self._remains.keys():
            return
        rafts = [replica.raft for replica in self._replicas.values()]
        if self._reason and not any(raft.state.recovering or raft.is_behind_others for raft in rafts):
            self._reason, self._is_old = "", False
            self._book.record("", False)
            log.info("data folder no longer in doubt", node=self._node)
