"""Where a call goes, and what happens until it is answered."""

from __future__ import annotations

import asyncio
import itertools
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from protocol.answers import is_conflict
from protocol.client.arguments import is_list, wrong
from protocol.client.connection import Address, Connection
from protocol.client.pace import Pace
from protocol.errors import Busy, ErrorCode, OutcomeUnknown, ProtocolError, RingpayError, Unreachable, error_code
from protocol.ids import ID_BYTES
from protocol.messages import NEVER_MS, Failure, Hello, Reply, Request, full_name
from protocol.operations import Operation
from protocol.placement import Placement, groups_of

CONNECT_SECONDS = 1.0  # a local node answers in milliseconds; a paused one not at all
NEXT_SECONDS = 0.1  # then the next node is tried too: who stands still must not use up a short time limit
RETRY_SECONDS = 0.01  # between two attempts; a new leader is there within tenths of a second
ATTEMPT_SECONDS = 3.0  # with one node: a leader that is cut off never answers, and the others have elected one by then
SILENT_SECONDS = 5.0  # who did not answer is asked last for so long: every call would wait for it anew
FULL_SECONDS = 0.05  # after which to try again what this client itself had no room for
LAST_FRACTION = 10  # one in so many of its time: what gets its turn then is not begun, as no answer would come
SECONDS_MAX = 1e9  # of a time limit; more is as good as none
PATIENT = (Operation.audit, Operation.snapshot)  # what may rightly take longer: never asked twice
SAMPLE = 8  # accounts that are hashed to guess where a request belongs


@dataclass(frozen=True, slots=True)
class Deed:
    """What a call changes, to be named when its outcome stays unknown."""

    what: str
    ids: bytes = b""  # 16 bytes each

    def unknown(self, reason: str) -> OutcomeUnknown:
        """The error of a call that may have done it."""
        places = range(0, len(self.ids), ID_BYTES)
        ids = [int.from_bytes(self.ids[place : place + ID_BYTES], "big") for place in places]
        return OutcomeUnknown(ids, reason, self.what)


@dataclass(slots=True)
class Attempts:
    """A call until it is answered, and what its attempts have come to."""

    operation: Operation
    group: int
    body: list[Any]
    target: int  # the group whose leader is asked next, -1 for any node
    deed: Deed | None
    waits_for_turn: bool = False
    may_have_happened: bool = False
    reason: str = ""  # empty while no node has answered
    silent: dict[Address, str] = field(default_factory=dict)  # what became of nodes that were asked to connect

    def outcome(self) -> str:
        """Why nothing came of it."""
        return self.reason or no_answer(self.silent)


def no_answer(reasons: Mapping[Address, str]) -> str:
    """That nobody answers, with each node's reason."""
    nodes_of: dict[str, list[str]] = {}
    for (host, port), reason in reasons.items():
        nodes_of.setdefault(reason, []).append(f"{host}:{port}")
    told = "; ".join(f"{', '.join(nodes)}: {reason}" for reason, nodes in nodes_of.items())
    return f"no node answers in time ({told})" if told else "no node answers in time"


class Calls:
    """Connections to a cluster's nodes, and calls that are repeated until they are answered or time is up."""

    def __init__(
        self, addresses: str | Sequence[str], hello: Hello, timeout: float, within: float | None = None
    ) -> None:
        """`timeout` is for a call that brings none, `within` for all of them from the first on. Seconds."""
        self.timeout = check_seconds(timeout)
        self._within = SECONDS_MAX if within is None else check_seconds(within)
        self._until: float | None = None
        self.placement: Placement | None = None
        self.split: dict[str, None] = {}  # the split accounts that are known
        self.lock_ticket = 0  # how many claims to locks had ended when that was heard last
        self._addresses = _parse_addresses(addresses)
        self._hello = hello
        self._pace = Pace()
        self._address_of: dict[int, Address] = {}  # by node, as the placement says
        self._connections: dict[Address, Connection] = {}
        self._connecting: dict[Address, asyncio.Task[Connection]] = {}
        self._silent: dict[Address, float] = {}  # until when
        self._leaders: list[int] = []
        self._numbers = itertools.count(1)
        self._turn = itertools.count()
        self._is_closed = False

    @property
    def cluster_name(self) -> str:
        """Name and identity, as far as they are known."""
        return full_name(self._hello.cluster, self._hello.identity)

    async def close(self) -> None:
        """Closes all connections, for good."""
        self._is_closed = True
        connecting = list(self._connecting.values())
        for task in connecting:
            task.cancel()
        if connecting:
            await asyncio.wait(connecting)
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()
        await asyncio.sleep(0)

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def deadline(self, timeout: float | None) -> float:
        """When a call that begins now must have ended. Raises ProtocolError(bad_request) for what is no time."""
        now, seconds = self.now(), self.timeout if timeout is None else check_seconds(timeout)
        if self._until is None:
            self._until = now + self._within
        return min(now + seconds, self._until)

    def left(self, deadline: float) -> float:
        """Seconds until then, 0 when it is over."""
        return max(0.0, deadline - self.now())

    async def table(self, timeout: float | None = None) -> Placement:
        """The placement, which the first connection brings. Raises Unreachable."""
        if self.placement is None:
            await self.connect(self.deadline(timeout))
        assert self.placement is not None, "a welcome brings it"
        return self.placement

    async def connect(self, deadline: float) -> None:
        """Finds a node. Raises Unreachable, or ProtocolError if all refuse this client."""
        self._check_open()
        reasons: dict[Address, str] = {}
        try:
            async with asyncio.timeout_at(deadline):
                await self._any_connection(reasons)
        except TimeoutError as error:
            raise Unreachable(no_answer(reasons)) from error

    # -- calls ----------------------------------------------------------------------------------------------------

    async def ask(
        self,
        operation: Operation,
        accounts: list[str],
        body: list[Any],
        timeout: float | None,
        deed: Deed | None = None,
    ) -> list[Any]:
        """A call to the one group of the accounts, or to any node."""
        group = -1
        if accounts and self.placement is not None and len(accounts) <= SAMPLE:
            groups = groups_of(accounts, self.placement.shards)
            group = -1 if (groups != groups[0]).any() else int(groups[0])
        return await self.call(operation, group, body, timeout, deed)

    async def call(
        self, operation: Operation, group: int, body: list[Any], timeout: float | None, deed: Deed | None = None
    ) -> list[Any]:
        """Asks until there is an answer or time is up, which is `timeout` seconds in all. See `call_until`."""
        return await self.call_until(operation, group, body, self.deadline(timeout), deed)

    async def call_until(
        self, operation: Operation, group: int, body: list[Any], deadline: float, deed: Deed | None
    ) -> list[Any]:
        """Asks until there is an answer or the deadline is over: whatever is waited for here ends by then.

        `deed` says what the call changes. Once that may have happened, only an answer of the books ends the doubt: anything else
        raises OutcomeUnknown. Without a doubt, and of what changes nothing, it raises Busy, Unreachable or ProtocolError.
        """
        self._check_open()
        attempts = Attempts(operation, group, body, group, deed)
        failed: RingpayError
        try:
            if deed is None:  # a full node still answers questions, and whoever waits for a lock delays nobody
                return await self._until_answered(attempts, deadline)
            return await self._in_turn(attempts, deadline)
        except TimeoutError:
            failed = Unreachable(f"{operation}: {attempts.outcome()}")
            if attempts.waits_for_turn:
                failed = Busy(
                    FULL_SECONDS,
                    f"its turn did not come in time; {self._pace.under_way} calls of this client are under way",
                )
        except RingpayError as error:
            failed = error
        if deed is not None and attempts.may_have_happened:
            raise deed.unknown(str(failed)) from failed
        raise failed

    async def _in_turn(self, attempts: Attempts, deadline: float) -> list[Any]:
        if not self._pace.begin_at_once():
            await self._wait_for_turn(attempts, deadline)
        try:
            return await self._until_answered(attempts, deadline)
        finally:
            self._pace.end()

    async def _wait_for_turn(self, attempts: Attempts, deadline: float) -> None:
        attempts.waits_for_turn, began = True, self.now()
        async with asyncio.timeout_at(deadline):
            await self._pace.begin()
        if (deadline - self.now()) * LAST_FRACTION < deadline - began:
            self._pace.end()
            raise TimeoutError
        attempts.waits_for_turn = False

    async def _until_answered(self, attempts: Attempts, deadline: float) -> list[Any]:
        while True:
            try:
                answer = await self._attempt(attempts, deadline)
            except (OSError, TimeoutError) as error:
                attempts.target = -1  # another node finds the leader
                if self.now() < deadline:
                    attempts.reason = str(error) or attempts.reason
            else:
                if isinstance(answer, Reply):
                    if _is_ambiguous(attempts, answer):
                        raise Unreachable("the account has changed since, perhaps by an earlier attempt of this call")
                    if attempts.deed is not None:
                        self._pace.served()
                    return answer.body
                self._on_failure(attempts, answer)
            if self.now() + RETRY_SECONDS >= deadline:
                raise TimeoutError
            await asyncio.sleep(RETRY_SECONDS)

    async def _attempt(self, attempts: Attempts, deadline: float) -> Reply | Failure:
        """Asks one node. From when the request leaves until a failure says better, it may have happened."""
        leader = self._open_leader(attempts.target)
        if leader is None:
            async with asyncio.timeout_at(deadline):
                connection, is_leader = await self._connection_for(attempts.target, attempts.silent)
        else:
            connection, is_leader = leader, True
        limit = deadline if attempts.operation in PATIENT else min(deadline, self.now() + ATTEMPT_SECONDS)
        expires_ms = min(NEVER_MS, connection.expires_ms(limit))
        group = attempts.group if is_leader else -1
        request = Request(next(self._numbers), attempts.operation.value, group, expires_ms, 0, attempts.body)
        waiting = connection.send(request)
        before, attempts.may_have_happened, sent_at = attempts.may_have_happened, True, self.now()
        timer = asyncio.get_running_loop().call_at(limit, _give_up, waiting)
        try:
            answer = await waiting
        except TimeoutError:
            self._silent[connection.address] = self.now() + SILENT_SECONDS
            attempts.reason = attempts.reason or "{}:{} has not answered in time".format(*connection.address)
            if limit < deadline and connection.heard_at < sent_at:  # behind a cut, too, it would stand still for long
                connection.close()
            raise
        finally:
            timer.cancel()
            connection.forget(request.id)
        attempts.may_have_happened = before or (isinstance(answer, Failure) and answer.may_have_happened)
        return answer

    async def ask_node(self, address: Address, operation: Operation, body: list[Any], seconds: float) -> list[Any]:
        """Asks this one node, once. Raises OSError, TimeoutError or ProtocolError."""
        limit = self.now() + seconds
        async with asyncio.timeout_at(limit):
            connection = await self._connection(address)
            return await connection.answer_to(next(self._numbers), operation, body, limit)

    def _on_failure(self, attempts: Attempts, failure: Failure) -> None:
        """Raises what ends the call; else it is tried again."""
        code = error_code(failure.code)
        if code is not ErrorCode.overdue:  # which tells of the way, not of why it is asked again
            attempts.reason = failure.message
        if code is ErrorCode.busy:
            seconds = max(failure.retry_after_ms, 1) / 1000
            if attempts.deed is not None:
                self._pace.shed(seconds)
            if not attempts.may_have_happened:
                raise Busy(seconds, failure.message)
        elif code is ErrorCode.bad_request:
            raise wrong(failure.message)
        elif not code.is_transient:
            raise ProtocolError(failure.message, code)
        if 0 <= attempts.group < len(self._leaders) and code is not ErrorCode.overdue:
            self._leaders[attempts.group] = failure.hint

    def _check_open(self) -> None:
        if self._is_closed:
            raise wrong("the client is closed: expected one that is open")

    # -- connections ----------------------------------------------------------------------------------------------

    def _leader_address(self, group: int) -> Address | None:
        return self._address_of.get(self._leaders[group]) if 0 <= group < len(self._leaders) else None

    def _open_leader(self, group: int) -> Connection | None:
        """The open connection to the group's leader."""
        address = self._leader_address(group)
        return None if address is None else self._open_one(address)

    async def _connection_for(self, group: int, reasons: dict[Address, str]) -> tuple[Connection, bool]:
        """A connection, and whether it leads to the group's leader itself."""
        address = self._leader_address(group)
        if address in self._silent:
            if self._silent[address] <= self.now():
                self._connect(address)  # for later calls: this one goes by a node that answers
        elif address is not None:
            try:
                return await self._connection(address), True
            except (OSError, ProtocolError):  # any node may have a better word for it
                self._leaders[group] = 0
        return await self._any_connection(reasons), False

    async def _any_connection(self, reasons: dict[Address, str]) -> Connection:
        """A connection to any node, those last that did not answer a moment ago. Raises ProtocolError if all refuse this client.

        They are tried in turn, each when the one before has failed, or has been silent for a moment. `reasons` says who did not answer.
        """
        while True:
            waiting: dict[Address, asyncio.Task[Connection]] = {}
            refused: ProtocolError | None = None
            addresses = self._in_order()
            for place, address in enumerate(addresses):
                if (open_one := self._open_one(address)) is not None:
                    return open_one
                waiting[address] = self._connect(address)
                reasons.setdefault(address, "silent")
                is_last = place + 1 == len(addresses)
                while waiting:
                    seconds = CONNECT_SECONDS if is_last else NEXT_SECONDS
                    await asyncio.wait(waiting.values(), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
                    ended = [known for known, task in waiting.items() if task.done()]
                    for known in ended:
                        found = _result_of(waiting.pop(known))
                        if isinstance(found, Connection):
                            return found
                        reasons[known] = _why(found)
                        refused = found if isinstance(found, ProtocolError) else refused
                    if not ended or not is_last:
                        break
            if refused is not None:
                raise refused
            await asyncio.sleep(RETRY_SECONDS)

    def _in_order(self) -> list[Address]:
        candidates = list(dict.fromkeys([*self._addresses, *self._address_of.values()]))
        start = next(self._turn) % len(candidates)
        in_turn = [*candidates[start:], *candidates[:start]]
        return sorted(in_turn, key=lambda address: self._silent.get(address, 0.0) > self.now())

    def _open_one(self, address: Address) -> Connection | None:
        found = self._connections.get(address)
        return found if found is not None and found.is_open else None

    def _connect(self, address: Address) -> asyncio.Task[Connection]:
        """The attempt to connect that is under way; many callers share it. Raises ProtocolError once the client is closed."""
        self._check_open()
        if address not in self._connecting:
            task = asyncio.ensure_future(self._open(address))
            self._connecting[address] = task
            task.add_done_callback(lambda task: self._connected(address, task))
        return self._connecting[address]

    def _connected(self, address: Address, task: asyncio.Task[Connection]) -> None:
        del self._connecting[address]
        if not task.cancelled():
            task.exception()  # looked at: whoever waited may have found another node meanwhile

    async def _connection(self, address: Address) -> Connection:
        """The open connection to an address. Raises OSError or ProtocolError."""
        found = self._open_one(address)
        return await asyncio.shield(self._connect(address)) if found is None else found

    async def _open(self, address: Address) -> Connection:
        connection = Connection(address, self._hello, self._on_placed)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                welcome = await connection.connect()
        except BaseException as error:  # cancelled, too, also in the moment in which it is let in
            connection.close()
            if isinstance(error, TimeoutError):
                self._silent[address] = self.now() + SILENT_SECONDS
                raise ConnectionResetError("does not answer") from error
            raise
        # What answers later must be of this cluster.
        self._hello = replace(self._hello, cluster=welcome.cluster, identity=welcome.identity)
        self._connections[address] = connection
        self._silent.pop(address, None)
        return connection

    def _on_placed(self, placement: Placement, leaders: Sequence[int], split: Sequence[str]) -> None:
        self.split.update(dict.fromkeys(split))
        if self.placement is None or placement.version >= self.placement.version:
            self.placement = placement
            self._address_of = {node.id: (node.host, node.port) for node in placement.nodes}
        if len(self._leaders) != len(leaders):
            self._leaders = [0] * len(leaders)
        for group, leader in enumerate(leaders):
            if leader:
                self._leaders[group] = leader


def _give_up(waiting: asyncio.Future[Reply | Failure]) -> None:
    if not waiting.done():
        waiting.set_exception(TimeoutError())


def _result_of(task: asyncio.Task[Connection]) -> Connection | BaseException:
    """Of an attempt to connect that has ended."""
    if task.cancelled():
        return ConnectionAbortedError("the client is closed")
    return task.exception() or task.result()


def _why(error: BaseException) -> str:
    """The same words for the same trouble of several nodes."""
    number = getattr(error, "errno", None) or 0
    return os.strerror(number) if number > 0 else str(error)


def _is_ambiguous(attempts: Attempts, answer: Reply) -> bool:
    """Whether an update conflicts, perhaps with what has followed an earlier attempt of its own."""
    return is_conflict(attempts.operation, answer.body) and attempts.may_have_happened


def check_seconds(seconds: object) -> float:
    """A time limit. Raises ProtocolError(bad_request) for anything but a number of seconds from 0."""
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or math.isnan(seconds) or seconds < 0:
        raise wrong(f"timeout {seconds!r:.40}: expected a number of seconds of 0 or more")
    return min(seconds, SECONDS_MAX)


def _parse_addresses(addresses: str | Sequence[str]) -> list[Address]:
    given = addresses.split(",") if isinstance(addresses, str) else addresses
    if not is_list(given) or not len(given):
        raise wrong("addresses: expected at least one host:port")
    return [_parse_address(address) for address in given]


def _parse_address(text: object) -> Address:
    host, colon, port = text.strip().rpartition(":") if isinstance(text, str) else ("", "", "")
    is_port = port.isascii() and port.isdecimal() and 1 <= len(port) <= 5 and 0 < int(port) < 1 << 16
    if not (colon and host and is_port):
        raise wrong(f"address {text!r:.80}: expected host:port, with a port of 1 to 65535")
    return host.strip("[]"), int(port)
