"""What is read at a consistent cut: the audit (sums per currency and every replica's digest), and snapshots of accounts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from node.actors.actor import Failed, Outcome, Reply, Spawn, promised
from node.actors.coordinator import MakeCut
from node.actors.router import Call, Router
from node.core.ledger.questions import AccountsQuestion
from node.core.machine import Marker, PartQuestion, unpack_answer
from node.ports import Clock
from protocol.operations import PeerOperation
from protocol.placement import groups_of
from protocol.requests import SnapshotRequest
from protocol.rows import AccountRow

POLL_SECONDS = 0.05  # a follower that has not applied the marker yet is asked again
REPLICA_SECONDS = 1.0  # a replica that has not answered by then is reported as unreachable, not waited for


class Auditor:
    """Serves `audit` and `snapshot` on the coordinator's node.

    The answer of `snapshot` is a row an account, None for unknown ones. That of `audit` is `[[currency, posted, held, incoming,
    debits, credits], ...], [[group, index, open rounds, [[node, digest or null, is recovering], ...]], ...]`: sums over all shards,
    and per group each replica's digest (null: not reachable), and whether it is getting back what its disk has lost.
    """

    def __init__(self, router: Router, clock: Clock, make_cut: Callable[[MakeCut], None], spawn: Spawn) -> None:
        self._router = router
        self._clock = clock
        self._make_cut = make_cut
        self._spawn = spawn
        self._waiting: list[Call] = []  # audits that came while one was at work
        self._is_auditing = False

    def audit(self, call: Call) -> None:
        """Starts an audit, or joins the next one: all who came meanwhile share it. The reply gets the report or a failure."""
        self._waiting.append(call)
        if not self._is_auditing:
            self._begin_audit()

    def _begin_audit(self) -> None:
        calls, self._waiting = self._waiting, []
        self._is_auditing = True

        def reply(outcome: Outcome) -> None:
            self._is_auditing = False
            for call in calls:
                call.reply(outcome)
            if self._waiting and not self._is_auditing:
                self._begin_audit()

        def marked(name: str, answers: dict[int, Marker] | Failed) -> None:
            if isinstance(answers, Failed):
                reply(answers)
            else:
                self._spawn(self._report(name, answers, max(call.deadline for call in calls), reply))

        self._make_cut(MakeCut({}, marked))

    def snapshot(self, call: Call) -> None:
        """Reads accounts at one cut over their shards; a split account is the sum of its shares."""
        asked: SnapshotRequest = call.request
        ids = asked.accounts
        known = dict.fromkeys(id for id in ids if id in self._router.split)  # as of now: others may learn meanwhile

        def marked(found: list[list[AccountRow]] | Failed) -> None:
            if isinstance(found, Failed):
                call.reply(found)
                return
            unknown = [rows[0].id for rows in found if rows and rows[0].is_split and rows[0].id not in known]
            if unknown:
                self._router.learn(unknown)
                self.snapshot(call)
            else:
                call.reply([add_shares(rows) for rows in found])

        self.shares(ids, marked)

    def shares(self, ids: list[str], reply: Callable[[list[list[AccountRow]] | Failed], None]) -> None:
        """Reads accounts at one cut: for each its row, or where it is split a row a share, the home share first."""
        shards = self._router.placement.shards
        homes = groups_of(ids, shards).tolist()
        names: dict[int, list[str]] = {}
        for id, home in zip(ids, homes, strict=True):
            for group in range(1, shards + 1) if id in self._router.split else (home,):
                names.setdefault(group, []).append(id)
        asked = {group: AccountsQuestion(mine) for group, mine in names.items()}

        def marked(name: str, answers: dict[int, Marker] | Failed) -> None:
            if isinstance(answers, Failed):
                reply(answers)
                return
            rows = {
                (id, group): row
                for group, question in asked.items()
                for id, row in zip(question.accounts, _answered(question, answers[group]), strict=True)
                if row is not None
            }
            groups = range(1, shards + 1)
            reply([
                [rows[id, group] for group in dict.fromkeys((home, *groups)) if (id, group) in rows]
                for id, home in zip(ids, homes, strict=True)
            ])  # fmt: skip

        questions = {group: [PartQuestion(each.asked, each.pack())] for group, each in asked.items()}
        self._make_cut(MakeCut(questions, marked))

    async def _report(self, name: str, answers: dict[int, Marker], deadline: float, reply: Reply) -> None:
        limit = min(deadline, self._clock.monotonic() + REPLICA_SECONDS)
        places = [(group, node) for group in sorted(answers) for node in self._router.placement.replicas[group]]
        asked = [self._digest(group, node, name, answers[group].index, limit) for group, node in places]
        told = dict(zip(places, await asyncio.gather(*asked), strict=True))
        groups = [
            [group, answer.index, answer.rounds, [[node, *told[at, node]] for at, node in places if at == group]]
            for group, answer in sorted(answers.items())
        ]
        reply([add_totals(list(answers.values())), groups])

    async def _digest(self, group: int, node: int, name: str, index: int, limit: float) -> tuple[int | None, bool]:
        is_recovering = False
        while self._clock.monotonic() < limit:
            answer, reply = promised()
            self._router.call_once(Call(group, PeerOperation.mark, [name], limit, reply), node)
            outcome = await answer
            if not isinstance(outcome, Failed):
                *packed, is_recovering = outcome
                marker = unpack_answer(packed)
                if isinstance(marker, Marker) and marker.index == index:
                    return marker.digest, is_recovering
            await asyncio.sleep(POLL_SECONDS)
        return None, is_recovering


def _answered(question: AccountsQuestion, marker: Marker) -> list[AccountRow | None]:
    """To the only question at a marker."""
    (answer,) = marker.answers
    return question.read(answer)


def add_shares(rows: list[AccountRow]) -> list[Any] | None:
    """One row of an account's fields from those of its shares, the home share first; None for no share."""
    if not rows:
        return None
    home = rows[0]
    if len(rows) == 1:
        return list(home)
    return list(
        home._replace(
            posted=sum(row.posted for row in rows),
            held=sum(row.held for row in rows),
            incoming=sum(row.incoming for row in rows),
            minimum=None if home.minimum is None else sum(row.minimum or 0 for row in rows),
            maximum=None,
            state=max(row.state for row in rows),
            version=sum(row.version for row in rows),
            is_undecided=any(row.is_undecided for row in rows),
            is_split=True,
        )
    )


def add_totals(answers: list[Marker]) -> list[list[Any]]:
    """The ledgers' totals of all groups, added up per currency; in text as they come, since sums may need more than 64 bits."""
    sums: dict[str, list[int]] = {}
    for answer in answers:
        for part, totals in answer.totals:
            if part != "ledger":
                continue
            for currency, *numbers in totals:
                mine = sums.setdefault(currency, [0] * len(numbers))
                for place, number in enumerate(numbers):
                    mine[place] += int(number)
    return [[currency, *map(str, numbers)] for currency, numbers in sorted(sums.items())]
