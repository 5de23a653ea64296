"""The coordinator's rounds as a pure machine: events are method calls, effects are what they return."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from node.core.commit.cuts import Cuts
from node.core.commit.decisions import Records
from node.core.commit.gathering import UNDECIDED, Gathering
from node.core.commit.legs import LOCKS_GROUP, cut_legs, number_transactions
from node.core.commit.phases import Event, Phase
from node.core.commit.protocols import PROTOCOLS
from node.core.commit.recovery import Attempt, Outcome, Poll
from node.core.commit.rounds import (
    Ask,
    Cut,
    Effect,
    Forget,
    Piece,
    Record,
    Recovered,
    Round,
    Ticket,
    amounts_to_try,
    epoch_of,
)
from node.core.commit.votes import Vote, merge_votes
from node.core.machine import (
    ROUND_BITS,
    SUPERSEDED,
    Body,
    Decided,
    EpochBegun,
    EpochRequest,
    Marker,
    MarkerRequest,
    Over,
    Precommit,
    Prepare,
    RoundRequest,
    StaleEpoch,
    Superseded,
    Votes,
    unpack_answer,
)
from protocol.columns import Transfers
from protocol.placement import called

ROUNDS_IN_FLIGHT_MAX = 3  # one sent, one logged, one voted on; a fourth is no faster, and a successor has more to end
LASTING_AFTER = 256  # rounds behind the newest: who has not ended by then waits for a group that is away
FORGET_AT = 64  # records without their own entry to be forgotten with; a few kilobytes each


class Coordinator:
    """Active between `lead` and `resign`; all other calls while inactive return nothing.

    `default_protocol` decides batches that name none.
    """

    def __init__(self, default_protocol: str = "2pc") -> None:
        self._default_protocol = default_protocol
        self._begin(0, ())

    def _begin(self, epoch: int, groups: tuple[int, ...]) -> None:
        """Nothing is left of an epoch in the next one, or (0) in the time without any."""
        self.epoch = epoch
        self.active = epoch > 0
        self.rounds_max = ROUNDS_IN_FLIGHT_MAX  # without a decision; the owner may narrow it for a while
        self.rounds: dict[int, Round] = {}  # all that have not ended, orphans among them
        self._groups = groups
        self._polls: dict[int, Poll] = {}  # of the groups that have accepted the epoch
        self._records: dict[int, bytes] = {}  # decisions of earlier epochs
        self._gathering = Gathering(self._default_protocol)
        self._decisions: dict[int, dict[int, None]] = {}  # group -> rounds whose decision it is to be told
        self._precommits: dict[int, dict[int, None]] = {}
        self._hurried: dict[int, None] = {}  # groups that are told without waiting for a PREPARE
        self._silent: dict[int, None] = {}  # groups whose votes did not come, until they answer anything
        self._resting: dict[int, None] = {}  # groups that a call could not reach a moment ago
        self._forgotten: list[int] = []
        self._lingering: dict[int, None] = {}  # rounds that were decided and not carried out a while ago
        self._number = 0
        self._cuts = Cuts()
        self._recovered: list[Recovered] = []

    # -- epochs ---------------------------------------------------------------------------------------------------

    def lead(self, epoch: int, groups: tuple[int, ...], records: Records) -> list[Effect]:
        """This node now leads group 0 with term `epoch`; `records` are group 0's decisions not yet carried out everywhere."""
        self._begin(epoch, groups)
        self._records = {round_id: record.decision for round_id, record in records.items()}
        for round_id, record in records.items():
            found = Round(round_id, PROTOCOLS["2pc"], Phase.orphaned, record.groups, 0, is_recorded=True)
            self.rounds[round_id] = found
            self._found(found, Outcome(Event.decision_found, record.decision))
        return [Ask(group, EpochRequest(epoch)) for group in groups]

    def resign(self) -> list[Ticket]:
        """No longer coordinator: the submissions whose outcome is unknown to this node."""
        tickets = dict.fromkeys(piece.submission.ticket for piece in self._unanswered())
        self._begin(0, ())
        return list(tickets)

    def begun(self) -> set[Ticket]:
        """Of the submissions that are not answered, those that were in a round: of the others nothing has happened."""
        return {piece.submission.ticket for piece in self._unanswered() if piece.submission.is_begun}

    def _unanswered(self) -> list[Piece]:
        pieces = [piece for opened in self.rounds.values() for piece in opened.pieces if opened.phase != Phase.deciding]
        return [*self._gathering.pieces, *pieces]

    def _accepted(self, group: int, told: EpochBegun) -> None:
        """A group refuses lower epochs from now on: what is open or finished there of theirs stays as it is told.

        Only the first answer counts: by a repeated one, rounds of this epoch may be open there.
        """
        if group in self._polls:
            return
        attempts: dict[int, Attempt] = {}
        for found in told.opened:
            if epoch_of(found.round_id) == self.epoch:
                continue
            attempts[found.round_id] = Attempt(found.attempt, found.precommitted, found.leg_layout, found.vote)
            if found.round_id not in self.rounds:
                orphan = Round(found.round_id, PROTOCOLS[found.protocol], Phase.orphaned, found.groups, found.count)
                self.rounds[found.round_id] = orphan
        self._polls[group] = Poll(attempts, told.finished)
        for orphan in [opened for opened in self.rounds.values() if opened.phase == Phase.orphaned]:
            outcome = orphan.protocol.recover(orphan.orphan(), self._polls, self._records)
            if outcome is not None:
                self._found(orphan, outcome)
                self._recovered.append(Recovered(orphan.round_id, orphan.groups, outcome.event, outcome.decision))

    def _found(self, orphan: Round, outcome: Outcome) -> None:
        orphan.decision = outcome.decision
        effects = self._advance(orphan, outcome.event)
        assert not effects, "nobody of this epoch waits for an orphan"

    def take_recovered(self) -> list[Recovered]:
        """What was found out since the last call of rounds that earlier coordinators have left open, but for those with a record."""
        recovered, self._recovered = self._recovered, []
        return recovered

    # -- gathering ------------------------------------------------------------------------------------------------

    def submit(
        self, ticket: Ticket, batch: Transfers, debit_groups: NDArray[np.int32], credit_groups: NDArray[np.int32]
    ) -> list[Effect]:
        """Takes a batch of up to `TRANSFERS_MAX` transfers with the groups of their accounts."""
        return self._gathering.add(ticket, batch, debit_groups, credit_groups)

    def give_up(self, tickets: Collection[Ticket]) -> list[Effect]:
        """Their clients wait no longer: rows that are in no round stay undecided."""
        return self._gathering.give_up(tickets)

    @property
    def in_flight(self) -> int:
        """Rounds of this epoch without a decision."""
        return sum(opened.phase != Phase.deciding for opened in self.rounds.values() if opened.pieces)

    def is_voting(self, round_id: int) -> bool:
        """Whether votes of this round are missing."""
        return round_id in self.rounds and self.rounds[round_id].phase == Phase.voting

    def is_guarded(self, lock: str) -> bool:
        """Whether a round that is open, or one that gathers, may need this lock to be held."""
        pieces = [piece for opened in self.rounds.values() for piece in opened.pieces]
        return any(lock in piece.submission.batch.lock for piece in [*self._gathering.pieces, *pieces])

    def _start_rounds(self, is_wanted: Callable[[Ticket], bool]) -> list[Effect]:
        effects: list[Effect] = []
        while self.in_flight < self.rounds_max and (pieces := self._take_pieces(is_wanted)):
            effects += self._prepare(pieces)
        return effects

    def _take_pieces(self, is_wanted: Callable[[Ticket], bool]) -> list[Piece]:
        """The next round's rows: those that are waited for, whose groups have all accepted the epoch and whose turn has come."""
        oldest = min((opened.round_id for opened in self.rounds.values() if opened.pieces), default=self._following)
        first = self.epoch << ROUND_BITS

        def may_join(piece: Piece) -> bool:
            return (first | piece.after) < oldest and is_wanted(piece.submission.ticket) and self._is_ready(piece)

        return self._gathering.take(may_join)

    @property
    def is_complete(self) -> bool:
        """Whether all groups have accepted the epoch: nothing of earlier ones is unknown then."""
        return len(self._polls) == len(self._groups)

    def _is_ready(self, piece: Piece) -> bool:
        """Work for a group that does not vote would hold up everybody who shares its round, and the rounds behind it."""
        if self.is_complete and not self._silent:
            return True
        wanted = np.unique(piece.groups()).tolist()
        if piece.submission.batch.lock:
            wanted.append(LOCKS_GROUP)
        return all(group in self._polls and group not in self._silent for group in wanted)

    # -- voting ---------------------------------------------------------------------------------------------------

    def _prepare(self, pieces: list[Piece]) -> list[Effect]:
        self._number += 1
        round_id = self.epoch << ROUND_BITS | self._number
        batch = Transfers.concatenate([piece.batch() for piece in pieces])
        numbers = number_transactions(batch)
        groups = np.concatenate([piece.groups() for piece in pieces], axis=1)
        legs = cut_legs(batch, numbers, groups[0], groups[1], amounts_to_try(pieces))
        count, protocol = int(numbers[-1]) + 1, PROTOCOLS[self._gathering.protocol_of(pieces[0])]
        self.rounds[round_id] = Round(round_id, protocol, Phase.voting, tuple(legs), count, pieces, numbers, legs)
        asks: list[Effect] = []
        for group, leg in legs.items():
            leg_layout = leg.layout(numbers) if protocol.decides_by_votes else b""
            prepare = Prepare(round_id, count, protocol.name, tuple(legs), leg_layout, [[leg.part, leg.body]])
            asks.append(self._ask_round(group, prepare))
        return asks

    def _ask_round(self, group: int, prepare: Prepare | None) -> Ask:
        """A call with what the group is to be told beside the PREPARE; decisions wait while the group is being marked."""
        precommits = [
            Precommit(opened.round_id, opened.groups, opened.decision)
            for opened in map(self.rounds.get, self._precommits.pop(group, {}))
            if opened is not None and opened.phase == Phase.precommitting
        ]
        decisions: dict[int, bytes] = {}
        if not self._cuts.holds(group):
            self._hurried.pop(group, None)
            decisions = self._take_decisions(group)
        return Ask(group, RoundRequest(self.epoch, self._over(), decisions, precommits, prepare))

    def _take_decisions(self, group: int) -> dict[int, bytes]:
        round_ids = self._decisions.pop(group, {})
        return {round_id: self.rounds[round_id].decision for round_id in round_ids if round_id in self.rounds}

    def _over(self) -> Over:
        """Which rounds are carried out everywhere.

        Without those that last, a round that waits for a group that is away would make all others keep what came behind it. A group
        that has not accepted the epoch may hold a round of any earlier one, so nothing is known of those until all have.
        """
        mine = sorted(round_id for round_id in self.rounds if epoch_of(round_id) == self.epoch)
        lasting = [round_id for round_id in mine if round_id < self._following - LASTING_AFTER]
        own = min(mine[len(lasting) :], default=self._following)
        below = min(self.rounds, default=self._following) if self.is_complete else 0
        return Over(below, own, tuple(lasting))

    @property
    def _following(self) -> int:
        """The id of the next round."""
        return (self.epoch << ROUND_BITS | self._number) + 1

    def hurry(self, group: int | None = None) -> None:
        """Somebody waits for decisions there: they go out with the next `go_on`, PREPARE or not. None: to all groups."""
        wanted = [group] if group is not None else list(self._decisions)
        self._hurried.update((one, None) for one in wanted if one in self._decisions)

    def go_on(self, is_wanted: Callable[[Ticket], bool] = lambda _: True) -> list[Effect]:
        """Starts what can start and somebody waits for; call it after a drain of events, so that they share a round.

        Decisions wait for a PREPARE to ride with, unless somebody hurries them: that halves the entries of lone payments.
        """
        if not self.active:
            return []
        effects = self._start_rounds(is_wanted)
        told = [group for group in self._hurried if not self._cuts.holds(group)]
        told = [group for group in dict.fromkeys([*told, *self._precommits]) if group not in self._resting]
        effects += [self._ask_round(group, None) for group in told]
        if len(self._forgotten) >= FORGET_AT:
            effects.append(Forget(tuple(self._forgotten)))
            self._forgotten.clear()
        return effects + (self._start_cut() if self._knows_all_decisions else [])

    @property
    def _knows_all_decisions(self) -> bool:
        """Until an orphan is decided here, some participant may have carried out a decision that the others lack."""
        undecided = [opened.round_id for opened in self.rounds.values() if opened.phase != Phase.deciding]
        return self.is_complete and all(epoch_of(round_id) == self.epoch for round_id in undecided)

    def asked(self, ask: Ask, answer: Body) -> list[Effect]:
        """A group's answer to an `Ask` of this epoch. A group that knows a higher epoch ends this one: `active` turns false."""
        if not self.active or ask.request.epoch != self.epoch:
            return []
        told = unpack_answer(answer)
        if isinstance(told, StaleEpoch):
            self.active = False
            return []
        self._silent.pop(ask.group, None)
        match ask.request, told:
            case EpochRequest(), EpochBegun():
                self._accepted(ask.group, told)
                return []
            case MarkerRequest(decisions=decisions, name=name), Marker():
                self._carried_out(ask.group, decisions)
                return self._cuts.answered(name, ask.group, told)
            case RoundRequest(decisions=decisions, precommits=precommits, prepare=None), Decided():
                self._carried_out(ask.group, decisions)
                return self._precommitted(ask.group, precommits)
            case RoundRequest(decisions=decisions, precommits=precommits, prepare=Prepare() as prepare), (
                Votes() | Superseded()
            ):
                self._carried_out(ask.group, decisions)
                effects = self._precommitted(ask.group, precommits)
                return effects + self._voted(ask.group, prepare.round_id, told)
            case _:
                raise AssertionError(
                    f"{called(ask.group)} answers {type(told).__name__} to {type(ask.request).__name__}"
                )

    def failed(self, ask: Ask) -> bool:
        """A call came to nothing. If it brought no PREPARE its contents go out with the next call, after `wake`: true."""
        if not isinstance(ask.request, RoundRequest) or ask.prepare is not None:
            return False
        self._tell_again(ask.group, ask.request)
        self._resting[ask.group] = None
        return True

    def _tell_again(self, group: int, request: RoundRequest) -> None:
        precommits = [precommit.round_id for precommit in request.precommits]
        for told, kept in ((list(request.decisions), self._decisions), (precommits, self._precommits)):
            if round_ids := [round_id for round_id in told if round_id in self.rounds]:
                kept.setdefault(group, {}).update(dict.fromkeys(round_ids))

    def cannot_ask(self, ask: Ask) -> tuple[list[Ticket], list[Effect]]:
        """No repetition of this PREPARE would reach its group either: it counts as superseded. Whose rows are in the round.

        They are undecided then; the owner is to give them up, as the next round would fare no better.
        """
        assert isinstance(ask.request, RoundRequest) and ask.request.prepare is not None
        self._tell_again(ask.group, ask.request)
        opened = self.rounds[ask.request.prepare.round_id]
        tickets = dict.fromkeys(piece.submission.ticket for piece in opened.pieces)
        return list(tickets), self._voted(ask.group, opened.round_id, SUPERSEDED)

    def wake(self, group: int) -> None:
        """The group may be called again."""
        self._resting.pop(group, None)
        self.hurry(group)

    def wants(self, ask: Ask) -> bool:
        """Whether the answer can still matter; if not, the call need not be repeated."""
        if ask.request.epoch != self.epoch or not self.active:
            return False
        match ask.request:
            case EpochRequest():
                return ask.group not in self._polls
            case MarkerRequest(name=name):
                return self._cuts.is_under_way(name)
            case RoundRequest(decisions=decisions, precommits=precommits, prepare=prepare):
                return (
                    (prepare is not None and self.is_voting(prepare.round_id))
                    or any(number in self.rounds and ask.group in self.rounds[number].waiting for number in decisions)
                    or any(self._is_precommitting(precommit.round_id) for precommit in precommits)
                )
            case _:
                assert_never(ask.request)

    def _is_precommitting(self, round_id: int) -> bool:
        return round_id in self.rounds and self.rounds[round_id].phase == Phase.precommitting

    def _voted(self, group: int, round_id: int, vote: Vote) -> list[Effect]:
        opened = self.rounds.get(round_id)
        if opened is None or opened.phase != Phase.voting:
            return []
        opened.votes[group] = vote
        return self._conclude(opened) if len(opened.votes) == len(opened.legs) else []

    def abandon(self, round_id: int) -> list[Effect]:
        """Ends the voting of a round whose votes do not come: nobody has been told to commit; what is undecided is tried again."""
        opened = self.rounds.get(round_id)
        if opened is None or opened.phase != Phase.voting:
            return []
        self._silent.update((group, None) for group in opened.legs if group not in opened.votes)
        for group in opened.legs:
            opened.votes.setdefault(group, SUPERSEDED)
        return self._conclude(opened)

    def _conclude(self, opened: Round) -> list[Effect]:
        verdict = merge_votes(opened.legs, opened.votes, opened.numbers)
        opened.row_statuses, opened.decision = verdict.rows, verdict.pack()
        if verdict.apart is not None:
            self._gathering.come_closer(opened.pieces, verdict.apart)
        has_all = all(isinstance(vote, Votes) for vote in opened.votes.values())
        opened.votes = {}
        if (verdict.transactions >= UNDECIDED).all():
            return self._advance(opened, Event.nothing_agreed if has_all else Event.nothing_left)
        return self._advance(opened, Event.voted if has_all else Event.given_up)

    # -- deciding -------------------------------------------------------------------------------------------------

    def _advance(self, opened: Round, event: Event) -> list[Effect]:
        """Moves the round along its protocol's table and does what the new phase asks for."""
        opened.phase = opened.protocol.transitions[opened.phase, event]
        match opened.phase:
            case Phase.recording:
                return [self._record(opened)]
            case Phase.precommitting:
                for group in opened.groups:
                    self._precommits.setdefault(group, {})[opened.round_id] = None
                return []
            case Phase.deciding:
                opened.waiting = dict.fromkeys(opened.groups)
                if epoch_of(opened.round_id) != self.epoch:
                    self._hurried.update(opened.waiting)
                for group in opened.groups:
                    self._decisions.setdefault(group, {})[opened.round_id] = None
                pieces, opened.pieces, opened.legs = opened.pieces, [], {}
                return self._gathering.settle(pieces, opened.row_statuses, self._number)
            case Phase.ended:
                del self.rounds[opened.round_id]
                if opened.is_recorded:
                    self._forgotten.append(opened.round_id)
                return []
            case Phase.voting | Phase.orphaned:
                raise AssertionError(f"no event leads to {opened.phase}")
            case _:
                assert_never(opened.phase)

    def _record(self, opened: Round) -> Record:
        forgotten, self._forgotten = tuple(self._forgotten), []
        opened.is_recording = True
        return Record(opened.round_id, opened.groups, opened.decision, forgotten)

    def record_lingering(self) -> list[Effect]:
        """Records what the votes have decided and some participant has not carried out since the last call.

        A next coordinator could not hear the votes of a participant that is away, and the others would wait for it.
        """
        deciding = [r for r in self.rounds.values() if r.phase == Phase.deciding and epoch_of(r.round_id) == self.epoch]
        late = [opened for opened in deciding if opened.round_id in self._lingering and not opened.is_recording]
        self._lingering = dict.fromkeys(opened.round_id for opened in deciding)
        return [self._record(opened) for opened in late if opened.protocol.decides_by_votes]

    def recorded(self, round_id: int) -> list[Effect]:
        """The decision is durable in group 0: clients may hear it and shards carry it out."""
        opened = self.rounds.get(round_id)
        if opened is None:
            if epoch_of(round_id) == self.epoch:  # it was carried out everywhere while the record was on its way
                self._forgotten.append(round_id)
            return []
        opened.is_recorded = True
        return self._advance(opened, Event.recorded) if opened.phase == Phase.recording else []

    def _precommitted(self, group: int, precommits: Sequence[Precommit]) -> list[Effect]:
        effects: list[Effect] = []
        for precommit in precommits:
            opened = self.rounds.get(precommit.round_id)
            if opened is None or opened.phase != Phase.precommitting:
                continue
            opened.precommitted[group] = None
            if 2 * len(opened.precommitted) > len(opened.groups):
                effects += self._advance(opened, Event.majority_precommitted)
        return effects

    def _carried_out(self, group: int, round_ids: Iterable[int]) -> None:
        for round_id in round_ids:
            opened = self.rounds.get(round_id)
            if opened is None or opened.phase != Phase.deciding:
                continue
            opened.waiting.pop(group, None)
            if not opened.waiting:
                self._advance(opened, Event.carried_out)

    # -- cuts -----------------------------------------------------------------------------------------------------

    def make_cut(self, cut: Cut) -> None:
        """Asks for a consistent cut over the groups that it names (none: all)."""
        self._cuts.ask(cut, self._groups)

    def abandon_cut(self, name: str) -> None:
        """Gives a cut up that some group does not answer; decisions may go there again."""
        for group in self._cuts.abandon(name):
            late = [opened.round_id for opened in self.rounds.values() if group in opened.waiting]
            if late:
                self._decisions.setdefault(group, {}).update(dict.fromkeys(late))

    def _start_cut(self) -> list[Effect]:
        """The marker: what is decided now is in the cut, and what is decided later reaches no group before its marker.

        So every group is told all decisions that it may not have carried out, in the marker's own entry. PREPAREs go on meanwhile.
        """
        cut = self._cuts.start()
        if cut is None:
            return []
        effects: list[Effect] = []
        for group in cut.groups:
            self._decisions.pop(group, None)
            decisions = {r.round_id: r.decision for r in self.rounds.values() if group in r.waiting}
            questions = cut.questions.get(group, [])
            request = MarkerRequest(self.epoch, self._over(), decisions, cut.name, cut.wants_digest, questions)
            effects.append(Ask(group, request))
        return effects
