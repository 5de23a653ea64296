"""Shards, a coordinator and a router in one place without time: what a node does about split accounts, step by step."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node.actors.actor import Failed, Outcome
from node.actors.audit import Auditor
from node.actors.coordinator import MakeCut, Submit
from node.actors.events import Command, Propose, Query
from node.actors.router import Call, Router
from node.actors.split import SplitAccounts
from node.core.commit.legs import cut_legs, number_transactions
from node.core.commit.votes import merge_votes
from node.core.ledger import Ledger
from node.core.machine import Body, Marker, unpack_answer, unpack_vote
from node.core.splits import Splits
from node.daemon import make_operations
from protocol.columns import Transfers
from protocol.messages import NEVER_MS, Request
from protocol.operations import Operation, PeerOperation
from protocol.placement import COORDINATOR, NodeAddress, Placement
from protocol.status import Status, split_status
from tests.actors.desk_world import Time
from tests.core.ledger.driving import columns, id_bytes
from tests.core.ledger.model import Transfer
from tests.core.machine.shards import Shard

ROUNDS_MAX = 16


class LocalRouter(Router):
    """A router whose groups are all here and answer at once."""

    def __init__(self, shards: int) -> None:
        groups = tuple((1,) for _ in range(shards + 1))
        super().__init__(
            1, Placement(1, shards, groups, (NodeAddress(1, "localhost", 7101),)), Time(), make_operations()
        )
        self.shards = [Shard(Splits()), *(Shard(Ledger()) for _ in range(shards))]
        self.calls: list[tuple[int, str]] = []
        self.rounds = 0

    def call(self, call: Call) -> None:
        """Carries it out."""
        self.calls.append((call.group, call.operation))
        if call.group == COORDINATOR and call.operation in self.coordinated:
            self.coordinated[call.operation](call)
            return
        event, shard = self._event_of(call), self.shards[call.group]
        match event:
            case Command(part, body, reply):
                reply(shard.command(part, body))
            case Query(part, body, reply):
                reply(shard.query(part, *body).body)
            case Propose(request, reply):
                (answer,) = shard.entry(request)
                reply(answer)

    def transfers(self, call: Call) -> None:
        """Transfers over several shards."""
        batch: Transfers = call.request
        self.run_round(Submit(batch, *self.groups_of(batch), call.deadline, call.reply, call.source))

    def _here(self, call: Call) -> None:
        self.call(call)

    def run_round(self, submit: Submit) -> None:
        """Commit rounds from PREPARE to DECIDE, until every row is decided."""
        statuses, rows = np.zeros(len(submit.batch), np.uint8), np.arange(len(submit.batch))
        for _ in range(ROUNDS_MAX):
            groups = submit.debit_groups[rows], submit.credit_groups[rows]
            statuses[rows] = self._round(submit.batch.take(rows), *groups)
            rows = np.flatnonzero(statuses >= Status.undecided)
            if not len(rows):
                break
        submit.reply([statuses.tobytes()])

    def _round(
        self, batch: Transfers, debit_groups: NDArray[np.int32], credit_groups: NDArray[np.int32]
    ) -> NDArray[np.uint8]:
        self.rounds += 1
        numbers = number_transactions(batch)
        legs = cut_legs(batch, numbers, debit_groups, credit_groups)
        count = int(numbers[-1]) + 1
        votes = {
            group: unpack_vote(self.shards[group].prepare(self.rounds, count, (leg.part, leg.body)))
            for group, leg in legs.items()
        }
        verdict = merge_votes(legs, votes, numbers)
        for group in legs:
            self.shards[group].decide((self.rounds, verdict.pack()))
        return verdict.rows

    def run_cut(self, asked: MakeCut) -> None:
        """A cut."""
        answers = {}
        for group, questions in asked.questions.items():
            name = f"cut {len(self.calls)}"
            told = unpack_answer(
                self.shards[group].mark(name, 1, tuple(each.pack() for each in questions), is_audit=False)
            )
            assert isinstance(told, Marker)
            answers[group] = told
        asked.reply("cut", answers)


class World:
    """A node's view of a cluster."""

    def __init__(self, shards: int, seed: int = 0) -> None:
        self.router = router = LocalRouter(shards)
        self.tasks: list[asyncio.Task[None]] = []
        clock = Time()
        auditor = Auditor(router, clock, router.run_cut, self._spawn)
        split = SplitAccounts(router, clock, self._spawn, auditor.shares, router.run_round, Random(seed))
        router.mend = split.mend
        router.services = {Operation.split_account: split.open}
        router.coordinated = {
            Operation.transfers: router.transfers,
            Operation.snapshot: auditor.snapshot,
            PeerOperation.gather: split.gather,
        }
        self._number = 0

    def _spawn(self, work: Coroutine[Any, Any, None]) -> object:
        self.tasks.append(asyncio.ensure_future(work))
        return self.tasks[-1]

    async def ask(self, operation: str, body: Body, group: int = -1) -> Body:
        """As a client asks; the reply."""
        outcome = await self.outcome(operation, body, group)
        assert not isinstance(outcome, Failed), outcome
        return outcome

    async def outcome(self, operation: str, body: Body, group: int = -1) -> Outcome:
        """The same, a failure too."""
        answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        request = Request(1, operation, group, NEVER_MS, 0, body)
        self.router.request(request, answer.set_result, peer=False, source=1)
        outcome = await answer
        for task in [task for task in self.tasks if task.done()]:
            task.result()
            self.tasks.remove(task)
        return outcome

    async def transfers(self, *rows: Transfer) -> list[Status]:
        """A status a row."""
        (statuses,) = await self.ask(Operation.transfers, columns(rows).pack())
        return [split_status(answered)[0] for answered in statuses]

    async def accounts(self, *ids: str, minimum: int | None = 0) -> None:
        """Opens ordinary accounts."""
        assert set(await self.ask(Operation.accounts, [[id, "EUR", minimum, None, "", b""] for id in ids])) == {0}

    async def split(self, id: str, minimum: int | None = 0) -> int:
        """Opens a split account; its status."""
        (status,) = await self.ask(Operation.split_account, [id, "EUR", minimum, None, "", b""])
        return int(status)

    async def update(self, id: str, **fields: object) -> Body:
        """Status and version of a new update, behind the one that came last."""
        return await self.ask(Operation.update, [id, fields, id_bytes(self.new_id()), (await self.read(id))[13]])

    async def read(self, id: str) -> Body:
        """An account's fields."""
        (row,) = await self.ask(Operation.balances, [id])
        assert isinstance(row, list)
        return row

    def shares(self, id: str) -> list[tuple[int, int, int]]:
        """Posted, held and incoming of each share."""
        return [shard.balances(id) for shard in self.router.shards[1:]]

    def new_id(self) -> int:
        """Of a transfer."""
        self._number += 1
        return self._number
