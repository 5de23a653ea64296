"""Answers what became of a transfer, and what is undecided, on any node: asks the leaders of all groups, and merges.

A group that does not answer within a moment is left out: traces are wanted most when something is down.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TypeVar

from node.actors.actor import RETRY_LATER_MS, Failed, Spawn, not_done, promised
from node.actors.router import Call, Router
from node.core.commit import NoteQuestion, RecordsQuestion, TracedTransfer, describe, find_transfer, undecided_rounds
from node.core.machine import Body, OpenQuestion, Question, RoundQuestion, Sighting, TraceQuestion, VotesQuestion
from node.ports import Clock
from protocol.errors import ErrorCode
from protocol.operations import PeerOperation
from protocol.placement import COORDINATOR, called, group_of
from protocol.requests import TraceRequest

ATTEMPT_SECONDS = 0.3  # one question to a leader that may be dead
ANSWER_SECONDS = 0.6  # all questions of a step; two steps are well within an attempt of a client
RETRY_SECONDS = 0.02
LEDGER = "ledger"

Told = TypeVar("Told")


class Tracer:
    """Serves `trace` and `undecided`."""

    def __init__(self, router: Router, clock: Clock, true_ns: Callable[[], int], spawn: Spawn) -> None:
        """`true_ns` is the wall's time, by which the logs are stamped."""
        self._router = router
        self._clock = clock
        self._true_ns = true_ns
        self._spawn = spawn

    def trace(self, call: Call) -> None:
        """Starts to find out what became of a transfer."""
        self._spawn(self._trace(call))

    def undecided(self, call: Call) -> None:
        """Starts to find out what is undecided."""
        self._spawn(self._undecided(call))

    async def _trace(self, call: Call) -> None:
        asked: TraceRequest = call.request
        id, debit = asked.id, asked.debit
        home = self._group_of(debit) if debit else 0
        shards = range(1, self._router.placement.shards + 1)
        answers = await self._ask(shards, TraceQuestion(LEDGER, id))
        found = find_transfer(answers, debit, home)
        if found is None:
            silent = [group for group, answer in answers.items() if answer is None]
            text = f"no answer from {called(*silent)}, and the others have not seen it"
            call.reply(not_done(ErrorCode.busy, text, RETRY_LATER_MS) if silent else [None])
            return
        note = None
        if (place := found.place) is not None:
            others = [group for group in found.groups if group not in found.reports]
            reports_asked = self._ask(others, RoundQuestion(place.round_id, place.number, place.row))
            notes_asked = self._ask([COORDINATOR], NoteQuestion(place.round_id))
            reports, notes = await asyncio.gather(reports_asked, notes_asked)
            found = await self._with_votes(found.completed(reports), place)
            note = notes[COORDINATOR]
        shard = found.group  # which has a share of every split account
        trace = describe(
            int.from_bytes(id, "big"), found, note, self._router.leaders,
            lambda account: shard if account in self._router.split else self._group_of(account),
        )  # fmt: skip
        call.reply([trace.pack()])

    async def _with_votes(self, found: TracedTransfer, place: Sighting) -> TracedTransfer:
        """Where the decision follows from the votes and nobody has heard of it yet."""
        if not found.is_decided_by_votes:
            return found
        decided = found.decided_by(await self._ask(found.groups, VotesQuestion(place.round_id)))
        if decided is not None:
            return decided
        question = RoundQuestion(place.round_id, place.number, place.row)
        return found.completed(await self._ask(found.groups, question))

    async def _undecided(self, call: Call) -> None:
        groups = range(self._router.placement.shards + 1)
        now_ns = self._true_ns()  # before a silent group is waited for
        answers = await self._ask(groups, OpenQuestion(LEDGER))
        records = await self._ask([COORDINATOR], RecordsQuestion())
        call.reply(undecided_rounds(answers, records[COORDINATOR]).pack(now_ns))

    def _group_of(self, account: str) -> int:
        return group_of(account, self._router.placement.shards)

    async def _ask(self, groups: Iterable[int], question: Question[Told]) -> dict[int, Told | None]:
        """The answers of the groups' leaders by group; None where there was none in time."""
        groups = list(groups)
        limit = self._clock.monotonic() + ANSWER_SECONDS
        body: Body = [question.asked, question.pack()]
        answers = await asyncio.gather(*(self._ask_one(group, body, limit) for group in groups))
        told = [None if answer is None else question.read(answer) for answer in answers]
        return dict(zip(groups, told, strict=True))

    async def _ask_one(self, group: int, body: Body, limit: float) -> Body | None:
        while (now := self._clock.monotonic()) < limit:
            answer, reply = promised()
            self._router.call_once(Call(group, PeerOperation.question, body, now + ATTEMPT_SECONDS, reply))
            try:
                outcome = await asyncio.wait_for(answer, ATTEMPT_SECONDS)
            except TimeoutError:
                continue
            if not isinstance(outcome, Failed):
                return outcome
            await asyncio.sleep(RETRY_SECONDS)
        return None
