"""Seeded bugs: mistakes that people have made in such programs, planted to show that the simulator can fail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from node.actors import coordinator as actor
from node.actors import replacing
from node.actors.actor import Reply
from node.actors.events import Persisted
from node.actors.peers import Link
from node.actors.replacing import Replacing
from node.actors.replica import Replica
from node.actors.router import Router
from node.actors.routes import Routes
from node.actors.snapshots import Incoming, Outgoing
from node.adapters.memory import MemoryFolder, MemoryLog, MemoryStarts
from node.core.commit import PROTOCOLS, Ask, CommitProtocol, Coordinator, Effect, votes
from node.core.commit import coordinator as commit_coordinator
from node.core.commit.phases import Event, Phase
from node.core.commit.recovery import Orphan, Outcome, Poll, abort_all
from node.core.commit.rounds import Round
from node.core.commit.votes import Vote
from node.core.ledger import ledger, rounds, updates
from node.core.ledger.books import Books
from node.core.ledger.commands import UpdateCommand
from node.core.ledger.exact import Exact
from node.core.ledger.limits import NOT_HERE
from node.core.locks import EndedClaims, Locks
from node.core.machine import At, Machine, MarkerRequest, RoundRequest, Votes, pack_decision
from node.core.members import Member, MemberEvent, MemberState
from node.core.raft import HardState, NodeId, Persist, Raft, Remains, StoredGroup, replication
from node.core.raft.quorum import joint_index
from node.core.raft.state import Leader, State
from node.ports import LogWrite, Start
from protocol.messages import NEVER_MS, Request
from protocol.status import Status


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
            hard, promise = stored.hard_state, stored.promise
            stored.hard_state = HardState(hard.term, NodeId(0), hard.commit)
            stored.promise = replace(promise, vote=NodeId(0)) if promise is not None else None
        return groups

    patch.setattr(MemoryLog, "open", open)


def forget_promises(patch: pytest.MonkeyPatch) -> None:
    """A restarted replica believes its log, whatever that has forgotten."""
    honest = MemoryLog.open

    async def open(self: MemoryLog) -> dict[int, StoredGroup]:
        groups = await honest(self)
        for stored in groups.values():
            stored.promise = None
        return groups

    patch.setattr(MemoryLog, "open", open)


def promise_before_log(patch: pytest.MonkeyPatch) -> None:
    """What is about to be promised is on disk before the log has it: who dies in between seems to have lost something."""

    async def write(self: MemoryLog, writes: Sequence[LogWrite]) -> None:
        await self._disk.sync()
        self._write_promises(writes)
        await self._disk.sync()
        self._write_log(writes)

    patch.setattr(MemoryLog, "write", write)


def believe_old_folder(patch: pytest.MonkeyPatch) -> None:
    """A folder that was put back votes like any other."""

    async def begin(self: MemoryStarts) -> Start:
        return Start(self._number, None, "", False)

    patch.setattr(MemoryStarts, "begin", begin)
    patch.setattr(Remains, "cover", lambda self, told: True)


def believe_own_log(patch: pytest.MonkeyPatch) -> None:
    """An old folder ends its doubt by what it has itself, if nobody tells of more."""
    patch.setattr(Raft, "has_caught_up_since", lambda self, term: self.durable_end >= self.state.floor)


def skip_fence(patch: pytest.MonkeyPatch) -> None:
    """Shards carry out what an old coordinator sends."""
    honest = Machine._enter

    def enter(self: Machine, request: RoundRequest | MarkerRequest, at: At) -> bool:
        self.epoch = 0
        return honest(self, request, at)

    patch.setattr(Machine, "_enter", enter)


def _assume_agreement(opened: Round) -> None:
    """The votes that are missing count as yes."""
    for group, leg in opened.legs.items():
        currencies_and_statuses = bytes(3 * len(leg.rows))
        agreed = Votes(bytes(opened.count), {"ledger": currencies_and_statuses})
        opened.votes.setdefault(group, agreed)


def decide_early(patch: pytest.MonkeyPatch) -> None:
    """Clients and shards hear of a decision before all votes are in (2pc), or before a majority has precommitted it (3pc)."""
    honest, honest_voted = Coordinator._advance, Coordinator._voted

    def advance(self: Coordinator, opened: Round, event: Event) -> list[Effect]:
        effects = honest(self, opened, event)
        if opened.phase == Phase.precommitting and event in (Event.voted, Event.given_up):
            effects += honest(self, opened, Event.majority_precommitted)
        return effects

    def voted(self: Coordinator, group: int, round_id: int, vote: Vote) -> list[Effect]:
        opened = self.rounds.get(round_id)
        if opened is None or opened.phase != Phase.voting or opened.protocol.name != "2pc":
            return honest_voted(self, group, round_id, vote)
        opened.votes[group] = vote
        _assume_agreement(opened)
        return self._conclude(opened)

    patch.setattr(Coordinator, "_advance", advance)
    patch.setattr(Coordinator, "_voted", voted)


def _recover_by(patch: pytest.MonkeyPatch, two: CommitProtocol, three: CommitProtocol) -> None:
    patch.setattr(commit_coordinator, "PROTOCOLS", {"2pc": two, "3pc": three})


def lose_decision(patch: pytest.MonkeyPatch) -> None:
    """A new coordinator aborts what it finds open, without looking for a decision."""

    honest = Coordinator.lead

    def lead(self: Coordinator, epoch: int, groups: tuple[int, ...], records: object) -> list[Effect]:
        return honest(self, epoch, groups, {})

    def forget_votes(orphan: Orphan, polls: Mapping[int, Poll], records: Mapping[int, bytes]) -> Outcome:
        return Outcome(Event.no_decision_exists, abort_all(orphan.count))

    def forget_attempts(orphan: Orphan, polls: Mapping[int, Poll], records: Mapping[int, bytes]) -> Outcome:
        return Outcome(Event.majority_found, abort_all(orphan.count))

    patch.setattr(Coordinator, "lead", lead)
    two, three = PROTOCOLS["2pc"], PROTOCOLS["3pc"]
    _recover_by(patch, replace(two, recover=forget_votes), replace(three, recover=forget_attempts))


def presume_commit(patch: pytest.MonkeyPatch) -> None:
    """A new coordinator commits what it finds open and undecided."""

    def commit_all(count: int) -> bytes:
        return pack_decision(np.zeros(count, np.uint8))

    def presume(orphan: Orphan, polls: Mapping[int, Poll], records: Mapping[int, bytes]) -> Outcome | None:
        found = PROTOCOLS["2pc"].recover(orphan, polls, records)
        is_missing = found is not None and found.event == Event.no_decision_exists
        return Outcome(Event.no_decision_exists, commit_all(orphan.count)) if is_missing else found

    def presume_without_attempt(
        orphan: Orphan, polls: Mapping[int, Poll], records: Mapping[int, bytes]
    ) -> Outcome | None:
        found = PROTOCOLS["3pc"].recover(orphan, polls, records)
        is_missing = found is not None and found.decision == abort_all(orphan.count)
        return Outcome(Event.decision_found, commit_all(orphan.count)) if is_missing else found

    two, three = PROTOCOLS["2pc"], PROTOCOLS["3pc"]
    _recover_by(patch, replace(two, recover=presume), replace(three, recover=presume_without_attempt))


def decide_on_timeout(patch: pytest.MonkeyPatch) -> None:
    """Who has not voted in time, and in a short one, counts as agreeing."""

    def abandon(self: Coordinator, round_id: int) -> list[Effect]:
        opened = self.rounds.get(round_id)
        if opened is None or opened.phase != Phase.voting:
            return []
        _assume_agreement(opened)
        return self._conclude(opened)

    patch.setattr(Coordinator, "abandon", abandon)
    patch.setattr(actor, "VOTES_TIMEOUT_SECONDS", 0.1)


def cut_anywhere(patch: pytest.MonkeyPatch) -> None:
    """A marker goes without the decisions that its shard has not carried out yet."""
    honest = Coordinator._start_cut

    def start_cut(self: Coordinator) -> list[Effect]:
        early: list[Effect] = []
        for ask in honest(self):
            assert isinstance(ask, Ask) and isinstance(ask.request, MarkerRequest)
            self._decisions.setdefault(ask.group, {}).update(dict.fromkeys(ask.request.decisions))
            early.append(replace(ask, request=replace(ask.request, decisions={})))
        return early

    patch.setattr(Coordinator, "_start_cut", start_cut)


def guard_nothing(patch: pytest.MonkeyPatch) -> None:
    """A transfer happens under any token."""
    patch.setattr(Locks, "guard", lambda self, round_id, name, token, at: (Status.created, None))


def forget_version(patch: pytest.MonkeyPatch) -> None:
    """`if_version` is taken and not looked at."""
    honest = updates.apply_update

    def apply_update(books: Books, command: UpdateCommand, at: At) -> object:
        fields = {name: value for name, value in command.asked.fields.items() if name != "if_version"}
        return honest(books, replace(command, asked=replace(command.asked, fields=fields)), at)

    patch.setattr(ledger, "apply_update", apply_update)


def refuse_without_the_debit(patch: pytest.MonkeyPatch) -> None:
    """Any shard's refusal counts, also while the shard that would record it under its id is silent."""
    patch.setattr(votes, "TRANSIENT", 256)


def record_whole_chains(patch: pytest.MonkeyPatch) -> None:
    """All ids of a chain that was refused over shards are recorded as refused, each for the chain's reason."""
    patch.setattr(rounds, "_final", lambda batch, statuses, failed: statuses[batch.number_rows()])


def judge_chains_anew(patch: pytest.MonkeyPatch) -> None:
    """A repeated chain fails where it fails now, not at the row that is on record."""
    honest = Exact.known_of_chain

    def known_of_chain(self: Exact, first: int, last: int) -> tuple[int, int, bool]:
        line, status, have_happened = honest(self, first, last)
        return (line, status, have_happened) if have_happened else (first, 0, False)

    patch.setattr(Exact, "known_of_chain", known_of_chain)


def install_over_checkpoint(patch: pytest.MonkeyPatch) -> None:
    """A snapshot is installed though a checkpoint is being written."""
    honest = Replica._install

    async def install(self: Replica, persist: Persist) -> None:
        self._checkpoint_ended.set()
        await honest(self, persist)

    patch.setattr(Replica, "_install", install)


def name_older_checkpoint(patch: pytest.MonkeyPatch) -> None:
    """A checkpoint that ended before a snapshot was installed is told of behind it, and taken for the store's."""
    honest = Replica._on_checkpointed
    patch.setattr(Replica, "_on_checkpointed", lambda self, machine, meta: honest(self, self.machine, meta))


def let_new_folder_vote(patch: pytest.MonkeyPatch) -> None:
    """A new folder takes the place of a lost one at once, as the voter that it was."""
    honest = MemoryFolder.admit

    def move_on(self: Replacing, node: int, row: Member, known: dict[int, str]) -> None:
        event = MemberEvent.vacate if row.state is MemberState.leaving else MemberEvent.settle
        self._members.propose(event, node, row.data_id)

    patch.setattr(replacing, "_next_step", lambda replica, node, row: None)
    patch.setattr(Replacing, "_move_on", move_on)
    patch.setattr(MemoryFolder, "admit", lambda self, identity, is_replacement: honest(self, identity, False))


def export_past_leadership(patch: pytest.MonkeyPatch) -> None:
    """A deposed leader streams on, whatever it installs meanwhile, and nobody compares the rows with their name."""

    def finish(self: Incoming) -> bool:
        self._complete = self._named
        return True

    patch.setattr(Outgoing, "give_up", lambda self, besides_term=0: None)
    patch.setattr(Incoming, "_finish", finish)


def forget_updates(patch: pytest.MonkeyPatch) -> None:
    """An account does not know its last update: a copy that comes late is carried out again."""
    honest = updates.apply_update

    def apply_update(books: Books, command: UpdateCommand, at: At) -> object:
        if command.asked.after is not None:
            books.accounts.updates.pop(books.accounts.rows.get(command.asked.account, NOT_HERE), None)
            command = replace(command, asked=replace(command.asked, after=b""))
        return honest(books, command, at)

    patch.setattr(ledger, "apply_update", apply_update)


def forget_ended_claims(patch: pytest.MonkeyPatch) -> None:
    """A late copy of an `acquire` takes a lock that was given back."""
    patch.setattr(EndedClaims, "find", lambda self, claim_id: None)
    patch.setattr(EndedClaims, "is_too_old", lambda self, ticket: False)


def serve_overdue(patch: pytest.MonkeyPatch) -> None:
    """A node counts a request's time from when it reads it."""
    honest = Router.request

    def request(self: Router, asked: Request, reply: Reply, *, peer: bool, source: int) -> None:
        honest(self, replace(asked, expires_ms=NEVER_MS), reply, peer=peer, source=source)

    patch.setattr(Router, "request", request)


def give_up_pings(patch: pytest.MonkeyPatch) -> None:
    """A link that is not up ends its pings with its calls, at every tick."""
    patch.setattr(Link, "give_up_calls", lambda self: self._end_calls("silent"))


def know_one_way(patch: pytest.MonkeyPatch) -> None:
    """Calls between nodes wait for the link between the two, whatever others could pass on."""
    patch.setattr(Routes, "_way", lambda self, to, links_max: None)
