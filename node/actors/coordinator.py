"""The coordinator: runs commit rounds while this node leads group 0, and is idle otherwise."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from node.actors.actor import RETRY_AFTER_MS, RETRY_LATER_MS, Actor, Failed, Outcome, Reply, not_done
from node.core.commit import (
    ROUNDS_IN_FLIGHT_MAX,
    Answered,
    Ask,
    Begin,
    Coordinator,
    Cut,
    CutMade,
    Decisions,
    Effect,
    Event,
    Forget,
    Record,
    Ticket,
    epoch_of,
    is_stale,
    records_of,
)
from node.core.machine import Body, Marker, PartQuestion, apply_request
from node.notices import CoordinatorBegun, CoordinatorEnded, CoordinatorReady, RoundRecovered
from node.ports import Clock, OperatorLog
from protocol.answers import Transferred
from protocol.columns import Transfers
from protocol.errors import ErrorCode
from protocol.placement import COORDINATOR, called
from protocol.status import Status

EVENTS_MAX = 8_192  # submissions and answers; a full inbox answers `busy`
DRAIN_MAX = 512  # gathered before the next round is cut
VOTES_TIMEOUT_SECONDS = 2.0  # a shard without a majority must not hold up the others' transactions for longer
CUT_TIMEOUT_SECONDS = 2.0  # shards hear of no decision before their marker, so a cut takes no longer than votes may
CALL_SECONDS = 3.0  # a paused leader answers nobody; by then another one does
RETRY_SECONDS = 0.02  # between two attempts of a call to a group that has no leader
DECIDE_TICKS = 4  # a decision waits so long for a PREPARE to ride with when nobody asks for it: a fifth of a second
FIRST_TICKS = 4  # after which others no longer wait for the epoch's first answer: a fifth of a second
FINISH_TICKS = 10  # for the rounds in flight to end and leadership to move: half a second, twice what full load takes
ROUNDS_TOLD_MAX = 20  # one by one of those that a new epoch finds; more come where a group was away for long
TRANSFERS_WAITING_MAX = 65_536  # in the coordinator: eight full rounds; beyond it clients are told `busy`
SOURCE_TRANSFERS_MAX = TRANSFERS_WAITING_MAX // 2  # of one connection, so that a flood leaves room for the others

DEPOSED = "{group} knows a later coordinator"
REASONS = {
    Event.decision_found: "a shard in it had carried its decision out",
    Event.votes_found: "every shard in it had voted",
    Event.no_decision_exists: "a shard in it had not voted, and never will",
    Event.majority_found: "a majority of the shards in it told its last attempt",
}


@dataclass(frozen=True, slots=True)
class Leads:
    """This node leads group 0 with this term, or (epoch 0) does not."""

    epoch: int


@dataclass(frozen=True, slots=True)
class Begun:
    """Group 0 knows the epoch: its records, or why not."""

    epoch: int
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Submit:
    """Transfers over several shards."""

    batch: Transfers
    debit_groups: NDArray[np.int32]
    credit_groups: NDArray[np.int32]
    deadline: float
    reply: Reply
    source: int  # the connection that it came on


@dataclass(frozen=True, slots=True)
class Asked:
    """A group's answer, or why there is none."""

    number: int  # of the call
    ask: Ask
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Recorded:
    """Group 0's answer to a record."""

    record: Record
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class MakeCut:
    """Somebody wants a consistent cut; the reply gets each group's answer at its marker."""

    questions: dict[int, list[PartQuestion]]  # by group; empty: totals and digests of all groups
    reply: Callable[[str, dict[int, Marker] | Failed], None]


@dataclass(frozen=True, slots=True)
class Hurry:
    """Somebody waits for a decision in this group."""

    group: int


@dataclass(frozen=True, slots=True)
class Finish:
    """Group 0's leadership is about to move: end what is in flight, begin nothing, then call back."""

    then: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Wake:
    """A group that could not be reached may be called again."""

    group: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Ticked:
    """The node's clock has ticked."""


CoordinatorEvent = Leads | Begun | Submit | Asked | Recorded | MakeCut | Hurry | Finish | Wake | Ticked


@dataclass(frozen=True, slots=True)
class Sent:
    """A call that has no answer yet."""

    ask: Ask
    since: float


@dataclass(frozen=True, slots=True)
class UnfinishedCut:
    """A cut that is asked for or being made."""

    asked: MakeCut
    since: float


@dataclass(frozen=True, slots=True)
class CoordinatorPorts:
    """What the coordinator is connected to."""

    clock: Clock
    call: Callable[[int, Body, Reply], None]  # a machine request to a group's leader, once
    later: Callable[[float, Callable[[], None]], object]
    operator: OperatorLog


@dataclass(frozen=True, slots=True)
class CoordinatorStatistics:
    """The coordinator at a glance."""

    epoch: int
    is_active: bool
    in_flight: int
    waiting: int
    rounds: int


class CoordinatorActor(Actor[CoordinatorEvent]):
    """Wraps the pure coordinator."""

    def __init__(self, groups: tuple[int, ...], node: int, protocol: str, ports: CoordinatorPorts) -> None:
        super().__init__("coordinator", EVENTS_MAX, DRAIN_MAX)
        self.core = Coordinator(protocol)
        self._groups = groups
        self._node = node
        self._ports = ports
        self._tickets: dict[Ticket, Submit] = {}
        self._numbers = itertools.count(1)
        self._beginning = 0  # the epoch that group 0 is being told of
        self._unanswered: dict[int, Sent] = {}  # by the call's number
        self._voting: dict[int, float] = {}
        self._cuts: dict[str, UnfinishedCut] = {}
        self._too_long: dict[Ticket, Failed] = {}  # that fit no frame, until they are answered
        self._transfers: Counter[int] = Counter()  # under way, by connection
        self._rounds = 0
        self._ticks = 0
        self._finishing: Callable[[], None] | None = None
        self._narrow_until = 0  # the tick from which on rounds begin as ever
        self._began: float | None = None  # the epoch, until all groups know it
        self._rounds_before = 0  # the epoch
        self._recorded = 0  # decisions of earlier epochs that some group may not have carried out
        self._found: dict[int, None] = {}  # rounds of earlier epochs, each once however often a late group names it

    def handle(self, events: list[CoordinatorEvent]) -> None:
        """Submissions of one drain share the next round."""
        for event in events:
            match event:
                case Leads(epoch):
                    self._on_leads(epoch)
                case Begun(epoch, outcome):
                    self._on_begun(epoch, outcome)
                case Submit():
                    self._on_submit(event)
                case Asked():
                    self._on_asked(event)
                case Recorded(record, outcome):
                    self._on_recorded(record, outcome)
                case MakeCut():
                    self._on_make_cut(event)
                case Hurry(group):
                    self.core.hurry(group)
                case Finish(then):
                    self._on_finish(then)
                case Wake(group, epoch):
                    self._on_wake(group, epoch)
                case Ticked():
                    self._on_tick()
                case _:
                    assert_never(event)
        self._go_on()
        if self._finishing is not None and not self.core.in_flight:
            then, self._finishing = self._finishing, None
            then()

    def _tell(self) -> None:
        """What was found of earlier epochs, and when nothing is unknown of them any more."""
        for found in self.core.take_recovered():
            is_news = found.round_id not in self._found
            self._found[found.round_id] = None
            if is_news and len(self._found) <= ROUNDS_TOLD_MAX:
                self._ports.operator.tell(
                    RoundRecovered(self.core.epoch, found.round_id, found.groups, found.outcome, REASONS[found.event])
                )
        if self._began is not None and self.core.is_complete:
            seconds, self._began = self._ports.clock.monotonic() - self._began, None
            self._ports.operator.tell(CoordinatorReady(self.core.epoch, len(self._found), self._recorded, seconds))

    def _go_on(self) -> None:
        self._tell()
        if self._too_long:
            self._carry_out(self.core.give_up(self._too_long))
        now = self._ports.clock.monotonic()
        self._carry_out(self.core.go_on(lambda ticket: self._tickets[ticket].deadline >= now))

    def _on_leads(self, epoch: int) -> None:
        if epoch and epoch in (self._beginning, self.core.epoch if self.core.active else 0):
            return
        self._resign("this node leads group 0 in another term" if epoch else "this node leads group 0 no longer")
        self._beginning = epoch
        self._begin(epoch)

    def _begin(self, epoch: int) -> None:
        """A record of an earlier epoch that is still on its way must not arrive behind the reading of the records."""
        if epoch and epoch == self._beginning:
            command = Begin(epoch, self._node).command()
            self._tell_decisions(command, lambda outcome: self.inbox.push(Begun(epoch, outcome)))

    def _on_begun(self, epoch: int, outcome: Outcome) -> None:
        if epoch != self._beginning:
            return
        if isinstance(outcome, Failed):
            self._ports.later(RETRY_SECONDS, lambda: self._begin(epoch))
            return
        self._beginning = 0
        if (records := records_of(outcome)) is not None:
            self._began, self._rounds_before = self._ports.clock.monotonic(), self._rounds
            self._recorded, self._found = len(records), {}
            self._ports.operator.tell(CoordinatorBegun(epoch))
            self._carry_out(self.core.lead(epoch, self._groups, records))
            self._narrow(1, FIRST_TICKS)

    def _resign(self, reason: str) -> None:
        if self.core.epoch:
            rounds, in_flight = self._rounds - self._rounds_before, self.core.in_flight
            self._ports.operator.tell(CoordinatorEnded(self.core.epoch, rounds, in_flight, reason))
        self._began = None
        failed = not_done(ErrorCode.not_leader, "the coordinator has changed")
        begun = self.core.begun()
        self.core.resign()
        tickets, self._tickets = self._tickets, {}
        for ticket, submit in tickets.items():
            submit.reply(replace(failed, may_have_happened=ticket in begun))
        cuts, self._cuts = self._cuts, {}
        for name, cut in cuts.items():
            cut.asked.reply(name, failed)
        self._voting.clear()
        self._unanswered.clear()
        self._too_long.clear()
        self._transfers.clear()
        self._finishing = None

    def _on_submit(self, submit: Submit) -> None:
        if not self.core.active:
            submit.reply(not_done(ErrorCode.not_leader, "not the coordinator"))
        elif (total := self._transfers.total() + len(submit.batch)) > TRANSFERS_WAITING_MAX:
            text = f"{total} transfers with these in the coordinator: expected at most {TRANSFERS_WAITING_MAX}"
            submit.reply(not_done(ErrorCode.busy, text, RETRY_AFTER_MS))
        elif (own := self._transfers[submit.source] + len(submit.batch)) > SOURCE_TRANSFERS_MAX:
            text = f"{own} transfers of this connection with these: expected at most {SOURCE_TRANSFERS_MAX} in the coordinator"
            submit.reply(not_done(ErrorCode.busy, text, RETRY_AFTER_MS))
        else:
            ticket = Ticket(next(self._numbers))
            self._tickets[ticket] = submit
            self._transfers[submit.source] += len(submit.batch)
            self._carry_out(self.core.submit(ticket, submit.batch, submit.debit_groups, submit.credit_groups))

    def _on_asked(self, asked: Asked) -> None:
        ask, outcome = asked.ask, asked.outcome
        is_awaited = self._unanswered.pop(asked.number, None) is not None
        if not self.core.wants(ask):
            return
        if isinstance(outcome, Failed):
            if outcome.code is ErrorCode.frame_too_large and ask.prepare is not None:
                self._on_too_long(ask, outcome)
            elif is_awaited:  # else it was repeated already
                self._again(ask, RETRY_SECONDS)
            return
        effects = self.core.asked(ask, outcome)
        if not self.core.active:
            self._resign(DEPOSED.format(group=called(ask.group)))
            return
        if self.core.rounds_max and any(isinstance(effect, Answered) for effect in effects):
            self.core.rounds_max = ROUNDS_IN_FLIGHT_MAX
        self._carry_out(effects)

    def _on_too_long(self, ask: Ask, failed: Failed) -> None:
        tickets, effects = self.core.cannot_ask(ask)
        self._too_long.update(dict.fromkeys(tickets, failed))
        self._carry_out(effects)

    def _again(self, ask: Ask, seconds: float) -> None:
        """Repeats a call that came to nothing; what needs no answer of its own is told with the next call to the group."""
        if self.core.failed(ask):
            self._ports.later(seconds, lambda: self.inbox.push(Wake(ask.group, ask.request.epoch)))
        else:
            self._ports.later(seconds, lambda: self._ask(ask))

    def _on_recorded(self, record: Record, outcome: Outcome) -> None:
        """Repeated until it succeeds or the epoch ends: group 0 may refuse for a moment and keep its leader."""
        if epoch_of(record.round_id) != self.core.epoch or not self.core.active:
            return
        if isinstance(outcome, Failed):
            self._ports.later(RETRY_SECONDS, lambda: self._record(record))
        elif is_stale(outcome):
            self._resign(DEPOSED.format(group=called(COORDINATOR)))
        else:
            self._carry_out(self.core.recorded(record.round_id))

    def _on_make_cut(self, asked: MakeCut) -> None:
        name = f"{self._node}.{self.core.epoch}.{next(self._numbers)}"
        if not self.core.active:
            asked.reply(name, not_done(ErrorCode.not_leader, "not the coordinator"))
            return
        self._cuts[name] = UnfinishedCut(asked, self._ports.clock.monotonic())
        groups = (COORDINATOR, *asked.questions) if asked.questions else ()  # group 0 refuses who has been deposed
        self.core.make_cut(Cut(name, groups, not asked.questions, asked.questions))

    def _on_finish(self, then: Callable[[], None]) -> None:
        self._finishing = then
        self._narrow(0, FINISH_TICKS)

    def _narrow(self, rounds_max: int, ticks: int) -> None:
        """Fewer rounds than ever may be in flight, for at most this many ticks."""
        self.core.rounds_max, self._narrow_until = rounds_max, self._ticks + ticks

    def _on_wake(self, group: int, epoch: int) -> None:
        if epoch == self.core.epoch:
            self.core.wake(group)

    def _on_tick(self) -> None:
        now = self._ports.clock.monotonic()
        self._ticks += 1
        if self._ticks == self._narrow_until:
            self.core.rounds_max, self._finishing = ROUNDS_IN_FLIGHT_MAX, None
        if self._ticks % DECIDE_TICKS == 0:
            self.core.hurry()
            self._carry_out(self.core.record_lingering())
            self._carry_out(self.core.give_up({t for t, submit in self._tickets.items() if submit.deadline < now}))
        for round_id, since in list(self._voting.items()):
            if not self.core.is_voting(round_id):
                del self._voting[round_id]
            elif now - since > VOTES_TIMEOUT_SECONDS:
                self._carry_out(self.core.abandon(round_id))
        for number, sent in list(self._unanswered.items()):
            if now - sent.since > CALL_SECONDS:
                del self._unanswered[number]
                self._again(sent.ask, 0.0)
        for name, cut in list(self._cuts.items()):
            if now - cut.since > CUT_TIMEOUT_SECONDS:
                del self._cuts[name]
                self.core.abandon_cut(name)
                cut.asked.reply(
                    name,
                    not_done(
                        ErrorCode.busy,
                        f"a shard did not reach the cut within {CUT_TIMEOUT_SECONDS:g} s",
                        RETRY_LATER_MS,
                    ),
                )

    # -- effects --------------------------------------------------------------------------------------------------

    def _carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Ask():
                    self._ask(effect)
                case Record():
                    self._record(effect)
                case Forget():
                    self._tell_decisions(effect.command(), lambda _: None)
                case Answered(ticket, statuses, is_begun):
                    self._answer(ticket, statuses, is_begun=is_begun)
                case CutMade(name, answers):
                    self._cuts.pop(name).asked.reply(name, answers)
                case _:
                    assert_never(effect)

    def _ask(self, ask: Ask) -> None:
        if not self.core.wants(ask):
            return
        number, now = next(self._numbers), self._ports.clock.monotonic()
        if (prepare := ask.prepare) is not None:
            self._rounds += prepare.round_id not in self._voting
            self._voting.setdefault(prepare.round_id, now)
        self._unanswered[number] = Sent(ask, now)
        self._ports.call(ask.group, ask.request.pack(), lambda outcome: self.inbox.push(Asked(number, ask, outcome)))

    def _record(self, record: Record) -> None:
        if epoch_of(record.round_id) != self.core.epoch:
            return
        self._tell_decisions(record.command(), lambda outcome: self.inbox.push(Recorded(record, outcome)))

    def _tell_decisions(self, command: Body, reply: Reply) -> None:
        self._ports.call(COORDINATOR, apply_request(Decisions.name, command), reply)

    def _answer(self, ticket: Ticket, statuses: bytes, *, is_begun: bool) -> None:
        submit = self._tickets.pop(ticket)
        self._transfers[submit.source] -= len(submit.batch)
        if not self._transfers[submit.source]:
            del self._transfers[submit.source]
        waiting = statuses.count(Status.undecided) + statuses.count(Status.retry)
        too_long = self._too_long.pop(ticket, None)
        if not waiting:
            submit.reply(Transferred(statuses).pack())
        elif too_long is not None:
            submit.reply(replace(too_long, may_have_happened=waiting < len(statuses)))
        elif not is_begun:
            submit.reply(not_done(ErrorCode.busy, "no round took these transfers in time", RETRY_LATER_MS))
        elif waiting == len(statuses):
            submit.reply(Failed(ErrorCode.outcome_unknown, "some transfers could not be decided in time"))
        else:  # `busy` would say that nothing has happened
            submit.reply(Failed(ErrorCode.not_leader, "shards did not vote on all transfers in time"))

    def statistics(self) -> CoordinatorStatistics:
        """The coordinator as it is now."""
        return CoordinatorStatistics(
            self.core.epoch, self.core.active, self.core.in_flight, self._transfers.total(), self._rounds
        )
