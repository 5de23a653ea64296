"""Where a request goes: to a replica here, to another node, to several shards, or to the coordinator.

A request that names its group is for this node or for nobody: the sender holds the table and tries elsewhere. One that
leaves the group open is routed, forwarded and tried again until its deadline.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node.actors.actor import Failed, Outcome, Reply
from node.actors.events import Command, Propose, Query, ReplicaEvent
from node.actors.operations import OPERATIONS
from node.actors.peers import Link
from node.actors.replica import Replica
from node.core.machine import Body
from node.ports import Clock
from protocol.columns import Transfers
from protocol.errors import ErrorCode, ProtocolError
from protocol.placement import Placement, shards_of

RETRY_SECONDS = 0.02  # a shard without a leader has one again within tenths of a second
DEADLINE_MS_MAX = 120_000  # a request never waits longer, whatever its client says
COORDINATOR = 0  # group 0's leader runs the commit rounds

Submit = Callable[[Transfers, NDArray[np.int32], NDArray[np.int32], float, Reply], None]
Serve = Callable[[float, Reply], None]


@dataclass(frozen=True, slots=True)
class Call:
    """A request for one group, with its deadline on this node's clock."""

    group: int
    operation: str
    body: list[Any]
    deadline: float
    reply: Reply


class Router:
    """Stateless but for who leads what."""

    def __init__(self, node: int, placement: Placement, clock: Clock) -> None:
        self.node = node
        self.placement = placement
        self.leaders = [0] * (placement.shards + 1)
        self.replicas: Mapping[int, Replica] = {}
        self.links: Mapping[int, Link] = {}
        self.submit: Submit | None = None  # the coordinator's
        self.audit: Serve | None = None
        self.cluster: Serve | None = None
        self.is_stopping = False
        self._clock = clock

    # -- from sessions --------------------------------------------------------------------------------------------

    def request(
        self, operation: str, group: int, deadline_ms: int, body: list[Any], reply: Reply, *, peer: bool
    ) -> None:
        """Takes a request from a client or a peer. `reply` is called once. Raises ProtocolError on a bad body."""
        if self.is_stopping:
            reply(Failed(ErrorCode.shutting_down, f"node {self.node} stops"))
            return
        deadline = self._clock.monotonic() + min(deadline_ms, DEADLINE_MS_MAX) / 1000
        if peer and operation in ("machine", "mark"):
            self._here(Call(group, operation, body, deadline, reply))
            return
        known = OPERATIONS.get(operation)
        if known is None:
            raise ProtocolError(f"unknown operation {operation[:40]}", ErrorCode.unknown_operation)
        known.check(body)
        if group == COORDINATOR and operation not in ("transfers", "audit"):
            raise ProtocolError(f"{operation} is not for group {COORDINATOR}", ErrorCode.bad_request)
        if group >= 0:
            if group > COORDINATOR and not peer and self.placement.shards > 1:
                self._check_group(group, known.accounts(body))
            self._here(Call(group, operation, body, deadline, reply))
        elif accounts := known.accounts(body):
            self._route(operation, body, accounts, deadline, reply)
        else:
            self._route_whole(operation, body, deadline, reply)

    def _check_group(self, group: int, accounts: list[str]) -> None:
        """A client that names the group must be right, or an account could be opened where nobody finds it."""
        if (shards_of(accounts, self.placement.shards) + 1 != group).any():
            raise ProtocolError(f"group {group}: not the group of these accounts", ErrorCode.bad_request)

    def _route_whole(self, operation: str, body: list[Any], deadline: float, reply: Reply) -> None:
        if operation == "cluster":
            assert self.cluster is not None
            self.cluster(deadline, reply)
        elif operation == "find":
            groups = range(1, self.placement.shards + 1)
            gather = Gather(len(groups), lambda answers: next((a for a in answers if a != [None]), [None]), reply)
            for place, group in enumerate(groups):
                self.call(Call(group, operation, body, deadline, gather.part(place)))
        else:
            self.call(Call(COORDINATOR, operation, body, deadline, reply))

    def _route(self, operation: str, body: list[Any], accounts: list[str], deadline: float, reply: Reply) -> None:
        groups = shards_of(accounts, self.placement.shards) + 1
        first = int(groups[0])
        if (groups == first).all():
            self.call(Call(first, operation, body, deadline, reply))
        elif operation == "transfers":
            self.call(Call(COORDINATOR, operation, body, deadline, reply))
        else:
            self._scatter(operation, body, groups, deadline, reply)

    def _scatter(
        self, operation: str, body: list[Any], groups: NDArray[np.int32], deadline: float, reply: Reply
    ) -> None:
        places = [np.flatnonzero(groups == group).tolist() for group in np.unique(groups)]

        def merge(answers: list[list[Any]]) -> list[Any]:
            merged: list[Any] = [None] * len(body)
            for mine, answer in zip(places, answers, strict=True):
                for place, item in zip(mine, answer, strict=True):
                    merged[place] = item
            return merged

        gather = Gather(len(places), merge, reply)
        for number, mine in enumerate(places):
            part = [body[place] for place in mine]
            self.call(Call(int(groups[mine[0]]), operation, part, deadline, gather.part(number)))

    # -- calls ----------------------------------------------------------------------------------------------------

    def call(self, call: Call) -> None:
        """Asks the group's leader, wherever it is, until it answers or the deadline is over."""

        def answered(outcome: Outcome) -> None:
            if isinstance(outcome, Failed) and outcome.code is ErrorCode.not_leader:
                if outcome.hint and outcome.hint != self.node and not self.leaders[call.group]:
                    self.leaders[call.group] = outcome.hint
                if self._clock.monotonic() + RETRY_SECONDS < call.deadline:
                    asyncio.get_running_loop().call_later(RETRY_SECONDS, self.call, call)
                    return
                outcome = Failed(ErrorCode.outcome_unknown, f"group {call.group} had no leader in time", 100)
            call.reply(outcome)

        self.call_once(Call(call.group, call.operation, call.body, call.deadline, answered))

    def call_once(self, call: Call, node: int = 0) -> None:
        """Asks the group's leader, or the given node, once."""
        to = node or self.leaders[call.group]
        if to == self.node:
            self._here(call)
        elif to in self.links:
            remaining_ms = max(1, int((call.deadline - self._clock.monotonic()) * 1000))
            version = self.placement.version
            self.links[to].call(call.operation, call.group, remaining_ms, version, call.body, call.reply)
        else:
            call.reply(Failed(ErrorCode.not_leader, f"group {call.group} has no known leader"))

    def _here(self, call: Call) -> None:
        """For this node's own replica or coordinator."""
        if call.group > self.placement.shards:
            raise ProtocolError(f"group {call.group}: expected 0 to {self.placement.shards}", ErrorCode.bad_request)
        if call.group == COORDINATOR and call.operation in ("transfers", "audit"):
            self._to_coordinator(call)
            return
        replica = self.replicas.get(call.group)
        if replica is None:
            call.reply(Failed(ErrorCode.not_leader, f"group {call.group}", 0, self.leaders[call.group]))
            return
        if not replica.inbox.offer(_event_of(call)):
            call.reply(Failed(ErrorCode.busy, "the replica's inbox is full", 20))

    def _to_coordinator(self, call: Call) -> None:
        if call.operation == "audit":
            assert self.audit is not None
            self.audit(call.deadline, call.reply)
            return
        assert self.submit is not None
        batch = Transfers.unpack(call.body)
        groups = shards_of([*batch.debits(), *batch.credits()], self.placement.shards) + 1
        self.submit(batch, groups[: len(batch)], groups[len(batch) :], call.deadline, call.reply)


def _event_of(call: Call) -> ReplicaEvent:
    """The replica's event for an operation; the ledger's words for it."""
    body, reply, deadline = call.body, call.reply, call.deadline
    match call.operation:
        case "transfers":
            batch: Body = ["transfers", body]
            return Command("ledger", batch, _second(reply), deadline, len(body[3]) // 8)
        case "accounts":
            return Command("ledger", ["accounts", body], lambda outcome: reply(_listed(outcome)), deadline)
        case "update":
            return Command("ledger", ["update", *body], _second(reply), deadline)
        case "outcome":
            return Command("ledger", ["cancel", *body], _rest(reply), deadline)
        case "balances":
            return Query("ledger", ["accounts", body], _second(reply), deadline)
        case "history":
            return Query("ledger", ["history", *body], _rest(reply), deadline)
        case "transfer" | "find":
            return Query("ledger", ["transfer", body[0]], _rest(reply), deadline)
        case "machine":
            return Propose(body, reply)
        case "mark":
            return Query("machine", ["mark", *body], reply, deadline, stale=True)
        case _:
            raise ProtocolError(f"{call.operation} takes no group", ErrorCode.bad_request)


def _listed(outcome: Outcome) -> Outcome:
    return outcome if isinstance(outcome, Failed) else list(outcome[1])


def _second(reply: Reply) -> Reply:
    """Answers with the second item of the part's answer, in a list if it is none."""

    def answer(outcome: Outcome) -> None:
        if isinstance(outcome, Failed):
            reply(outcome)
        else:
            reply(outcome[1] if isinstance(outcome[1], list) else [outcome[1]])

    return answer


def _rest(reply: Reply) -> Reply:
    return lambda outcome: reply(outcome if isinstance(outcome, Failed) else outcome[1:])


class Gather:
    """Waits for several answers and gives one: all of them merged, or the first failure."""

    def __init__(self, count: int, merge: Callable[[list[list[Any]]], list[Any]], reply: Reply) -> None:
        self._answers: list[list[Any]] = [[] for _ in range(count)]
        self._left = count
        self._merge = merge
        self._reply = reply

    def part(self, number: int) -> Reply:
        """The reply for the part of that number."""

        def answered(outcome: Outcome) -> None:
            if self._left <= 0:
                return
            if isinstance(outcome, Failed):
                self._left = 0
                is_busy = outcome.code is ErrorCode.busy  # here; elsewhere some of it may have happened
                self._reply(replace(outcome, code=ErrorCode.outcome_unknown) if is_busy else outcome)
                return
            self._answers[number] = outcome
            self._left -= 1
            if self._left == 0:
                self._reply(self._merge(self._answers))

        return answered
