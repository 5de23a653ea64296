"""Where a request goes: to a replica here, to another node, to several shards, or to the coordinator.

A request that names its group is for this node or for nobody: the sender holds the table and tries elsewhere. One that
leaves the group open is routed, forwarded and tried again until its deadline.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node.actors.actor import RETRY_AFTER_MS, Failed, Outcome, Reply, not_done, overdue
from node.actors.events import Command, Propose, Query, ReplicaEvent
from node.actors.operations import Operations
from node.actors.replica import Replica
from node.actors.routes import Routes
from node.core.ledger.questions import AccountsQuestion
from node.core.machine import MACHINE, Answer, MarkerQuestion, Served, after_first
from node.ports import Clock
from protocol.answers import is_conflict
from protocol.clocks import MILLISECONDS
from protocol.columns import FINAL_VERSION, Transfers
from protocol.errors import ErrorCode, ProtocolError
from protocol.messages import Placed, Request
from protocol.operations import PEER_OPERATIONS, Operation, PeerOperation
from protocol.placement import COORDINATOR, Placement, called, groups_of, groups_of_transfers
from protocol.status import ACCOUNT_ID_BYTES_MAX

RETRY_SECONDS = 0.02  # a shard without a leader has one again within tenths of a second
WAITING_FRACTION = 0.75  # of its time that a question may wait for news: the answer must be there before it is over
WAIT_SECONDS_MAX = 120.0  # a request never waits longer, whatever its client says


@dataclass(frozen=True, slots=True)
class Call:
    """A request for one group, with its deadline on this node's clock."""

    group: int
    operation: str
    body: list[Any]
    deadline: float
    reply: Reply
    source: int = 0  # the connection that it came on, 0 for this node itself
    is_repeated: bool = False  # an earlier attempt of this node may have happened
    request: Any = None  # the body, decoded; None for an operation of peers

    def to(self, group: int) -> Call:
        """The same for that group. `replace` would take several times as long, with each request."""
        return Call(
            group, self.operation, self.body, self.deadline, self.reply, self.source, self.is_repeated, self.request
        )

    def answered_by(self, reply: Reply) -> Call:
        """The same with another reply."""
        return Call(
            self.group, self.operation, self.body, self.deadline, reply, self.source, self.is_repeated, self.request
        )


Service = Callable[[Call], None]


@dataclass(frozen=True, slots=True)
class RouterStatistics:
    """What has been routed since the start, and what cannot be now."""

    requests: int  # from clients and peers
    forwarded: int  # calls to other nodes, repetitions and this node's own included
    leaderless: int  # groups without a known leader


class Router:
    """Stateless but for who leads what and which accounts are split."""

    def __init__(self, node: int, placement: Placement, clock: Clock, operations: Operations) -> None:
        self.node = node
        self.placement = placement
        self.operations = operations
        self.leaders = [0] * (placement.shards + 1)
        self.terms = [0] * (placement.shards + 1)  # in which they lead
        self.replicas: Mapping[int, Replica] = {}
        self.routes = Routes(node, {}, clock)
        self.services: Mapping[str, Service] = {}  # what a node does for the whole cluster, by operation
        self.coordinated: Mapping[str, Service] = {}  # what only the coordinator's node does
        self.split: dict[str, None] = {}  # the split accounts that this node knows
        self.on_split: Callable[[list[str]], None] = lambda _: None  # gets those that are new
        self.mend: Callable[[Call], Call] = lambda call: call  # puts right what was asked without knowing them
        self.members: Callable[[], list[Any]] = list  # gives the packed table of the nodes' data folders
        self.is_stopping = False
        self._clock = clock
        self._requests = 0
        self._forwarded = 0

    def statistics(self) -> RouterStatistics:
        """The router as it is now."""
        return RouterStatistics(self._requests, self._forwarded, self.leaders.count(0))

    def placed(self, split: Iterable[str]) -> Placed:
        """What peers and clients are told: all leaders, and these split accounts."""
        return Placed(self.placement.pack(), list(self.leaders), list(split), list(self.terms), self.members())

    # -- from sessions --------------------------------------------------------------------------------------------

    def request(self, request: Request, reply: Reply, *, peer: bool, source: int) -> None:
        """Takes a request from a client or a peer. `reply` is called once. Raises ProtocolError on a bad body."""
        self._requests += 1
        if self.is_stopping:
            reply(not_done(ErrorCode.shutting_down, f"node {self.node} stops"))
            return
        now = self._clock.monotonic()
        if request.expires_ms <= now * MILLISECONDS:
            reply(overdue(request.operation))
            return
        operation, group = request.operation, request.group
        deadline = min(request.expires_ms / MILLISECONDS, now + WAIT_SECONDS_MAX)
        if peer and operation in PEER_OPERATIONS:
            call = Call(group, operation, request.body, deadline, reply, source)
            self.services.get(operation, self._here)(call)
            return
        decoded = self.operations.decode(operation, request.body)
        call = Call(group, operation, request.body, deadline, reply, source, request=decoded)
        if group == COORDINATOR and operation not in self.coordinated and not self._is_of_cluster(call):
            text = f"{operation} for {called(COORDINATOR)}: expected group -1, or that of its accounts"
            raise ProtocolError(text, ErrorCode.bad_request)
        if group > COORDINATOR and operation == Operation.transfers and decoded.has_lock:
            raise ProtocolError("transfers with a lock: expected group 0 or -1", ErrorCode.bad_request)
        if not peer:
            if operation == Operation.transfers and decoded.has_final:
                raise ProtocolError(f"if_version: expected 0 to {FINAL_VERSION - 1}", ErrorCode.bad_request)
            call = self.mend(call)
        if group >= 0:
            if group > COORDINATOR and not peer and self.placement.shards > 1:
                self._check_group(call)
            self._here(call)
        else:
            self.route(call)

    def _is_of_cluster(self, call: Call) -> bool:
        """Whether a question is for group 0's own machine."""
        served = self.operations.served(call.operation)
        is_nameless = served is not None and served.group is not None and not served.accounts(call.request)
        return (
            is_nameless
            and served is not None
            and served.group is not None
            and served.group(call.request) == COORDINATOR
        )

    def route(self, call: Call) -> None:
        """Sends a checked request that names no group where it belongs."""
        if call.operation == Operation.transfers:
            self._route_transfers(call)
        elif (served := self.operations.served(call.operation)) is None:
            self._route_whole(call)
        elif accounts := served.accounts(call.request):
            self._route(call, accounts)
        else:
            self._route_nameless(call, served)

    def _check_group(self, call: Call) -> None:
        """A client that names the group must be right, or an account could be opened where nobody finds it.

        A split account has a share in every group, and it is known here at the latest when its share is.
        """
        if call.operation == Operation.transfers:
            batch: Transfers = call.request
            debit_groups, credit_groups = self.groups_of(batch)
            wrong = np.flatnonzero((debit_groups != call.group) | (credit_groups != call.group)).tolist()
            debits, credits = (batch.debits(), batch.credits()) if wrong else ([], [])
            accounts = [name for row in wrong for name in (debits[row], credits[row])]
        else:
            served = self.operations.served(call.operation)
            accounts = [] if served is None else served.accounts(call.request)
        groups = groups_of(accounts, self.placement.shards)
        elsewhere = {accounts[place]: int(groups[place]) for place in np.flatnonzero(groups != call.group).tolist()}
        replica = self.replicas.get(call.group)
        if elsewhere and replica is not None and replica.is_serving:
            for account, group in elsewhere.items():
                if not _is_split(replica, account):
                    text = f"account {account[:ACCOUNT_ID_BYTES_MAX]!r}: expected {called(group)}, not {called(call.group)}"
                    raise ProtocolError(text, ErrorCode.bad_request)

    def groups_of(self, batch: Transfers) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """The groups of the debit accounts and of the credit accounts."""
        flags = batch.flag_bits() if batch.flags else None
        return groups_of_transfers(batch.debits(), batch.credits(), self.placement.shards, self.split, flags)

    def learn(self, accounts: Iterable[str]) -> None:
        """These accounts are split."""
        fresh = [account for account in accounts if account not in self.split]
        if fresh:
            self.split.update(dict.fromkeys(fresh))
            self.on_split(fresh)

    def _route_whole(self, call: Call) -> None:
        if call.operation in self.services:
            self.services[call.operation](call)
        else:
            self.call(call.to(COORDINATOR))

    def _route_nameless(self, call: Call, served: Served[Any]) -> None:
        """To the group that it names, or to all shards."""
        if served.group is not None:
            group = served.group(call.request)
            if group > self.placement.shards:
                raise ProtocolError(f"expected a shard of at most {self.placement.shards}", ErrorCode.bad_request)
            self.call(call.to(group))
            return
        assert served.merge_all is not None, f"nothing says where {call.operation} goes"
        groups = range(1, self.placement.shards + 1)
        gather = Gather(len(groups), served.merge_all, call.reply)
        for place, group in enumerate(groups):
            self.call(replace(call, group=group, reply=gather.part(place)))

    def _route_transfers(self, call: Call) -> None:
        batch: Transfers = call.request
        debit_groups, credit_groups = self.groups_of(batch)
        first = int(debit_groups[0])
        is_local = bool((debit_groups == first).all() and (credit_groups == first).all()) and not batch.has_lock
        self.call(call.to(first if is_local else COORDINATOR))

    def _route(self, call: Call, accounts: list[str]) -> None:
        groups = groups_of(accounts, self.placement.shards)
        if (groups == groups[0]).all():
            self.call(call.to(int(groups[0])))
        else:
            self._scatter(call, groups)

    def _scatter(self, call: Call, groups: NDArray[np.int32]) -> None:
        places = [np.flatnonzero(groups == group).tolist() for group in np.unique(groups)]

        def merge(answers: list[list[Any]]) -> list[Any]:
            merged: list[Any] = [None] * len(call.body)
            for mine, answer in zip(places, answers, strict=True):
                for place, item in zip(mine, answer, strict=True):
                    merged[place] = item
            return merged

        gather = Gather(len(places), merge, call.reply)
        for number, mine in enumerate(places):
            part = call.request.take(mine)
            group = int(groups[mine[0]])
            self.call(replace(call, group=group, body=part.pack(), request=part, reply=gather.part(number)))

    # -- calls ----------------------------------------------------------------------------------------------------

    def call(self, call: Call) -> None:
        """Asks the group's leader, wherever it is, until it answers or the deadline is over."""

        def answered(outcome: Outcome) -> None:
            if isinstance(outcome, Failed) and outcome.code in (ErrorCode.not_leader, ErrorCode.overdue):
                if self._clock.monotonic() + RETRY_SECONDS < call.deadline:
                    following = self._again(call) if outcome.may_have_happened else call
                    asyncio.get_running_loop().call_later(RETRY_SECONDS, self.call, following)
                    return
                outcome = replace(outcome, message=f"{called(call.group)} had no leader in time: {outcome.message}")
            call.reply(outcome)

        self.call_once(call.answered_by(answered))

    def _again(self, call: Call) -> Call:
        """The call for another attempt. An earlier one may have happened: no failure denies it, and it may conflict with itself."""
        if call.is_repeated:
            return call

        def answered(outcome: Outcome) -> None:
            if isinstance(outcome, Failed):
                outcome = replace(outcome, may_have_happened=True)
            elif is_conflict(_changed_by(call), outcome):
                outcome = Failed(ErrorCode.outcome_unknown, "it has been changed since, perhaps by this request")
            call.reply(outcome)

        return replace(call, reply=answered, is_repeated=True)

    def call_once(self, call: Call, node: int = 0) -> None:
        """Asks the group's leader, or the given node, once."""
        to = node or self.leaders[call.group]
        if to == self.node:
            self._here(call)
        elif to in self.routes:
            remaining_ms = max(1, int((call.deadline - self._clock.monotonic()) * 1000))
            version = self.placement.version
            self._forwarded += 1
            self.routes.call(to, call.operation, call.group, remaining_ms, version, call.body, call.reply)
        else:
            call.reply(not_done(ErrorCode.not_leader, f"{called(call.group)} has no known leader"))

    def _here(self, call: Call) -> None:
        """For this node's own replica or coordinator."""
        if call.group > self.placement.shards:
            raise ProtocolError(
                f"expected a shard of 0 to {self.placement.shards}, not {call.group}", ErrorCode.bad_request
            )
        if call.group == COORDINATOR and call.operation in self.coordinated:
            self.coordinated[call.operation](call)
            return
        replica = self.replicas.get(call.group)
        if replica is None:
            call.reply(not_done(ErrorCode.not_leader, called(call.group), 0, self.leaders[call.group]))
            return
        if call.operation == PeerOperation.mark:
            call = replace(call, reply=_with_recovery(call.reply, replica))
        if not replica.inbox.offer(self._event_of(call)):
            call.reply(not_done(ErrorCode.busy, "the replica's inbox is full", RETRY_AFTER_MS))

    def _event_of(self, call: Call) -> ReplicaEvent:
        """The replica's event for an operation."""
        served = self.operations.served(call.operation)
        if served is None:
            return _event_of_peer(call)
        reply, body = _translated(served, call.reply), served.to_part(call.request)
        if served.is_command:
            size = served.size(call.request)
            return Command(served.part, body, reply, call.deadline, size, call.source, served.merging)
        is_heavy, wait_ms, until = served.is_heavy(call.request), served.wait_ms(call.request), 0.0
        if wait_ms:
            now = self._clock.monotonic()
            until = min(now + wait_ms / MILLISECONDS, now + (call.deadline - now) * WAITING_FRACTION)
        is_early = served.is_early(call.request)
        return Query(
            served.part,
            body,
            reply,
            call.deadline,
            source=call.source,
            is_heavy=is_heavy,
            is_early=is_early,
            until=until,
        )


def _changed_by(call: Call) -> str:
    """The operation that a call is about; an update of a split account reaches its home share as a command."""
    is_update = call.operation == PeerOperation.ledger and call.body[:1] == [Operation.update]
    return Operation.update if is_update else call.operation


def _event_of_peer(call: Call) -> ReplicaEvent:
    reply, deadline, source = call.reply, call.deadline, call.source
    match call.operation, call.body:
        case PeerOperation.ledger, body:
            return Command("ledger", body, _rest(reply), deadline, 1, source)
        case PeerOperation.machine, body:
            return Propose(body, reply)
        case PeerOperation.question, [str(part), list(question)]:
            return Query(part, question, reply, deadline, source=source)
        case PeerOperation.mark, [str(name)]:
            return Query(MACHINE, MarkerQuestion(name).pack(), reply, deadline, stale=True)
        case ((PeerOperation.question | PeerOperation.mark), _):
            expected = "[part, question]" if call.operation == PeerOperation.question else "[name of a cut]"
            raise ProtocolError(f"{call.operation}: expected {expected}", ErrorCode.bad_request)
        case _:
            raise ProtocolError(f"{call.operation}: expected group -1, not {call.group}", ErrorCode.bad_request)


def _translated(served: Served[Any], reply: Reply) -> Reply:
    return lambda outcome: reply(outcome if isinstance(outcome, Failed) else served.to_client(outcome))


def _is_split(replica: Replica, account: str) -> bool:
    """As the replica here knows it."""
    question = AccountsQuestion([account])
    answer = replica.machine.query(question.asked, question.pack(), {})
    assert isinstance(answer, Answer), "accounts are in memory"
    (row,) = question.read(answer.body)
    return row is not None and row.is_split


def _with_recovery(reply: Reply, replica: Replica) -> Reply:
    """Behind what the machine says at a cut: whether the replica is getting back what its disk has lost."""

    def answered(outcome: Outcome) -> None:
        reply(outcome if isinstance(outcome, Failed) else [*outcome, replica.statistics().is_recovering])

    return answered


def _rest(reply: Reply) -> Reply:
    return lambda outcome: reply(outcome if isinstance(outcome, Failed) else after_first(outcome))


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
                self._reply(replace(outcome, may_have_happened=True))  # elsewhere some of it may have
                return
            self._answers[number] = outcome
            self._left -= 1
            if self._left == 0:
                self._reply(self._merge(self._answers))

        return answered
