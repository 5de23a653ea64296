"""Seeded bugs: mistakes that people have made in such programs, planted to show that the simulator can fail."""

from __future__ import annotations

import pytest

from node.actors.events import Persisted
from node.actors.replica import Replica
from node.adapters.memory import MemoryLog
from node.core.commit.coordinator import Coordinator, Effect, Record, Round
from node.core.machine import Body, Machine
from node.core.raft import HardState, NodeId, Persist, replication
from node.core.raft.quorum import joint_index
from node.core.raft.state import Leader, State
from node.ports import LogWrite, StoredGroup


def acknowledge_before_write(patch: pytest.MonkeyPatch) -> None:
    """Replies leave as soon as the write is on its way to the disk."""
    honest = Replica._persist

    def persist(self: Replica, work: Persist) -> None:
        if work.snapshot is not None or not work.must_sync:
            honest(self, work)
            return
        write = LogWrite(self.group, self._new_hard_state(work), work.entries)
        self._unwritten.append(work)
        self._ports.write(write, lambda: None)
        self.inbox.push(Persisted(work))

    patch.setattr(Replica, "_persist", persist)


def commit_old_term(patch: pytest.MonkeyPatch) -> None:
    """A new leader commits what earlier terms left behind as soon as a majority has it (figure 8 of the Raft paper)."""

    def maybe_commit(state: State, role: Leader) -> bool:
        members, progress = state.membership, role.progress
        index = joint_index(members.voters, members.outgoing, lambda node: progress[node].counted_match)
        if index <= state.log.commit:
            return False
        state.log.commit_to(index)
        return True

    patch.setattr(replication, "maybe_commit", maybe_commit)


def forget_vote(patch: pytest.MonkeyPatch) -> None:
    """A restarted replica remembers its term and not its vote."""
    honest = MemoryLog.open

    async def open(self: MemoryLog) -> dict[int, StoredGroup]:
        groups = await honest(self)
        for stored in groups.values():
            hard = stored.hard_state
            stored.hard_state = HardState(hard.term, NodeId(0), hard.commit)
        return groups

    patch.setattr(MemoryLog, "open", open)


def skip_fence(patch: pytest.MonkeyPatch) -> None:
    """Shards carry out what an old coordinator sends."""
    honest = Machine._apply_round

    def apply_round(self: Machine, epoch: int, *rest: object) -> Body:
        self.epoch = 0
        return honest(self, epoch, *rest)  # type: ignore[arg-type]  # as they came

    patch.setattr(Machine, "_apply_round", apply_round)


def skip_record(patch: pytest.MonkeyPatch) -> None:
    """Clients and shards hear of a decision before it is recorded."""
    honest = Coordinator._conclude

    def conclude(self: Coordinator, opened: Round) -> list[Effect]:
        effects: list[Effect] = []
        for effect in honest(self, opened):
            effects += self.recorded(effect.round_id) if isinstance(effect, Record) else [effect]
        return effects

    patch.setattr(Coordinator, "_conclude", conclude)


MUTANTS = (acknowledge_before_write, commit_old_term, forget_vote, skip_fence, skip_record)
