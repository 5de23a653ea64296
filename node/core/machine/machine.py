"""The composition of parts: applies entries, keeps the open rounds, makes and loads checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import assert_never

import msgpack

from node.core.machine import journal
from node.core.machine.answers import (
    NOT_REACHED,
    SUPERSEDED,
    Decided,
    EpochBegun,
    Marker,
    Opened,
    StaleEpoch,
    Votes,
    judged,
    without_told,
)
from node.core.machine.decision import unpack_decision, unpack_failed
from node.core.machine.digest import digest_of
from node.core.machine.docket import Payments, Statuses, judge
from node.core.machine.entry import FORM, UnknownForm, unpack_entry
from node.core.machine.journal import FACTS_KEPT, Journal
from node.core.machine.operation import Body, check_apart
from node.core.machine.over import Over
from node.core.machine.part import Alone, Answer, Asking, At, Change, Judged, Loaded, Need, Part, Rows
from node.core.machine.questions import (
    MACHINE,
    HeldVote,
    MarkerQuestion,
    OpenQuestion,
    OpenRounds,
    OpenRow,
    RoundQuestion,
    ShardTrace,
    TraceQuestion,
    VotesQuestion,
    unpack_question,
)
from node.core.machine.requests import (
    CoordinatorRequest,
    EpochRequest,
    Kind,
    MarkerRequest,
    Precommit,
    Prepare,
    RoundRequest,
    apply_request,
    is_round,
    judge_request,
    unpack_request,
)
from node.core.machine.telling import answer_facts
from node.core.machine.trail import OpenRound, Trail

TABLE = "machine"
MARKERS_MAX = 256  # an audit asks for its marker within seconds; so many come in that time, some hundred bytes each


class Machine:
    """A deterministic state machine made of parts. Not thread-safe; the replica actor owns it.

    Raises ValueError for parts of one name, or with a table in common.
    """

    def __init__(self, parts: Sequence[Part], facts_kept: int = FACTS_KEPT) -> None:
        """`facts_kept`: how many of the journal's last facts there are at the least."""
        check_apart("parts", [part.name for part in parts])
        check_apart(
            "tables", [TABLE, journal.TABLE, journal.PAGES, *(table for part in parts for table in part.tables)]
        )
        self.parts = {part.name: part for part in parts}
        self.journal = Journal(facts_kept)
        self.applied = 0
        self.timestamp_ns = 0
        self.elapsed_ns = 0
        self.epoch = 0
        self.rounds: dict[int, OpenRound] = {}
        self._finished: dict[int, bytes] = {}  # decisions carried out here and perhaps not everywhere
        self._over = Over()
        self._markers: dict[str, Body] = {}
        self._trail: Trail[OpenRound] = Trail()

    @property
    def tables(self) -> tuple[str, ...]:
        """All checkpoint tables of the composition."""
        return (TABLE, journal.TABLE, journal.PAGES, *(table for part in self.parts.values() for table in part.tables))

    @property
    def sequence_tables(self) -> tuple[str, ...]:
        """The archives whose rows a replica never needs twice."""
        return tuple(table for part in self.parts.values() for table in part.sequence_tables)

    @property
    def live_tables(self) -> tuple[str, ...]:
        """The tables that `restore` reads."""
        archives = [journal.PAGES, *(table for part in self.parts.values() for table in part.archive_tables)]
        return tuple(table for table in self.tables if table not in archives)

    # -- the log --------------------------------------------------------------------------------------------------

    def apply(self, index: int, data: bytes) -> list[Body]:
        """Applies the entry at `index`; one answer a request. An empty entry changes nothing but the index."""
        assert index == self.applied + 1, f"entry {index} after {self.applied}"
        self.applied = index
        if not data:
            return []
        self.timestamp_ns, self.elapsed_ns, requests = unpack_entry(data)
        at = At(index, self.timestamp_ns, self.elapsed_ns)
        return [self._apply_request(request, at) for request in requests]

    def _apply_request(self, request: Body, at: At) -> Body:
        match request:
            case [Kind.judge, count, commands]:
                told, _ = self._judge(commands, count, at)
                self._tell(at)
                return judged(next(iter(told.values())))
            case [Kind.apply, part, body]:
                answer = self.parts[part].apply(body, at)
                self._tell(at)
                return answer
            case _:
                return self._follow(unpack_request(request), at)

    def _follow(self, request: CoordinatorRequest, at: At) -> Body:
        match request:
            case RoundRequest():
                if not self._enter(request, at):
                    return StaleEpoch(self.epoch).pack()
                for precommit in request.precommits:
                    self._precommit(precommit, at)
                return Decided().pack() if request.prepare is None else self._prepare(request.prepare, at)
            case EpochRequest():
                return self._begin_epoch(request.epoch)
            case MarkerRequest():
                return self._reach_marker(request) if self._enter(request, at) else StaleEpoch(self.epoch).pack()
            case _:
                assert_never(request)

    def _judge(
        self, commands: Sequence[Body], count: int, at: At, round_id: int | None = None
    ) -> tuple[dict[str, bytes], Statuses]:
        """Opens the first command's docket and those of the parts that join it. What each part tells, the opener first, and statuses."""
        logged: dict[str, Body] = {}
        for part_name, body in commands:
            logged[part_name] = body
        first = next(iter(logged))
        opening = self.parts[first].open(logged[first], at, round_id)
        dockets = {first: opening}
        payments: Payments | None = None
        for name, part in self.parts.items():
            if name != first and (name in logged or part.joins()):
                payments = payments or opening.payments()
                docket = part.join(payments, logged.get(name), at, round_id) if payments else None
                if docket is not None:
                    dockets[name] = docket
        statuses = judge(list(dockets.values()), count)
        return {name: docket.close(statuses) for name, docket in dockets.items()}, statuses

    def _tell(self, at: At) -> None:
        """Lets each part see what has happened in the others, and keeps it for readers."""
        for part in self.parts.values():
            if facts := part.take_facts():
                self.journal.append(facts, self.recorded, at.timestamp_ns)
                for other in self.parts.values():
                    if other is not part:
                        other.observe(facts, at)

    def _enter(self, request: RoundRequest | MarkerRequest, at: At) -> bool:
        """The beginning of what a coordinator says: false if its epoch is over, else its decisions are carried out."""
        if request.epoch < self.epoch:
            return False
        self.epoch = request.epoch
        for round_id, decision in request.decisions.items():
            self._decide(round_id, decision, at)
        self._note_over(request.over)
        return True

    def _note_over(self, said: Over) -> None:
        over = self._over.join(said)
        if over != self._over:
            self._over = over
            self._finished = {number: kept for number, kept in self._finished.items() if not self._is_over(number)}

    def _is_over(self, round_id: int) -> bool:
        return self._over.holds(round_id, self.epoch)

    def _prepare(self, prepare: Prepare, at: At) -> Body:
        round_id, count = prepare.round_id, prepare.count
        if round_id in self.rounds:
            return self.rounds[round_id].answer
        if round_id in self._finished or self._is_over(round_id):
            return SUPERSEDED.pack()
        told, statuses = self._judge(prepare.commands, count, at, round_id)
        answer = Votes(statuses.tobytes(), told).pack()
        self._tell(at)
        self.rounds[round_id] = OpenRound(
            prepare.protocol, list(prepare.groups), prepare.leg_layout, [*told], count, answer, at.timestamp_ns
        )
        return answer

    def _precommit(self, precommit: Precommit, at: At) -> None:
        """3pc: holds what the coordinator of this epoch proposes, prepared here or not; from here on a PREPARE is superseded."""
        round_id, decision = precommit.round_id, precommit.decision
        if round_id in self._finished or self._is_over(round_id):
            return
        if round_id not in self.rounds:
            count, groups = len(unpack_decision(decision)), list(precommit.groups)
            self.rounds[round_id] = OpenRound("3pc", groups, b"", [], count, SUPERSEDED.pack(), at.timestamp_ns)
        opened = self.rounds[round_id]
        opened.attempt, opened.precommitted, opened.precommitted_ns = self.epoch, decision, at.timestamp_ns

    def _decide(self, round_id: int, decision: bytes, at: At) -> None:
        if (opened := self.rounds.pop(round_id, None)) is not None:
            statuses, failed = unpack_decision(decision), unpack_failed(decision)
            for part in dict.fromkeys(opened.parts):
                self.parts[part].decide(round_id, statuses, at, failed)
            self._tell(at)
            opened.decided_ns, opened.decision = at.timestamp_ns, decision
            opened.leg_layout, opened.answer = b"", without_told(opened.answer)
            self._trail.keep(round_id, opened.count, opened)
        if not self._is_over(round_id):
            self._finished.setdefault(round_id, decision)

    def _begin_epoch(self, epoch: int) -> Body:
        if epoch < self.epoch:
            return StaleEpoch(self.epoch).pack()
        self.epoch = epoch
        opened = [
            Opened(number, r.protocol, tuple(r.groups), r.count, r.attempt, r.precommitted, r.leg_layout, r.vote)
            for number, r in sorted(self.rounds.items())
        ]
        return EpochBegun(opened, self._finished).pack()

    def _reach_marker(self, request: MarkerRequest) -> Body:
        name = request.name
        if name in self._markers:
            return self._markers[name]
        answers = []
        for question in request.questions:
            answer = self.parts[question.part].query(question.body, {})
            assert isinstance(answer, Answer), "a cut asks only for what is in memory"
            answers.append(answer.body)
        if not request.wants_digest:
            return Marker(self.applied, 0, len(self.rounds), [], answers).pack()
        totals = [(part.name, part.totals()) for part in self.parts.values()]
        self._markers[name] = Marker(self.applied, self.digest(), len(self.rounds), totals, answers).pack()
        while len(self._markers) > MARKERS_MAX:
            del self._markers[next(iter(self._markers))]
        return self._markers[name]

    # -- questions ------------------------------------------------------------------------------------------------

    @property
    def recorded(self) -> int:
        """Facts in the record of the one part that has one."""
        return sum(part.recorded() for part in self.parts.values())

    def resolve(self, part: str, body: Body, now_ns: int, loaded: Loaded) -> Body | Need:
        """At the leader: the request that is to be logged for a command."""
        asking = self._asking(now_ns, loaded)
        resolved = self.parts[part].resolve(body, asking)
        match resolved:
            case Judged():
                return judge_request(resolved.count, self._accompanied(resolved, asking))
            case Alone(logged):
                return apply_request(part, logged)
            case _:
                return resolved

    def resolve_round(self, request: Body, now_ns: int, loaded: Loaded) -> Body | Need:
        """At the leader: a coordinator's request with the commands of its PREPARE as they are to be logged."""
        if not is_round(request):
            return request
        asked = unpack_request(request)
        if not isinstance(asked, RoundRequest) or asked.prepare is None:
            return request
        ((part, body),) = asked.prepare.commands
        asking = self._asking(now_ns, loaded)
        resolved = self.parts[part].resolve(body, asking)
        if isinstance(resolved, Need):
            return resolved
        assert isinstance(resolved, Judged), f"a round brings transactions, not {body[0]}"
        return replace(asked, prepare=replace(asked.prepare, commands=self._accompanied(resolved, asking))).pack()

    def _asking(self, now_ns: int, loaded: Loaded) -> Asking:
        """A leader's clock may be behind the stamps of the log that it has taken over: what is over there is over here."""
        return Asking(max(now_ns, self.timestamp_ns), loaded, self.parts)

    def _accompanied(self, judged: Judged, asking: Asking) -> list[Body]:
        """The commands, and what other parts log beside them."""
        commands: list[Body] = [list(command) for command in judged.commands]
        payments: Payments | None = None
        for name, part in self.parts.items():
            if judged.payments is not None and part.joins() and all(name != named for named, _ in judged.commands):
                payments = payments or judged.payments()
                if (beside := part.accompany(payments, asking)) is not None:
                    commands.append([name, beside])
        return commands

    def query(self, part: str, body: Body, loaded: Loaded) -> Answer | Need:
        """Answers a question from the applied state."""
        if part != MACHINE:
            return self.parts[part].query(body, loaded)
        if body[:1] == ["facts"]:
            return answer_facts(self.parts.values(), self.journal, not self.rounds, body, loaded)
        question = unpack_question(body)
        match question:
            case MarkerQuestion(name):
                return Answer(self._markers.get(name, NOT_REACHED))
            case TraceQuestion(of_part, id):
                return self._trace(of_part, id, loaded)
            case RoundQuestion(round_id, number, row):
                opened = self._recall(round_id)
                return Answer(question.answer(None if opened is None else opened.report(number, row)))
            case VotesQuestion(round_id):
                opened = self.rounds.get(round_id)
                return Answer(question.answer(None if opened is None else HeldVote(opened.leg_layout, opened.vote)))
            case OpenQuestion(of_part):
                rows = [self._open_row(*item, of_part) for item in self.rounds.items()]
                return Answer(OpenRounds(rows, [*self._finished]).pack())
            case _:
                assert_never(question)

    def _recall(self, round_id: int) -> OpenRound | None:
        return self.rounds.get(round_id) or self._trail.get(round_id)

    def _trace(self, part: str, id: bytes, loaded: Loaded) -> Answer | Need:
        traced = self.parts[part].trace(id, loaded)
        if isinstance(traced, Need):
            return traced
        seen = [
            (at, opened.report(at.number, at.row))
            for at in traced.sightings
            if (opened := self._recall(at.round_id)) is not None
        ]
        return Answer(ShardTrace(traced.record, seen).pack())

    def _open_row(self, round_id: int, opened: OpenRound, part: str) -> OpenRow:
        ids = self.parts[part].open_ids(round_id) if part in opened.parts else b""
        return OpenRow(
            round_id, opened.protocol, opened.groups, opened.opened_ns, isinstance(opened.vote, Votes), opened.attempt, ids,
            opened.count,
        )  # fmt: skip

    def due(self, timestamp_ns: int, elapsed_ns: int) -> list[tuple[str, Body]]:
        """Commands, each with its part, that the leader should propose because of the time."""
        bodies = [(part.name, part.due(timestamp_ns, elapsed_ns)) for part in self.parts.values()]
        return [(name, body) for name, body in bodies if body is not None]

    def digest(self) -> int:
        """A digest of all state that replicas share; equal logs give equal digests."""
        opened = [[number, self.rounds[number].pack()] for number in sorted(self.rounds)]
        finished = sorted(self._finished.items())
        own = [self.applied, self.timestamp_ns, self.elapsed_ns, self.epoch, self._over.pack(), opened, finished]
        digest = self.journal.digest(digest_of(own, 0))
        for part in self.parts.values():
            digest = part.digest(digest)
        return digest

    # -- checkpoints ----------------------------------------------------------------------------------------------

    def changes(self) -> list[Change]:
        """All rows that have changed since the last call, and the applied index among them."""
        rounds = [[number, opened.pack()] for number, opened in self.rounds.items()]
        finished = [[number, decision] for number, decision in self._finished.items()]
        times = [self.timestamp_ns, self.elapsed_ns]
        own: bytes = msgpack.packb([FORM, self.applied, *times, self.epoch, self._over.pack(), rounds, finished])
        changes = [change for part in self.parts.values() for change in part.changes()]
        return [*changes, *self.journal.changes(), Change(TABLE, 0, own)]

    @staticmethod
    def applied_in(row: bytes) -> int:
        """The applied index in the row of `TABLE` that `changes` has made. Raises UnknownForm."""
        form, applied, *_ = msgpack.unpackb(row)
        if form != FORM:
            raise UnknownForm(form)
        return int(applied)

    def saved(self) -> None:
        """The last checkpoint is durable and readable."""
        self.journal.saved()
        for part in self.parts.values():
            part.saved()

    def restore(self, rows: Rows) -> None:
        """Loads a checkpoint into a fresh machine; an empty store leaves it fresh. Raises UnknownForm."""
        for _, value in rows(TABLE):
            self.applied = self.applied_in(value)
            _, _, self.timestamp_ns, self.elapsed_ns, *own = msgpack.unpackb(value)
            self.epoch, over, rounds, finished = own
            self._over = Over.unpack(over)
            self.rounds = {number: OpenRound(*packed) for number, packed in rounds}
            self._finished = dict(finished)
        self.journal.restore(rows)
        for part in self.parts.values():
            part.restore(rows)
