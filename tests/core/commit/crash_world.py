"""Commit rounds of real ledgers, step by step, with crashes at the steps that a plan names.

A step is one thing that happens as a whole: a message leaves the coordinator (a client's answer, too), a group makes an entry durable
and applies it, or the coordinator takes an answer in. A crash stands before a step, so the crash after one is that before the next.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Literal, assert_never

import numpy as np

from node.core.commit import Answered, Ask, Coordinator, CutMade, Decisions, Effect, Forget, Record, Ticket, epoch_of
from node.core.commit.decisions import unpack_records
from node.core.commit.phases import Phase
from node.core.ledger import Ledger
from node.core.machine import Body, Kind, unpack_decision
from protocol.columns import Flag
from protocol.status import Status, split_status
from tests.core.ledger.driving import columns
from tests.core.ledger.model import Transfer
from tests.core.machine.shards import Shard

GROUPS = (1, 2, 3)
ACCOUNTS = ("a", "b", "world")
OPENING = 100
DELIVERIES_MAX = 2_000  # the longest run takes less than 300

Batch = tuple[Transfer, ...]
UnderWay = Literal["never", "late", "last", "paused"]
"""What becomes of the calls that a dead coordinator leaves under way.

never   they are lost
late    they arrive when the next epoch has begun in group 0 and nobody else knows of it
last    they arrive when the next coordinator has ended everything
paused  the coordinator is not dead: it goes on side by side with the next one, call by call
"""


def pay(id: int, payer: str, payee: str, amount: int, is_linked: bool = False) -> Transfer:
    """One row; accounts are named after their group."""
    return Transfer(id, payer, payee, amount, Flag.linked if is_linked else 0)


REFUSED = 12
WAITING = 16
SCENARIOS: dict[str, tuple[Batch, ...]] = {  # a round a batch
    "a lone payment": ((pay(11, "1:a", "2:b", 30),),),
    "two shards": ((pay(11, "1:a", "2:b", 30), pay(REFUSED, "1:a", "2:b", 10_000)),),
    "three shards": (
        (pay(11, "1:a", "2:b", 30), pay(14, "1:a", "2:a", 10, True), pay(15, "2:a", "3:a", 5), pay(REFUSED, "1:a", "3:a", 10_000)),
    ),
    "three rounds": (
        (pay(11, "1:a", "2:b", 30), pay(13, "3:a", "1:b", 7)),
        (pay(14, "1:a", "2:a", 10, True), pay(15, "2:a", "3:a", 5), pay(REFUSED, "1:a", "3:a", 10_000)),
        (pay(WAITING, "2:b", "3:b", 20),),  # out of what the first round brings
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Plan:
    """What goes wrong. Steps count from 1; 0: never."""

    crash: int = 0  # the coordinator dies before this step
    crash_again: int = 0  # and the next one before this step of its own
    under_way: UnderWay = "never"
    lost: int = 0  # at this step, an entry, the group's leader dies
    is_applied: bool = False  # the entry is applied and the answer lost; otherwise the call is lost
    is_wiped: bool = False  # group 0's records are lost with the coordinator
    slow: int = 0  # the first coordinator's calls to this group arrive last, the latest of them first
    is_mute: bool = False  # not its calls do but the group's answers: it has voted and nobody knows
    silent: int = 0  # and the second one's calls to this group
    lingers: bool = False  # what has not been carried out is recorded as soon as can be


@dataclass(frozen=True, slots=True)
class Call:
    """On its way to a group; `heard` gives the answer to the coordinator."""

    group: int
    request: Body
    heard: Callable[[Body], list[Effect]]


@dataclass(frozen=True, slots=True)
class Reply:
    """On its way back."""

    group: int
    heard: Callable[[Body], list[Effect]]
    answer: Body


@dataclass(slots=True, eq=False)
class Seat:
    """A coordinator, and what is under way from it and to it."""

    epoch: int
    core: Coordinator
    mail: deque[Call | Reply] = field(default_factory=deque)
    tickets: dict[Ticket, Batch] = field(default_factory=dict)


class Crashed(Exception):
    """The coordinator's process has ended."""


@cache
def opening_log(group: int) -> tuple[bytes, ...]:
    """The entries that open a shard's accounts."""
    shard = Shard(Ledger())
    shard.accounts(f"{group}:world", minimum=None)
    shard.accounts(f"{group}:a", f"{group}:b")
    assert shard.transfers(Transfer(group, f"{group}:world", f"{group}:a", OPENING)) == [0]
    return tuple(shard.log)


def opened_shard(group: int) -> Shard:
    """A shard with its accounts."""
    shard = Shard(Ledger())
    for data in opening_log(group):
        shard.apply(data)
    shard.now_ns += 1_000_000_000
    return shard


class CrashWorld:
    """Three shards, group 0 and a scenario."""

    def __init__(self, protocol: str, batches: tuple[Batch, ...], plan: Plan) -> None:
        self.protocol, self.batches, self.plan = protocol, batches, plan
        self.shards = {0: Shard(Decisions()), **{group: opened_shard(group) for group in GROUPS}}
        self.answers: list[tuple[Batch, list[int]]] = []
        self.steps: list[str] = []  # what each step of the coordinator of the day was
        self.recovery_steps = 0
        self.seat = Seat(0, Coordinator(protocol))
        self._crash_at = plan.crash
        self.decided: dict[int, bytes] = {}  # what any coordinator has told or any shard has heard, by round
        self._given_up = not plan.slow
        self._deaf: list[int] = []  # groups whose new leader does not answer the first call
        self._tickets = 0

    def run(self) -> None:
        """The scenario with all that goes wrong, to the end of every round."""
        try:
            self._take_seat()
            self._finish()
            for batch in self.batches:
                self.submit(batch)
                self._go_on(self.seat)
            self._finish()
            self._step("end")
        except Crashed:
            self._crash_at, self.steps = self.plan.crash_again, []
            try:
                self._recover()
                self._step("end")
            except Crashed:
                self._crash_at = 0
                self._recover()
            self.recovery_steps = len(self.steps)
        self._crash_at = 0

    def repeat(self) -> None:
        """All clients ask again with the same ids."""
        for batch in self.batches:
            self.submit(batch)
        self._go_on(self.seat)
        self._finish()

    # -- coordinators ---------------------------------------------------------------------------------------------

    def _take_seat(self) -> None:
        seat = self.seat = Seat(self.seat.epoch + 1, Coordinator(self.protocol))

        def begun(answer: Body) -> list[Effect]:
            if answer[0] != "begun":
                return []
            records = unpack_records(answer[1])
            return seat.core.lead(seat.epoch, (0, *GROUPS), records)

        self._send(seat, Call(0, [Kind.apply, "decisions", ["begin", seat.epoch, 1]], begun))

    def _recover(self) -> None:
        old = self.seat
        if self.plan.under_way == "never":
            old.mail.clear()
        elif self.plan.under_way != "paused":
            old.mail = deque(letter for letter in old.mail if isinstance(letter, Call))
        if self.plan.is_wiped:
            self.shards[0] = Shard(Decisions())
        seat = None
        try:
            self._take_seat()
            seat = self.seat
            self._deliver(seat, 0)
            if self.plan.under_way == "late":
                self._drain(old)
            self._finish(old if self.plan.under_way == "paused" else None)
        except Crashed:
            if seat is not None:  # what is under way of both is under way of the last one
                seat.mail.extendleft(reversed(old.mail))
            raise
        if self.plan.under_way == "last":
            self._drain(old)
            self._finish()
        unanswered = old.core.resign()
        assert set(unanswered) <= set(old.tickets), "a ticket is answered or given back"

    def submit(self, batch: Batch) -> None:
        """A client's batch."""
        self._tickets += 1
        ticket = Ticket(self._tickets)
        self.seat.tickets[ticket] = batch
        debit, credit = (
            np.array([int(name[0]) for name in names], np.int32)
            for names in ([row.debit for row in batch], [row.credit for row in batch])
        )
        self._carry_out(self.seat, self.seat.core.submit(ticket, columns(batch), debit, credit))

    # -- steps ----------------------------------------------------------------------------------------------------

    def _step(self, what: str) -> None:
        self.steps.append(what)
        if len(self.steps) == self._crash_at:
            raise Crashed

    def _send(self, seat: Seat, call: Call) -> None:
        if seat is self.seat:
            self._step("send")
        seat.mail.append(call)

    def _go_on(self, seat: Seat) -> None:
        if self.plan.lingers:
            self._carry_out(seat, seat.core.record_lingering())
        self._carry_out(seat, seat.core.go_on())

    def _carry_out(self, seat: Seat, effects: list[Effect]) -> None:
        for opened in seat.core.rounds.values():
            if opened.phase == Phase.deciding:
                self._note(opened.round_id, opened.decision)
        for effect in effects:
            match effect:
                case Ask(group, request):
                    self._send(seat, Call(group, request.pack(), self._hear(seat, effect)))
                case Record(round_id, groups, decision, forgotten):
                    body = ["record", list(forgotten), round_id, list(groups), decision]
                    self._send(seat, Call(0, [Kind.apply, "decisions", body], self._hear_record(seat, round_id)))
                case Forget(round_ids):
                    body = ["forget", list(round_ids)]
                    self._send(seat, Call(0, [Kind.apply, "decisions", body], lambda answer: []))
                case Answered(ticket, statuses, _):
                    if seat is self.seat:
                        self._step("answer")
                    told = [int(split_status(status)[0]) for status in statuses]
                    self.answers.append((seat.tickets.pop(ticket), told))
                case CutMade():
                    raise AssertionError("nobody asks for a cut")
                case _:
                    assert_never(effect)

    def _hear(self, seat: Seat, ask: Ask) -> Callable[[Body], list[Effect]]:
        return lambda answer: seat.core.asked(ask, answer) if seat.core.wants(ask) else []

    def _hear_record(self, seat: Seat, round_id: int) -> Callable[[Body], list[Effect]]:
        def heard(answer: Body) -> list[Effect]:
            if answer[0] == "recorded":
                return seat.core.recorded(round_id)
            seat.core.active = False
            return []

        return heard

    def _finish(self, beside: Seat | None = None) -> None:
        """Until nothing is under way and nothing is owed."""
        seat = self.seat
        for _ in range(DELIVERIES_MAX):
            if beside is not None and beside.mail:
                place = self._next(beside)
                self._deliver(beside, -1 if place is None else place)
            if (place := self._next(seat)) is not None:
                self._deliver(seat, place)
                continue
            seat.core.hurry()
            self._go_on(seat)
            if self._next(seat) is not None or (beside is not None and beside.mail):
                continue
            if not self._given_up and seat.core.in_flight:
                self._give_up(seat)
            elif seat.mail:
                self._deliver(seat, -1)
            else:
                return
        raise AssertionError("the rounds never end")

    def _next(self, seat: Seat) -> int | None:
        """The first of those under way that need not wait; with a slow group, answers overtake calls."""
        held = self.plan.slow if seat.epoch % 2 else self.plan.silent
        if not held:
            return 0 if seat.mail else None
        late = Reply if self.plan.is_mute and seat.epoch % 2 else Call
        mail = [
            (place, letter)
            for place, letter in enumerate(seat.mail)
            if letter.group != held or type(letter) is not late
        ]
        replies = [place for place, letter in mail if isinstance(letter, Reply)]
        calls = [place for place, letter in mail if isinstance(letter, Call)]
        return next(iter([*replies, *calls]), None)

    def _give_up(self, seat: Seat) -> None:
        """Votes have been out for too long."""
        self._given_up = True
        for round_id in list(seat.core.rounds):
            self._carry_out(seat, seat.core.abandon(round_id))
        self._go_on(seat)

    def _drain(self, seat: Seat) -> None:
        """Whatever a dead coordinator left under way arrives; nobody hears the answers."""
        while seat.mail:
            letter = seat.mail.popleft()
            if isinstance(letter, Call):
                self._apply(letter)

    def _deliver(self, seat: Seat, place: int) -> None:
        letter = seat.mail[place]
        if isinstance(letter, Reply):
            if seat is self.seat:
                self._step("hear")
            del seat.mail[place]
            self._carry_out(seat, letter.heard(letter.answer))
            self._go_on(seat)
        elif letter.group in self._deaf and letter.request[0] == Kind.epoch:
            self._deaf.remove(letter.group)
            del seat.mail[place]
            seat.mail.append(letter)
        elif seat.epoch == 1 and self.plan.lost == len(self.steps) + 1:
            del seat.mail[place]
            self._lose(seat, letter)
        else:
            if seat is self.seat:
                self._step("entry")
            del seat.mail[place]
            seat.mail.append(Reply(letter.group, letter.heard, self._apply(letter)))

    def _lose(self, seat: Seat, call: Call) -> None:
        """The leader of the group dies, before it has logged the call or behind that; the coordinator asks again."""
        if self.plan.is_applied:
            self._apply(call)
        if self.plan.crash == self.plan.lost:
            self._deaf.append(call.group)
        self._step("entry")
        seat.mail.append(call)

    def _apply(self, call: Call) -> Body:
        shard, request = self.shards[call.group], call.request
        (answer,) = shard.entry(shard.round(request) if request[0] == Kind.round else request)
        if request[0] == Kind.round and answer[0] != "stale_epoch":
            for round_id, packed in request[3]:
                self._note(round_id, packed)
        return answer

    def _note(self, round_id: int, packed: bytes) -> None:
        """One decision a round, byte for byte. In 3pc nothing keeps the reasons of an abort that nobody is told."""
        if self.protocol == "3pc" and unpack_decision(packed).all():
            packed = b""
        assert self.decided.setdefault(round_id, packed) == packed, f"round {round_id:x} is decided unlike before"

    # -- what must hold -------------------------------------------------------------------------------------------

    def books(self) -> dict[str, Counter[int]]:
        """How often each transfer is in the history of each account."""
        found: dict[str, Counter[int]] = {}
        for name in [f"{group}:{account}" for group in GROUPS for account in ACCOUNTS]:
            rows = self.shards[int(name[0])].query("ledger", "history", name, None, 100, False).body[1]
            found[name] = Counter(int.from_bytes(row[0], "big") for row in rows)
        return found

    def check(self) -> None:
        """Every round has ended; all or nothing; nothing made or lost; what clients were told is what the books say."""
        assert not self.seat.core.rounds and self.seat.core.in_flight == 0, "a round has not ended"
        posted = 0
        for group, shard in self.shards.items():
            assert shard.machine.rounds == {}, group
            if group:
                ((_, own, held, incoming, *_),) = shard.machine.parts["ledger"].totals()
                assert (held, incoming) == ("0", "0"), "something is still reserved"
                posted += int(own)
        assert posted == 0, "money was made or lost"
        books = self.books()
        happened = {
            row.id: (books[row.debit][row.id], books[row.credit][row.id]) for batch in self.batches for row in batch
        }
        assert all(there in ((0, 0), (1, 1)) for there in happened.values()), f"torn or doubled: {happened}"
        assert happened.get(14) == happened.get(15), "a chain happens as one"
        assert happened.get(REFUSED, (0, 0)) == (0, 0)
        for batch, statuses in self.answers:
            for row, status in zip(batch, statuses, strict=True):
                assert status < Status.undecided, "its outcome was known"
                assert (status <= Status.exists) == (happened[row.id] == (1, 1)), f"told otherwise: {row.id}, {status}"

    def check_repeated(self) -> None:
        """With everything asked for again, each transfer has happened once, and nothing of earlier epochs is remembered."""
        before = len(self.answers)
        told = {row.id: status for batch, statuses in self.answers for row, status in zip(batch, statuses, strict=True)}
        self.repeat()
        self.check()
        assert len(self.answers) == before + len(self.batches), "each is answered, once"
        for batch, statuses in self.answers[before:]:
            for row, status in zip(batch, statuses, strict=True):
                assert row.id in (REFUSED, WAITING) or status <= Status.exists
                assert told.get(row.id) != Status.created or status == Status.exists
        decisions = self.shards[0].machine.parts["decisions"]
        assert isinstance(decisions, Decisions)
        left = [round_id for round_id in decisions.records if round_id not in self.seat.core._forgotten]
        assert all(epoch_of(round_id) == self.seat.epoch for round_id in left), "a record stays for ever"
        for group, shard in self.shards.items():
            ((_, opened, finished),) = shard.entry([Kind.epoch, self.seat.epoch])
            assert not opened and all(epoch_of(round_id) == self.seat.epoch for round_id, _ in finished), group


def played(protocol: str, scenario: str, plan: Plan) -> CrashWorld:
    """One run, checked."""
    world = CrashWorld(protocol, SCENARIOS[scenario], plan)
    try:
        world.run()
        world.check()
        world.check_repeated()
    except AssertionError as error:
        error.add_note(f"{protocol}, {scenario}, {plan}")
        raise
    return world
